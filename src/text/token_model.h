// What turns a piece of text into token ids: BPE, Unigram or WordPiece.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "text/vocabulary.h"

namespace attune {

// Immutable and safe to use from several threads.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the ids of `piece` (valid UTF-8, not empty). The same piece always gives the same ids.
  // Errors: Error{kBadInput} when the model has no token for unknown text but needs one.
  virtual void Tokenize(std::string_view piece, std::vector<int32_t>* ids) const = 0;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  explicit TokenModel(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

 private:
  Vocabulary vocabulary_;
};

// The ids of the 256 byte tokens <0x00> to <0xFF> (-1: not in the vocabulary), for models with byte fallback.
std::vector<int32_t> ByteTokens(const Vocabulary& vocabulary);

// Appends the byte tokens of `text` if the vocabulary has them all.
bool AppendByteTokens(std::string_view text, const std::vector<int32_t>& byte_tokens, std::vector<int32_t>* ids);

}  // namespace attune
