// Upper, lower and title case as Python's str methods do it: the full mappings of Unicode, where one code
// point may become several. utf8proc has the one-to-one part; the rest is SpecialCasing.txt of the Unicode
// character database.
#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

struct Special {
  char32_t from;
  char32_t upper[3];
};

// Sorted. U+1F80 to U+1FAF follow a rule and are not here.
constexpr Special kSpecialUpper[] = {
    {0xDF, {0x53, 0x53}},
    {0x149, {0x2BC, 0x4E}},
    {0x1F0, {0x4A, 0x30C}},
    {0x390, {0x399, 0x308, 0x301}},
    {0x3B0, {0x3A5, 0x308, 0x301}},
    {0x587, {0x535, 0x552}},
    {0x1E96, {0x48, 0x331}},
    {0x1E97, {0x54, 0x308}},
    {0x1E98, {0x57, 0x30A}},
    {0x1E99, {0x59, 0x30A}},
    {0x1E9A, {0x41, 0x2BE}},
    {0x1F50, {0x3A5, 0x313}},
    {0x1F52, {0x3A5, 0x313, 0x300}},
    {0x1F54, {0x3A5, 0x313, 0x301}},
    {0x1F56, {0x3A5, 0x313, 0x342}},
    {0x1FB2, {0x1FBA, 0x399}},
    {0x1FB3, {0x391, 0x399}},
    {0x1FB4, {0x386, 0x399}},
    {0x1FB6, {0x391, 0x342}},
    {0x1FB7, {0x391, 0x342, 0x399}},
    {0x1FBC, {0x391, 0x399}},
    {0x1FC2, {0x1FCA, 0x399}},
    {0x1FC3, {0x397, 0x399}},
    {0x1FC4, {0x389, 0x399}},
    {0x1FC6, {0x397, 0x342}},
    {0x1FC7, {0x397, 0x342, 0x399}},
    {0x1FCC, {0x397, 0x399}},
    {0x1FD2, {0x399, 0x308, 0x300}},
    {0x1FD3, {0x399, 0x308, 0x301}},
    {0x1FD6, {0x399, 0x342}},
    {0x1FD7, {0x399, 0x308, 0x342}},
    {0x1FE2, {0x3A5, 0x308, 0x300}},
    {0x1FE3, {0x3A5, 0x308, 0x301}},
    {0x1FE4, {0x3A1, 0x313}},
    {0x1FE6, {0x3A5, 0x342}},
    {0x1FE7, {0x3A5, 0x308, 0x342}},
    {0x1FF2, {0x1FFA, 0x399}},
    {0x1FF3, {0x3A9, 0x399}},
    {0x1FF4, {0x38F, 0x399}},
    {0x1FF6, {0x3A9, 0x342}},
    {0x1FF7, {0x3A9, 0x342, 0x399}},
    {0x1FFC, {0x3A9, 0x399}},
    {0xFB00, {0x46, 0x46}},
    {0xFB01, {0x46, 0x49}},
    {0xFB02, {0x46, 0x4C}},
    {0xFB03, {0x46, 0x46, 0x49}},
    {0xFB04, {0x46, 0x46, 0x4C}},
    {0xFB05, {0x53, 0x54}},
    {0xFB06, {0x53, 0x54}},
    {0xFB13, {0x544, 0x546}},
    {0xFB14, {0x544, 0x535}},
    {0xFB15, {0x544, 0x53B}},
    {0xFB16, {0x54E, 0x546}},
    {0xFB17, {0x544, 0x53D}},
};
constexpr char32_t kIota = 0x399, kIotaSubscript = 0x345, kSigma = 0x3A3;

char32_t Map(utf8proc_int32_t (*map)(utf8proc_int32_t), char32_t c) {
  return static_cast<char32_t>(map(static_cast<utf8proc_int32_t>(c)));
}

utf8proc_category_t Category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

const Special* FindSpecial(char32_t c) {
  if (c < 0xDF) return nullptr;
  const auto* found = std::lower_bound(std::begin(kSpecialUpper), std::end(kSpecialUpper), c,
                                       [](const Special& s, char32_t point) { return s.from < point; });
  return found != std::end(kSpecialUpper) && found->from == c ? found : nullptr;
}

bool HasIotaRule(char32_t c) { return c >= 0x1F80 && c <= 0x1FAF; }

