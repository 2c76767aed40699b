// The few questions about UTF-8 and Unicode that tokenizing asks, answered as Rust's standard library and the
// crates behind Hugging Face's tokenizers answer them. Tables come from utf8proc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace attune {

// Length in bytes of the UTF-8 sequence that `lead` starts (1 for a byte that starts none).
inline size_t Utf8Length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

// The code point at `*at`, which is moved past it. `text` must be valid UTF-8 and `*at` less than its size.
char32_t NextCodePoint(std::string_view text, size_t* at);

// Start of the code point that ends at `end` (greater than 0). `text` must be valid UTF-8.
size_t PreviousCodePoint(std::string_view text, size_t end);

void AppendUtf8(char32_t code_point, std::string* out);

bool IsValidUtf8(std::string_view text);
bool IsAscii(std::string_view text);

// Every maximal ill-formed subpart becomes one U+FFFD (Unicode 15, section 3.9), as in Python's
// errors="replace" and Rust's from_utf8_lossy.
std::string ReplaceInvalidUtf8(std::string_view text);

// For a terminal or a page: line breaks and tabs stay; whatever else could move a cursor, turn the direction of what
// follows, is no character that XML allows or no UTF-8 becomes U+FFFD.
std::string HarmlessText(std::string_view text);

bool IsWhitespace(char32_t code_point);   // property White_Space
bool IsNumeric(char32_t code_point);      // categories Nd, Nl, No
bool IsPunctuation(char32_t code_point);  // categories P*, and ASCII's symbols
bool IsMark(char32_t code_point);         // categories Mn, Mc, Me
bool IsNonSpacingMark(char32_t code_point);
bool IsOther(char32_t code_point);  // categories Cc, Cf, Cs, Co
bool IsWord(char32_t code_point);   // \w of UTS 18: Alphabetic, M, Nd, Pc, Join_Control

// Whether nobody would see anything of it: white space of any kind, characters of no width, controls. `text` must be
// valid UTF-8.
bool IsBlankText(std::string_view text);

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// `text` must be valid UTF-8.
std::string NormalizeUnicode(std::string_view text, NormalForm form);

// Full lower-case mapping of each code point by itself (no final sigma).
std::string LowercaseUnicode(std::string_view text);

}  // namespace attune
