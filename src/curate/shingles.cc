#include "curate/shingles.h"

#define XXH_INLINE_ALL  // words are short, so a call would take longer than its work
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "curate/byte_scan.h"
#include "text/unicode.h"

namespace attune {
namespace {

// Of an ASCII character: itself in lower case, or 0 where it parts words.
constexpr std::array<char, 128> kInWord = [] {
  std::array<char, 128> table{};
  for (char c = 'a'; c <= 'z'; ++c) table[static_cast<size_t>(c)] = c, table[static_cast<size_t>(c - 32)] = c;
  for (char c = '0'; c <= '9'; ++c) table[static_cast<size_t>(c)] = c;
  return table;
}();

constexpr size_t kMore = 16;  // room behind joined words

// ASCII letters and digits in lower case; reads and writes up to seven bytes behind where it may.
void CopyWord(std::string_view text, size_t begin, size_t end, char* out) {
  for (size_t at = begin; at < end; at += sizeof(uint64_t), out += sizeof(uint64_t)) {
    uint64_t eight = 0;
    if (at + sizeof(eight) <= text.size()) {
      std::memcpy(&eight, text.data() + at, sizeof(eight));
    } else {
      std::memcpy(&eight, text.data() + at, text.size() - at);
    }
    eight |= 0x2020202020202020;
    std::memcpy(out, &eight, sizeof(eight));
  }
}

uint32_t Mixed(uint64_t hash) { return static_cast<uint32_t>(hash * 0x9E3779B97F4A7C15 >> 32); }

bool PartsWords(char32_t c) { return IsWhitespace(c) || IsPunctuation(c) || c == 0xFFFD || c == 0x200B; }

// Characters of a kind make a word, but for those of Han, each of which is one.
enum class WordKind : uint8_t { kSpelled, kHan, kHiragana, kKatakana };

WordKind KindOf(char32_t c) {
  if (c < 0x3005) return WordKind::kSpelled;
  if (c >= 0x3041 && c < 0x30A0) return WordKind::kHiragana;
  if ((c >= 0x30A0 && c < 0x3100) || (c >= 0x31F0 && c < 0x3200) || (c >= 0xFF66 && c < 0xFFA0))
    return WordKind::kKatakana;
  const bool han = c == 0x3005 || c == 0x3007 || (c >= 0x3400 && c < 0x4DC0) || (c >= 0x4E00 && c < 0xA000) ||
                   (c >= 0xF900 && c < 0xFB00) || (c >= 0x20000 && c < 0x40000);
  return han ? WordKind::kHan : WordKind::kSpelled;
}

}  // namespace

void NormalWords::Read(std::string_view text) {
  ends_.clear();
  hashes_.clear();
  // Lower case may take more bytes; there is always room for the ASCII that is left, a blank and one character more.
  if (joined_.size() < text.size() + 2 * kMore) joined_.resize(text.size() + 2 * kMore);
  char* out = joined_.data();
  size_t begin = 0;  // of the word in joined_
  const auto end_word = [&](bool spelled) {
    const auto end = static_cast<size_t>(out - joined_.data());
    if (end == begin) return;
    hashes_.push_back(XXH3_64bits(joined_.data() + begin, end - begin));
    ends_.push_back(end);
    if (spelled) *out++ = ' ';
    begin = end + spelled;
  };
  const bool is_ascii = IsAscii(text);
  if (is_ascii) {
    ForEachRun(text, &WordBits, [&](size_t from, size_t to) {
      CopyWord(text, from, to, out);
      out += to - from;
      end_word(true);
    });
  }
  WordKind kind = WordKind::kSpelled;  // of the word that begins at `begin`
  const auto be_of_kind = [&](WordKind next) {
    if (next != kind || next == WordKind::kHan) end_word(kind == WordKind::kSpelled);
    kind = next;
  };
  for (size_t at = is_ascii ? text.size() : 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      ++at;
      if (kInWord[byte] != 0) {
        be_of_kind(WordKind::kSpelled);
        *out++ = kInWord[byte];
      } else {
        end_word(kind == WordKind::kSpelled);
      }
      continue;
    }
    const size_t from = at;
    const char32_t c = NextCodePoint(text, &at);
    if (PartsWords(c)) {
      end_word(kind == WordKind::kSpelled);
      continue;
    }
    be_of_kind(KindOf(c));
    const std::string lower = LowercaseUnicode(text.substr(from, at - from));
    const auto used = static_cast<size_t>(out - joined_.data());
    if (joined_.size() < used + lower.size() + (text.size() - at) + kMore) {
      joined_.resize(2 * (used + lower.size()) + (text.size() - at) + kMore);
      out = joined_.data() + used;
    }
    out = std::copy(lower.begin(), lower.end(), out);
  }
  end_word(kind == WordKind::kSpelled);
  size_ = ends_.empty() ? 0 : ends_.back();
}

void WordShingles(const NormalWords& words, std::vector<uint32_t>* shingles) {
  shingles->clear();
  const std::vector<uint64_t>& hashes = words.hashes();
  if (hashes.empty()) return;
  const size_t width = std::min(kShingleWords, hashes.size());
  shingles->reserve(hashes.size());
  for (size_t i = 0; i + width <= hashes.size(); ++i) {
    uint64_t hash = 0;  // of the words in their order
    for (size_t k = 0; k < width; ++k) hash = (hash ^ hashes[i + k]) * 0xD6E8FEB86659FD93;
    shingles->push_back(Mixed(hash ^ hash >> 32));
  }
}

void CharacterShingles(const NormalWords& words, std::vector<uint32_t>* shingles) {
  shingles->clear();
  const std::string_view text = words.joined();
  if (text.empty()) return;
  std::array<size_t, kShingleCharacters + 1> starts{};  // of the last characters, in turn
  size_t characters = 0;
  for (size_t at = 0; at <= text.size(); ++characters) {
    starts[characters % starts.size()] = at;
    if (characters >= kShingleCharacters) {
      const size_t begin = starts[(characters - kShingleCharacters) % starts.size()];
      shingles->push_back(Mixed(XXH3_64bits(text.data() + begin, at - begin)));
    }
    if (at == text.size()) break;
    at += Utf8Length(text[at]);
  }
  if (shingles->empty()) shingles->push_back(Mixed(XXH3_64bits(text.data(), text.size())));
}

void MakeShingleSet(std::vector<uint32_t>* shingles) {
  std::sort(shingles->begin(), shingles->end());
  shingles->erase(std::unique(shingles->begin(), shingles->end()), shingles->end());
}

double Jaccard(const uint32_t* a, size_t a_size, const uint32_t* b, size_t b_size) {
  size_t i = 0, j = 0, common = 0;
  while (i < a_size && j < b_size) {
    const uint32_t x = a[i], y = b[j];
    common += x == y;
    i += x <= y;
    j += y <= x;
  }
  const size_t all = a_size + b_size - common;
  return all == 0 ? 0 : static_cast<double>(common) / static_cast<double>(all);
}

}  // namespace attune
