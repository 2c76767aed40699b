#include "curate/language.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

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

class CommonWords {
 public:
  CommonWords() {
    for (size_t i = 0; i < kLatins; ++i) {
      std::string_view words = kCommonWords[i];
      while (!words.empty()) {
        const size_t end = std::min(words.find(' '), words.size());
        Entry& entry = Slot(Packed(words.substr(0, end)));
        entry.word = Packed(words.substr(0, end));
        entry.languages |= 1u << i;
        words.remove_prefix(std::min(end + 1, words.size()));
      }
    }
  }
  uint32_t Find(uint64_t packed) const {
    for (size_t i = Home(packed);; i = (i + 1) % kSlots) {
      if (slots_[i].word == packed) return slots_[i].languages;
      if (slots_[i].word == 0) return 0;
    }
  }

 private:
  struct Entry {
    uint64_t word = 0;
    uint32_t languages = 0;
  };
  static constexpr size_t kSlots = 1024;
  static size_t Home(uint64_t word) { return word * 0x9E3779B97F4A7C15 >> 54; }
  Entry& Slot(uint64_t word) {  // the word's own, or the empty one where it goes
    size_t i = Home(word);
    while (slots_[i].word != 0 && slots_[i].word != word) i = (i + 1) % kSlots;
    return slots_[i];
  }
  std::array<Entry, kSlots> slots_;
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
  std::array<int, kLatins> hits{};
  uint64_t word = 0;  // as Packed
  size_t size = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const auto c = static_cast<unsigned char>(i < text.size() ? text[i] : ' ');
    const bool capital = c >= 'A' && c <= 'Z';
    if (capital || (c >= 'a' && c <= 'z') || c >= 0x80) {
      if (size < 8) word |= uint64_t{capital ? c + 32u : c} << 8 * size;
      ++size;
      continue;
    }
    if (size > 0 && size <= 8) {
      const uint32_t languages = words.Find(word);
      for (size_t l = 0; languages >> l != 0; ++l) hits[l] += languages >> l & 1;
    }
    word = size = 0;
  }
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
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return LatinLanguage(text);
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
    const auto found =
        std::find_if(scripts.begin(), scripts.end(), [&](const auto& s) { return s.first == script; });
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
