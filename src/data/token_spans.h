// Which tokens of an encoded text lie in which bytes of it. The tokenizer gives no offsets (normalisers make
// them ambiguous), so positions are found by encoding parts of the text and comparing ids with those of the
// whole: by position, never by looking for the ids of a marker, which may differ in context or occur in the
// data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace attune {

using ByteSpan = std::pair<size_t, size_t>;  // [start, end)

// How many leading ids the two have in common.
size_t CommonPrefix(std::span<const int32_t> a, std::span<const int32_t> b);

// One flag a token: whether it covers any byte of `spans`. `ids` = tokenizer.Encode(text, false); spans are
// within the text and may come in any order. A token that reaches over the edge of a span belongs to it.
std::vector<bool> TokensIn(const Tokenizer& tokenizer, std::string_view text, std::span<const int32_t> ids,
                           std::span<const ByteSpan> spans);

}  // namespace attune