void AppendUpper(char32_t c, std::string* out) {
  if (HasIotaRule(c)) {
    const char32_t base = c < 0x1F90 ? 0x1F08 : c < 0x1FA0 ? 0x1F28 : 0x1F68;
    AppendCodePoint(base + (c & 7), out);
    AppendCodePoint(kIota, out);
  } else if (const Special* special = FindSpecial(c)) {
    for (const char32_t point : special->upper)
      if (point) AppendCodePoint(point, out);
  } else {
    AppendCodePoint(Map(utf8proc_toupper, c), out);
  }
}

void AppendTitle(char32_t c, std::string* out) {
  const Special* special = FindSpecial(c);
  const char32_t single = Map(utf8proc_totitle, c);
  const bool has_single = single != c || Category(c) == UTF8PROC_CATEGORY_LT;
  if (!special || (c >= 0x1F80 && c <= 0x1FFC && has_single)) return AppendCodePoint(single, out);
  AppendCodePoint(special->upper[0], out);
  for (const char32_t point : {special->upper[1], special->upper[2]}) {
    if (!point) break;
    const bool keep = c == 0x149;  // its second letter is the cased one
    AppendCodePoint(keep ? point : point == kIota ? kIotaSubscript : Map(utf8proc_tolower, point), out);
  }
}

bool IsCaseIgnorable(char32_t c) {
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x387 || c == 0x2018 || c == 0x2019 ||
             c == 0x2024 || c == 0x2027;
  }
}

// A capital sigma at the end of a word becomes the final one: a cased letter before it, none after it.
bool IsFinalSigma(std::string_view text, size_t at) {
  bool cased_before = false;
  size_t start = at;
  while (start > 0) {
    do --start;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80);
    const char32_t c = CodePointAt(text, start);
    if (IsCaseIgnorable(c)) continue;
    cased_before = IsCased(c);
    break;
  }
  if (!cased_before) return false;
  for (size_t next = at + 2; next < text.size(); next += CodePointSize(text, next)) {
    const char32_t c = CodePointAt(text, next);
    if (!IsCaseIgnorable(c)) return !IsCased(c);
  }
  return true;
}

void AppendLower(std::string_view text, size_t at, std::string* out) {
  const char32_t c = CodePointAt(text, at);
  if (c == 0x130) {
    *out += "i\xCC\x87";
  } else if (c == kSigma) {
    AppendCodePoint(IsFinalSigma(text, at) ? 0x3C2 : 0x3C3, out);
  } else {
    AppendCodePoint(Map(utf8proc_tolower, c), out);
  }
}

// An ill-formed byte stays as it is.
bool CopyIllFormed(std::string_view text, size_t at, std::string* out) {
  if (CodePointSize(text, at) != 1 || static_cast<unsigned char>(text[at]) < 0x80) return false;
  out->push_back(text[at]);
  return true;
}

}  // namespace

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  const auto category = Category(c);
  return category != UTF8PROC_CATEGORY_CN && category < UTF8PROC_CATEGORY_ZS;
}

bool IsUpper(char32_t c) {
  return Category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216F) || (c >= 0x24B6 && c <= 0x24CF);
}
bool IsLower(char32_t c) {
  return Category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA || (c >= 0x2170 && c <= 0x217F) ||
         (c >= 0x24D0 && c <= 0x24E9) || (c >= 0x2B0 && c <= 0x2B8) || (c >= 0x1D2C && c <= 0x1D6A);
}
bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c) || Category(c) == UTF8PROC_CATEGORY_LT; }
bool IsAlpha(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool IsDecimal(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_ND; }
bool IsDigit(char32_t c) {
  return IsDecimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}
bool IsNumericPoint(char32_t c) {
  const auto category = Category(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

std::string Upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at))
    if (!CopyIllFormed(text, at, &out)) AppendUpper(CodePointAt(text, at), &out);
  return out;
}

std::string Lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at))
    if (!CopyIllFormed(text, at, &out)) AppendLower(text, at, &out);
  return out;
}

std::string Capitalize(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at)) {
    if (CopyIllFormed(text, at, &out)) continue;
    if (at == 0) {
      AppendTitle(CodePointAt(text, at), &out);
    } else {
      AppendLower(text, at, &out);
    }
  }
  return out;
}

std::string Title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at)) {
    if (CopyIllFormed(text, at, &out)) continue;
    const char32_t c = CodePointAt(text, at);
    if (inside) {
      AppendLower(text, at, &out);
    } else {
      AppendTitle(c, &out);
    }
    inside = IsCased(c);
  }
  return out;
}

}  // namespace attune::jinja
