// A tokenizer put together from its parts, as tokenizer.json lists them. Internal to text/: users build
// tokenizers with text/tokenizer_json.h and text/tokenizer_gguf.h.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "text/added_tokens.h"
#include "text/decoder.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace attune {

struct TokenizerParts {
  std::unique_ptr<Normalizer> normalizer;       // may be null
  std::unique_ptr<PreTokenizer> pre_tokenizer;  // may be null
  std::unique_ptr<TokenModel> model;
  std::vector<AddedToken> added_tokens;
  // What the post-processor makes of the text's ids: a special id, or nullopt for the text's ids themselves.
  std::vector<std::optional<int32_t>> post_processor = {std::nullopt};
  std::unique_ptr<Decoder> decoder;  // null: tokens joined by spaces
};

// `where` names the file for errors.
// Errors: Error{kBadInput} for an added token that is too long and a special id outside the vocabulary.
std::unique_ptr<Tokenizer> BuildTokenizer(TokenizerParts parts, const std::string& where);

}  // namespace attune
