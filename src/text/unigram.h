// The Unigram language model of SentencePiece (Kudo 2018, arXiv:1804.10959), best segmentation only.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text/prefix_index.h"
#include "text/regex.h"
#include "text/token_model.h"

namespace attune {

class Unigram : public TokenModel {
 public:
  // scores[id]: log probability. `where` names the file for errors.
  // Errors: Error{kBadInput} for a token that is too long.
  Unigram(Vocabulary vocabulary, std::vector<double> scores, std::optional<int32_t> unk_id, bool byte_fallback,
          const std::string& where);
  void Tokenize(std::string_view piece, std::vector<int32_t>* ids) const override;

 private:
  int32_t UnkId() const;
  void AppendUnknown(std::string_view text, std::vector<int32_t>* ids) const;

  std::vector<double> scores_;
  std::optional<int32_t> unk_id_;
  double unk_score_;
  PrefixIndex index_;
  std::vector<int32_t> byte_tokens_;  // empty without byte fallback
};

}  // namespace attune
