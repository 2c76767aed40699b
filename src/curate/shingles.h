// A text as a set of shingles, for comparing texts without regard to case, punctuation and white space.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

// The words of a text: letters, marks and digits in lower case, all else parts them. Chinese and Japanese have no
// blanks between words: a Han character is a word, and so is a run of Hiragana or of Katakana. Kept from text to text
// for its memory.
class NormalWords {
 public:
  // `text` must be valid UTF-8.
  void Read(std::string_view text);

  size_t count() const { return ends_.size(); }
  std::string_view word(size_t i) const {
    size_t begin = i == 0 ? 0 : ends_[i - 1];
    begin += joined_[begin] == ' ';
    return joined().substr(begin, ends_[i] - begin);
  }
  std::string_view joined() const {
    return {joined_.data(), size_};
  }  // a blank between words that are spelled with letters, none at the end
  const std::vector<uint64_t>& hashes() const { return hashes_; }  // of each word

 private:
  std::string joined_;  // with room behind
  size_t size_ = 0;     // of what is joined
  std::vector<size_t> ends_;
  std::vector<uint64_t> hashes_;
};

inline constexpr size_t kShingleWords = 5;       // words of a shingle, where the text has
inline constexpr size_t kFewWords = 20;          // this many words or more; with fewer,
inline constexpr size_t kShingleCharacters = 5;  // characters of a shingle

// Hashes of all shingles, in the order of the text, repeated where they are repeated. 32 bits: two shingles
// of a pair of texts are confused about once in a million pairs. None for a text without a word; a text
// shorter than a shingle is one.
void WordShingles(const NormalWords& words, std::vector<uint32_t>* shingles);
void CharacterShingles(const NormalWords& words, std::vector<uint32_t>* shingles);

// Sorted, each once.
void MakeShingleSet(std::vector<uint32_t>* shingles);

// |a and b| / |a or b| of two such sets; 0 of two empty ones.
double Jaccard(const uint32_t* a, size_t a_size, const uint32_t* b, size_t b_size);

}  // namespace attune
