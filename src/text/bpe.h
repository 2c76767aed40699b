// Byte pair encoding as Hugging Face's tokenizers library does it (Sennrich et al. 2016, arXiv:1508.07909).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/token_model.h"

namespace attune {

struct BpeOptions {
  std::optional<std::string> unk_token;   // for characters outside the vocabulary; without it they vanish
  std::string continuing_subword_prefix;  // in front of every character but a piece's first
  std::string end_of_word_suffix;         // behind a piece's last character
  bool fuse_unk = false;                  // runs of unknown characters become one unk_token
  bool byte_fallback = false;             // unknown characters become <0xHH> tokens first
  bool ignore_merges = false;             // a piece that is itself a token is not merged from characters
};

class Bpe : public TokenModel {
 public:
  Bpe(Vocabulary vocabulary, MergeTable merges, BpeOptions options);
  void Tokenize(std::string_view piece, std::vector<int32_t>* ids) const override;

 private:
  std::vector<int32_t> InitialSymbols(std::string_view piece) const;
  void MergeSymbols(std::vector<int32_t> symbols, std::vector<int32_t>* ids) const;
  int32_t UnkId() const;

  MergeTable merges_;
  BpeOptions options_;
  std::vector<int32_t> byte_tokens_;
};

// Adds the merge of two tokens, by text, with the given rank. `where` names the file and the entry for
// errors. Errors: Error{kBadInput} when `left`, `right` or their join (less the prefix of `right`) is not in
// the vocabulary.
void AddMerge(const Vocabulary& vocabulary, std::string_view left, std::string_view right, size_t prefix_bytes,
              uint32_t rank, const std::string& where, MergeTable* merges);

}  // namespace attune
