#include "text/word_piece.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace attune {

WordPiece::WordPiece(Vocabulary vocabulary, std::string unk_token, std::string continuing_subword_prefix,
                     size_t max_input_chars_per_word)
    : TokenModel(std::move(vocabulary)),
      unk_token_(std::move(unk_token)),
      prefix_(std::move(continuing_subword_prefix)),
      max_characters_(max_input_chars_per_word) {}

void WordPiece::Tokenize(std::string_view piece, std::vector<int32_t>* ids) const {
  const size_t before = ids->size();
  size_t characters = 0;
  for (size_t at = 0; at < piece.size(); at += Utf8Length(piece[at])) ++characters;
  bool known = characters <= max_characters_;
  for (size_t start = 0; known && start < piece.size();) {
    // No token is longer than the longest, so the search need not start further out.
    size_t end = std::min(piece.size(), start + vocabulary().longest_bytes() + 1);
    while (end < piece.size() && (static_cast<unsigned char>(piece[end]) & 0xC0) == 0x80) ++end;
    std::optional<int32_t> id;
    for (; end > start; end = PreviousCodePoint(piece, end)) {
      const std::string_view part = piece.substr(start, end - start);
      id = vocabulary().Find(start == 0 ? std::string(part) : prefix_ + std::string(part));
      if (id) break;
    }
    if (id) ids->push_back(*id);
    known = id.has_value();
    start = end;
  }
  if (known) return;
  ids->resize(before);
  const std::optional<int32_t> unk = vocabulary().Find(unk_token_);
  if (!unk) {
    BadInput("the text has words outside the tokenizer's vocabulary, and its unk_token '{}' is not in it either",
             unk_token_);
  }
  ids->push_back(*unk);
}

}  // namespace attune
