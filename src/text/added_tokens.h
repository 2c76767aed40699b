// Tokens that are cut out of the text before the model sees it: special ones such as <s>, and words added
// later.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/normalizer.h"
#include "text/prefix_index.h"
#include "text/vocabulary.h"

namespace attune {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // not within a word
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;       // and on its right
  bool normalized = false;   // is looked for, itself normalised, in normalised text; else in the raw text
  bool special = false;      // left out by skip_special_tokens
};

// Immutable after construction.
class AddedTokens {
 public:
  // As tokenizers' add_tokens: a token that the model knows takes the model's id, the others are numbered on
  // from the model's vocabulary, whatever `id` says. `normalizer` may be null. `where` names the file for
  // errors.
  AddedTokens(std::vector<AddedToken> tokens, const Vocabulary& model, const Normalizer* normalizer,
              const std::string& where);

  struct Cut {
    TextRange range;
    int32_t id = -1;  // -1: text for the next stage
  };
  // Leftmost-longest matches and the text between them. Ranges may overlap where a token that takes white
  // space is followed by a token that is white space.
  std::vector<Cut> FindRaw(std::string_view text) const { return Find(text, raw_); }
  std::vector<Cut> FindNormalized(std::string_view text) const { return Find(text, normalized_); }

  const AddedToken* ById(int32_t id) const;
  const AddedToken* ByContent(std::string_view content) const;

  // What decoding starts from: the content, or its normalised form where that differs.
  std::string_view DecodedText(const AddedToken& token) const;
  bool IsSpecialText(std::string_view text) const;  // whether a special token has this content

  int32_t end_id() const { return end_id_; }  // highest id + 1, 0 when there are none

 private:
  std::vector<Cut> Find(std::string_view text, const PrefixIndex& index) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, size_t> by_content_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<int32_t, std::string> normal_forms_;  // of normalized tokens, where they differ from the content
  PrefixIndex raw_, normalized_;
  int32_t end_id_ = 0;
};

}  // namespace attune
