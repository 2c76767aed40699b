#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "text/regex.h"

namespace attune {
namespace {

// Length of the well-formed sequence at `at`, or minus the length of the maximal ill-formed subpart.
int SequenceLength(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return -1;
  const int length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned char low = 0x80,
                high = 0xBF;  // bounds of the second byte: no overlong form, surrogate or > U+10FFFF
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (int i = 1; i < length; ++i) {
    if (at + i >= text.size() || byte(at + i) < low || byte(at + i) > high) return -i;
    low = 0x80, high = 0xBF;
  }
  return length;
}

utf8proc_category_t Category(char32_t code_point) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(code_point));
}

}  // namespace

bool IsAscii(std::string_view text) {
  uint64_t bits = 0, eight = 0;
  size_t i = 0;
  for (; i + sizeof(eight) <= text.size(); i += sizeof(eight)) {
    std::memcpy(&eight, text.data() + i, sizeof(eight));
    bits |= eight;
  }
  for (; i < text.size(); ++i) bits |= static_cast<unsigned char>(text[i]);
  return (bits & 0x8080808080808080) == 0;
}

char32_t NextCodePoint(std::string_view text, size_t* at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[*at + i])); };
  const size_t length = std::min(Utf8Length(text[*at]), text.size() - *at);
  char32_t value = byte(0);
  if (length == 2) value = (value & 0x1F) << 6 | (byte(1) & 0x3F);
  if (length == 3) value = (value & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  if (length == 4) {
    value = (value & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  }
  *at += length;
  return value;
}

size_t PreviousCodePoint(std::string_view text, size_t end) {
  size_t start = end - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return start;
}

void AppendUtf8(char32_t c, std::string* out) {
  const auto push = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    push(c);
  } else if (c < 0x800) {
    push(0xC0 | c >> 6), push(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    push(0xE0 | c >> 12), push(0x80 | (c >> 6 & 0x3F)), push(0x80 | (c & 0x3F));
  } else {
    push(0xF0 | c >> 18), push(0x80 | (c >> 12 & 0x3F)), push(0x80 | (c >> 6 & 0x3F)), push(0x80 | (c & 0x3F));
  }
}

bool IsValidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const int length = SequenceLength(text, at);
    if (length < 0) return false;
    at += length;
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const int length = SequenceLength(text, at);
    if (length > 0) {
      out.append(text.substr(at, length));
    } else {
      out += "\xEF\xBF\xBD";
    }
    at += std::abs(length);
  }
  return out;
}

std::string HarmlessText(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const int length = SequenceLength(text, at);
    const size_t begin = at;
    at += std::abs(length);
    size_t read = begin;
    const char32_t c = length > 0 ? NextCodePoint(text, &read) : 0xFFFD;
    const bool harmful = (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0) ||
                         (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || (c & 0xFFFFFE) == 0xFFFE;
    out += harmful || length <= 0 ? std::string_view("\xEF\xBF\xBD") : text.substr(begin, at - begin);
  }
  return out;
}

bool IsWhitespace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
         c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsNumeric(char32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  const auto category = Category(c);
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool IsPunctuation(char32_t c) {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  }
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

bool IsMark(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool IsNonSpacingMark(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_MN; }

bool IsOther(char32_t c) { return Category(c) >= UTF8PROC_CATEGORY_CC; }

bool IsWord(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  static const Regex word(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}])",
                          "\\w");  // utf8proc does not know Alphabetic, PCRE2 does
  std::string text;
  AppendUtf8(c, &text);
  return word.Search(text, 0).has_value();
}

// Not utf8proc_map: it sorts marks by swapping neighbours, which takes hours for a text of nothing but marks.
bool IsBlankText(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, &at);
    if (!IsWhitespace(c) && !IsOther(c)) return false;
  }
  return true;
}

std::string NormalizeUnicode(std::string_view text, NormalForm form) {
  if (IsAscii(text)) return std::string(text);
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  int options = UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE);
  if (form == NormalForm::kNfkc || form == NormalForm::kNfkd) options |= UTF8PROC_COMPAT;
  const auto must = [&](utf8proc_ssize_t result) {
    if (result < 0) Failed("cannot normalise a text of {} bytes: {}", text.size(), utf8proc_errmsg(result));
    return static_cast<size_t>(result);
  };
  constexpr size_t kLongestOfOne = 32;  // code points that one becomes; the standard has 18
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto point = static_cast<utf8proc_int32_t>(NextCodePoint(text, &at));
    utf8proc_int32_t parts[kLongestOfOne];
    int boundary = 0;
    const size_t count =
        must(utf8proc_decompose_char(point, parts, kLongestOfOne, static_cast<utf8proc_option_t>(options), &boundary));
    points.insert(points.end(), parts, parts + count);
  }
  const auto class_of = [](utf8proc_int32_t point) { return utf8proc_get_property(point)->combining_class; };
  const auto less = [&](utf8proc_int32_t a, utf8proc_int32_t b) { return class_of(a) < class_of(b); };
  for (auto begin = points.begin(); begin != points.end(); ++begin) {
    const auto end = std::find_if(begin, points.end(), [&](utf8proc_int32_t point) { return class_of(point) == 0; });
    if (!std::is_sorted(begin, end, less)) std::stable_sort(begin, end, less);
    begin = end;
    if (begin == points.end()) break;
  }
  if (compose) {
    points.resize(must(utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                                                static_cast<utf8proc_option_t>(options))));
  }
  std::string out;
  out.reserve(text.size());
  for (const utf8proc_int32_t point : points) AppendUtf8(static_cast<char32_t>(point), &out);
  return out;
}

std::string LowercaseUnicode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, &at);
    if (c == 0x130) {
      out += "i\xCC\x87";  // the one code point whose lower case is two
    } else {
      AppendUtf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), &out);
    }
  }
  return out;
}

}  // namespace attune
