// Looks through texts many bytes at a time for the few places that a closer look is worth: all that check and clean do
// with the others.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace attune {

// The first such byte at or behind `at`, or text.size().
size_t NextUnplain(std::string_view text, size_t at);  // neither printable ASCII nor tab, line feed or carriage return
size_t NextDigit(std::string_view text, size_t at);

// Of the first 64 bytes, a bit for each that is such a byte, the first in the lowest bit.
uint64_t LetterBits(std::string_view text);  // an ASCII letter, or no ASCII
uint64_t WordBits(std::string_view text);    // an ASCII letter or digit

// ASCII capitals in lower case and a blank for white space, into as much room as the text takes. false: blanks stand
// side by side (what is in `out` is of no use then).
bool FoldCase(std::string_view text, char* out);

// Calls take(begin, end) for each run of bytes that have a bit in bits_of (LetterBits or WordBits).
template <class Take>
void ForEachRun(std::string_view text, uint64_t (*bits_of)(std::string_view), const Take& take) {
  size_t begin = 0;
  bool within = false;
  for (size_t base = 0; base < text.size(); base += 64) {
    const uint64_t bits = bits_of(text.substr(base));
    // Where runs begin and end, turn and turn about.
    for (uint64_t turns = bits ^ (bits << 1 | static_cast<uint64_t>(within)); turns != 0; turns &= turns - 1) {
      const size_t at = base + static_cast<size_t>(__builtin_ctzll(turns));
      if (within) take(begin, at);
      begin = at;
      within = !within;
    }
  }
  if (within) take(begin, text.size());
}

// Where one of several phrases may begin. Two questions leave few places: first "Teddy" of Hyperscan (Wang et al. 2019,
// section 4.2), which puts the phrases into eight sets and lets a place pass when, for one of the sets, the two halves
// of each of its first bytes are among those that some phrase of the set has there; then a table of bits by a hash of
// more bytes.
class PhraseFilter {
 public:
  static constexpr size_t kFirstBytes = 4, kWindow = 8;
  struct Phrase {
    std::string_view text;  // of any_case: ASCII letters in lower case
    bool any_case = false;
    // Told by the first eight bytes, for the first three are everywhere in prose; the others are told by those.
    bool by_eight = false;
  };
  explicit PhraseFilter(std::span<const Phrase> phrases);

  // The first place at or behind `at` that passes, or text.size(). None where a phrase begins is left out.
  size_t Next(std::string_view text, size_t at) const;

  // A bit for each set, by byte and by the half of a byte: its lower four bits, its upper four.
  struct Sets {
    uint8_t low[kFirstBytes][16], high[kFirstBytes][16];
  };
  class Bits {
   public:
    void Add(uint32_t slot) { bits_[slot / 64] |= uint64_t{1} << slot % 64; }
    uint64_t Has(uint32_t slot) const { return bits_[slot / 64] >> slot % 64 & 1; }

   private:
    std::array<uint64_t, 1024> bits_{};
  };
  static uint32_t ThreeSlot(uint64_t window) { return static_cast<uint32_t>(window & 0xFFFFFF) * 0x9E3779B1u >> 16; }
  static uint32_t EightSlot(uint64_t window) {
    return static_cast<uint32_t>((window | 0x2020202020202020) * 0x9E3779B97F4A7C15 >> 48);
  }
  struct Tables {
    Sets sets{};
    Bits three, eight;
  };

 private:
  Tables tables_;
};

}  // namespace attune
