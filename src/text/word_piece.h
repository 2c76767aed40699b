// BERT's WordPiece: the longest token from the left, again and again.
#pragma once

#include <string>
#include <vector>

#include "text/token_model.h"

namespace attune {

class WordPiece : public TokenModel {
 public:
  WordPiece(Vocabulary vocabulary, std::string unk_token, std::string continuing_subword_prefix,
            size_t max_input_chars_per_word);
  void Tokenize(std::string_view piece, std::vector<int32_t>* ids) const override;

 private:
  std::string unk_token_, prefix_;
  size_t max_characters_;
};

}  // namespace attune
