#include "curate/language.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "curate/byte_scan.h"
#include "text/unicode.h"

namespace attune {
namespace {

constexpr size_t kLooked = 256;  // bytes
constexpr const char* kLatin[] = {"English",    "German", "French", "Spanish", "Italian",
                                  "Portuguese", "Dutch",  "Polish", "Swedish"};
constexpr size_t kLatins = std::size(kLatin);

// Words that their language uses all the time and the others hardly ever.
constexpr const char* kCommonWords[kLatins] = {
    "the and of to is that it was for with are this you be have from not which",
    "der die das und ist nicht ein eine mit auf den dem zu auch sich von wird oder",
    "le les des est une dans pour qui pas vous nous sur avec cette sont du au être",
    "el los las es una del por con para como más pero lo su está son y qué",
    "il gli è di che non una per sono della con anche più nel si come questo",
    "o os da do não uma em para com mais são ao como dos das você é isso",
    "het een van niet en dat zijn op voor met ook aan wordt naar deze bij je",
    "nie się jest na to że do z jak dla czy jego oraz są tym przez od",
    "och att det som en på är för med inte den till av har ett om var",
};

uint64_t Packed(std::string_view word) {
  uint64_t packed = 0;
  std::memcpy(&packed, word.data(), word.size());
  return packed;
}

// The lowest bytes of a number set, at most eight.
uint64_t LowBytes(size_t count) { return count == 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * count) - 1; }

// A count for each language, a byte each: none can have more words than half the bytes that are looked at.
struct LanguageHits {
  uint64_t counts[2] = {};
  void AddOne(size_t language) { counts[language / 8] += uint64_t{1} << language % 8 * 8; }
  int Of(size_t language) const { return static_cast<int>(counts[language / 8] >> language % 8 * 8 & 0xFF); }
};
static_assert(kLatins <= 16 && kLooked / 2 < 256);

// Words are found without a branch, since nobody can foresee which of a text's words are among them: the hash has no
// collisions, and the tables stay in the nearest cache.
class CommonWords {
 public:
  CommonWords() {
    for (size_t i = 0; i < kLatins; ++i) {
      std::string_view words = kCommonWords[i];
      while (!words.empty()) {
        const size_t end = std::min(words.find(' '), words.size());
        EntryOf(Packed(words.substr(0, end))).languages.AddOne(i);
        words.remove_prefix(std::min(end + 1, words.size()));
      }
    }
    while (!Place()) factor_ += 2 * kFactor;  // it stays odd
  }

  void Count(uint64_t packed, LanguageHits* hits) const {
    const Entry& entry = entries_[places_[Home(packed)]];
    const uint64_t same = -static_cast<uint64_t>(entry.word == packed);
    for (size_t i = 0; i < std::size(hits->counts); ++i) hits->counts[i] += entry.languages.counts[i] & same;
  }

 private:
  struct Entry {
    uint64_t word = 0;
    LanguageHits languages;
  };
  static constexpr uint64_t kFactor = 0x9E3779B97F4A7C15;
  static constexpr int kPlaceBits = 12;

  Entry& EntryOf(uint64_t word) {
    for (Entry& entry : entries_) {
      if (entry.word == word) return entry;
    }
    return entries_.emplace_back(Entry{word, {}});
  }
  bool Place() {
    places_.fill(0);
    for (size_t i = 1; i < entries_.size(); ++i) {
      uint8_t& place = places_[Home(entries_[i].word)];
      if (place != 0) return false;
      place = static_cast<uint8_t>(i);
    }
    return true;
  }
  size_t Home(uint64_t word) const { return word * factor_ >> (64 - kPlaceBits); }

  std::vector<Entry> entries_ = {{}};  // the first is of no word; at most 256
  std::array<uint8_t, size_t{1} << kPlaceBits> places_{};
  uint64_t factor_ = kFactor;
};

const char* ScriptOf(char32_t c) {
  if (c < 0x370) return nullptr;  // Latin, or none
  if (c < 0x400) return "Greek";
  if (c < 0x530) return "Cyrillic";
  if (c >= 0x590 && c < 0x600) return "Hebrew";
  if (c >= 0x600 && c < 0x780) return "Arabic";
  if (c >= 0x900 && c < 0x980) return "Devanagari";
  if (c >= 0x980 && c < 0xA00) return "Bengali";
  if (c >= 0xB80 && c < 0xC00) return "Tamil";
  if (c >= 0xE00 && c < 0xE80) return "Thai";
  if (c >= 0x3040 && c < 0x3100) return "Kana";
  if (c >= 0x4E00 && c < 0xA000) return "Han";
  if (c >= 0xAC00 && c < 0xD7A4) return "Hangul";
  return nullptr;
}

const char* LatinLanguage(std::string_view text) {
  static const CommonWords words;
  LanguageHits found;
  ForEachRun(text, &LetterBits, [&](size_t begin, size_t end) {
    const size_t size = std::min(end - begin, sizeof(uint64_t));
    uint64_t word = begin + sizeof(word) <= text.size() ? Packed(text.substr(begin, sizeof(word))) & LowBytes(size)
                                                        : Packed(text.substr(begin, size));
    word |= (~word & 0x8080808080808080) >> 2 & LowBytes(size);  // ASCII letters in lower case
    words.Count(end - begin > sizeof(word) ? ~uint64_t{0} : word, &found);
  });
  std::array<int, kLatins> hits{};
  for (size_t l = 0; l < kLatins; ++l) hits[l] = found.Of(l);
  const auto best = std::max_element(hits.begin(), hits.end());
  const int most = *best;
  const char* name = kLatin[best - hits.begin()];
  *best = 0;
  const int second = *std::max_element(hits.begin(), hits.end());
  return most >= 3 && most >= 2 * second ? name : "";
}

}  // namespace

const char* LanguageOf(std::string_view text) {
  if (text.size() > kLooked) {
    size_t end = kLooked;
    while (end > 0 && (text[end] & 0xC0) == 0x80) --end;
    text = text.substr(0, end);
  }
  if (IsAscii(text)) return LatinLanguage(text);
  std::vector<std::pair<const char*, int>> scripts;
  int letters = 0;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, &at);
    if (c < 0x80) {
      letters += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      continue;
    }
    const char* script = ScriptOf(c);
    letters += 1;
    if (script == nullptr) continue;
    const auto found = std::find_if(scripts.begin(), scripts.end(), [&](const auto& s) { return s.first == script; });
    if (found == scripts.end()) {
      scripts.emplace_back(script, 1);
    } else {
      ++found->second;
    }
  }
  int kana = 0, han = 0;
  for (const auto& [script, count] : scripts) {
    if (script == std::string_view("Kana")) kana = count;
    if (script == std::string_view("Han")) han = count;
  }
  if (kana * 5 > han && kana + han > letters / 2 && kana > 2) return "Japanese";
  for (const auto& [script, count] : scripts) {
    if (count >= 4 && count > letters / 2) return script;
  }
  return LatinLanguage(text);
}

}  // namespace attune
