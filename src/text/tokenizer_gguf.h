// Tokenizers from the metadata of a GGUF file (tokenizer.ggml.*): byte-level BPE ("gpt2") and
// SentencePiece-like BPE by score ("llama").
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "text/tokenizer.h"

namespace attune {

// The metadata as the file has it. The views must live until the tokenizer is built.
struct GgufVocabulary {
  std::string where;                         // the file, for errors
  std::string_view model;                    // tokenizer.ggml.model
  std::string_view pre = "default";          // tokenizer.ggml.pre: how gpt2 splits text
  std::span<const std::string_view> tokens;  // by id
  std::vector<int64_t> token_types;          // by id, or empty: all normal
  std::vector<float> scores;                 // by id; for llama
  std::span<const std::string_view> merges;  // "a b", by rank; for gpt2
  std::optional<int64_t> bos_id, eos_id, unk_id;
  std::optional<bool> add_bos_token, add_eos_token, add_space_prefix;  // unset: what model and pre imply
};

// Errors: Error{kBadInput} when a key is missing or holds another type.
GgufVocabulary ReadGgufVocabulary(const GgufFile& file);

// Control and unknown tokens become special added tokens, user-defined ones added tokens.
// Errors: Error{kBadInput} for a model or pre that is not known (by name), tables of unequal length, merges
// of unknown tokens, ids outside the vocabulary, tokens that are not UTF-8.
std::unique_ptr<Tokenizer> TokenizerFromGguf(const GgufVocabulary& vocabulary);

}  // namespace attune
