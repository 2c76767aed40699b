// What the keys of a GGUF tokenizer mean, in one place: read by the tokenizer built from them
// (text/tokenizer_gguf.cc) and by the Hugging Face files written from them (text/tokenizer_export.cc).
// Internal to text/. Everything here but FindSplitRule and GgufMerge takes a vocabulary whose tables agree in
// length.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "text/added_tokens.h"
#include "text/tokenizer_gguf.h"
#include "text/vocabulary.h"

namespace attune {

constexpr std::string_view kMetaspace = "\xE2\x96\x81";  // U+2581, SentencePiece's space

// How a value of tokenizer.ggml.pre splits text.
struct SplitRule {
  std::string_view names;                    // separated by spaces
  std::array<std::string_view, 4> patterns;  // applied one after the other; none: GPT-2's own
  bool nfc = false;
  bool single_digits = false;  // before GPT-2's pattern
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

// Errors: Error{kBadInput} for a `pre` that is not known, naming those that are.
const SplitRule& FindSplitRule(const GgufVocabulary& vocabulary);

// A text that two ids have is found under the later one.
Vocabulary MakeVocabulary(const GgufVocabulary& vocabulary);

// Control and unknown tokens (special) and user-defined ones, in the order of their ids.
std::vector<AddedToken> MakeAddedTokens(const GgufVocabulary& vocabulary);

// Errors: Error{kBadInput} naming tokenizer.ggml.KEY when `id` is absent or no token's.
int32_t CheckedId(const GgufVocabulary& vocabulary, std::string_view key, std::optional<int64_t> id);

// The ids around a text, nullopt for the text's own. `add_bos`: where the file does not say.
std::vector<std::optional<int32_t>> MakePostProcessor(const GgufVocabulary& vocabulary, bool add_bos);

// The two tokens of the entry `rank` of tokenizer.ggml.merges. Errors: Error{kBadInput} when they are not
// two.
std::pair<std::string_view, std::string_view> GgufMerge(const GgufVocabulary& vocabulary, size_t rank);

// SentencePiece joins the two neighbours whose joint token has the highest score, leftmost first: every way
// to cut a normal token in two other tokens is a merge. Highest score first; those of one token stand
// together, the longest left part first. Errors: Error{kBadInput} for a token longer than a prefix index
// holds.
struct ScoredMerge {
  int32_t left = 0, right = 0, joined = 0;  // ids
};
std::vector<ScoredMerge> MergesByScore(const GgufVocabulary& vocabulary, const Vocabulary& by_text);

}  // namespace attune
