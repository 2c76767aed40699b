// Packing applied: examples joined into rows of at most max_length tokens, which the engine runs as the
// sequences they hold. Source: TRL's pack_dataset and the padding-free collator it implies.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/encode.h"
#include "data/packing.h"

namespace attune {

// Packs `examples`, encoded without truncation (EncodeOptions::max_length 0), in their order.
//   bfd, bfd_split: `starts` says where each sequence of a row begins, and the label of its first token is
//   -100: no
//     sequence is predicted from the one before it.
//   wrapped: rows are cut from one stream of tokens; `starts` is empty, a row is one sequence.
// A row's file and row_line are those of the example its first token came from; it is truncated where one of
// its examples was. A row may hold no trained token. The result depends on nothing but the arguments. Memory:
// the result, and 1000 examples. Errors: Error{kBadInput} for max_length below 1.
std::vector<Example> PackExamples(std::vector<Example> examples, int64_t max_length, PackingStrategy strategy);

// Tokens over the room of their rows, in [0, 1]: 1 where every row is full.
double PackingEfficiency(std::span<const Example> rows, int64_t max_length);

}  // namespace attune
