#include "curate/encoding.h"

#include <algorithm>

#include "curate/byte_scan.h"
#include "text/unicode.h"

namespace attune {
namespace {

// The byte that Windows-1252 has for a code point above ASCII, or 0. Its five holes stand for themselves, as
// on the web.
unsigned char Windows1252(char32_t c) {
  static constexpr char32_t kHigh[32] = {0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021,
                                         0x2C6,  0x2030, 0x160,  0x2039, 0x152,  0x8D,   0x17D,  0x8F,
                                         0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                         0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178};
  if (c >= 0x80 && c <= 0xFF) return static_cast<unsigned char>(c);  // the rest of C1: read as Latin-1
  if (c > 0x2122 || c < 0x152) return 0;
  for (unsigned i = 0; i < 32; ++i) {
    if (kHigh[i] == c) return static_cast<unsigned char>(0x80 + i);
  }
  return 0;
}

// One character that the Windows-1252 bytes of text[at...] spell in UTF-8; its end, or `at`.
size_t Spelled(std::string_view text, size_t at, char32_t* meant, unsigned char* lead) {
  std::string bytes;
  size_t end = at;
  size_t length = 4;
  while (bytes.size() < length && end < text.size() && static_cast<unsigned char>(text[end]) >= 0x80) {
    const unsigned char byte = Windows1252(NextCodePoint(text, &end));
    if (byte == 0) return at;
    bytes.push_back(static_cast<char>(byte));
    if (bytes.size() == 1) {
      if (byte < 0xC2 || byte > 0xF4) return at;
      length = Utf8Length(bytes[0]);
    }
  }
  if (bytes.size() < length || !IsValidUtf8(bytes)) return at;
  size_t zero = 0;
  *meant = NextCodePoint(bytes, &zero);
  *lead = static_cast<unsigned char>(bytes[0]);
  return end;
}

// Whether these two or three characters stand together in no language: Ã and  before a sign, â before € or ™.
bool IsSure(char32_t meant, unsigned char lead) {
  if (lead == 0xC3) return true;
  if (lead == 0xC2) return meant >= 0xA0;
  if (lead == 0xE2)
    return (meant >= 0x2010 && meant <= 0x206F) || meant == 0x20AC || meant == 0x2122 ||
           (meant >= 0x2190 && meant <= 0x21FF) || (meant >= 0x2700 && meant <= 0x27BF);
  if (lead == 0xEF) return meant == 0xFEFF || meant == 0xFFFD;
  return lead == 0xF0 && meant >= 0x1F000 && meant <= 0x1FAFF;
}

bool IsLetterAt(std::string_view text, size_t at) {
  if (at >= text.size()) return false;
  const char32_t c = NextCodePoint(text, &at);
  return c > '9' && !IsWhitespace(c) && !IsPunctuation(c);
}

// A word in capitals may end in Ã, with a quote, a dash or dots behind it; where a letter follows, it was Ô, Ö or Å.
bool MayEndWord(std::string_view text, size_t at, size_t end) {
  size_t behind = at;
  const char32_t lead = NextCodePoint(text, &behind), c = NextCodePoint(text, &behind);
  const bool closes = c == 0xBB || (c >= 0x2013 && c <= 0x201D) || c == 0x2026;
  if ((lead != 0xC3 && lead != 0xC2) || !closes || at == 0 || IsLetterAt(text, end)) return false;
  size_t before = PreviousCodePoint(text, at);
  if (IsLetterAt(text, before)) return true;
  const char32_t quote = NextCodePoint(text, &before);
  return quote == '"' || quote == '\'' || quote == 0xAB || (quote >= 0x2018 && quote <= 0x201E);
}

// No code point below 0x300 changes under NFC, and of these none does that stands alone; what joins with one
// before it (combining marks) is not among them.
bool IsSafeForNfc(char32_t c) {
  return c < 0x300 || (c >= 0x388 && c <= 0x482) || (c >= 0x48A && c <= 0x556) || (c >= 0x5D0 && c <= 0x5EA) ||
         (c >= 0x620 && c <= 0x64A) || (c >= 0x2010 && c <= 0x2027) || (c >= 0x2030 && c <= 0x205E) ||
         (c >= 0x3001 && c <= 0x3029) || (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FC) ||
         (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xFF01 && c <= 0xFFEE) ||
         (c >= 0x1F300 && c <= 0x1FAFF) || c == 0x20AC || c == 0x2122 || c == 0x200D || c == 0xFE0F;
}

bool IsControl(char32_t c) { return (c < 0x20 && c != '\n' && c != '\t' && c != '\r') || (c >= 0x7F && c < 0xA0); }

void AddEncoding(Rule rule, uint32_t part, size_t begin, size_t end, std::vector<Finding>* findings) {
  if (!findings->empty()) {  // one finding for characters side by side
    Finding& last = findings->back();
    if (last.rule == rule && last.part == part && last.end == begin) {
      last.end = end;
      return;
    }
  }
  findings->push_back({rule, part, begin, end, ""});
}

}  // namespace

bool IsOddCharacter(char32_t c) {
  if (c < 0xAD) return false;
  return c == 0xAD || c == 0x200B || (c >= 0x200E && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xE000 && c <= 0xF8FF) || (c >= 0xFDD0 && c <= 0xFDEF) ||
         (c & 0xFFFE) == 0xFFFE || c >= 0xF0000;
}

size_t MendMojibakeAt(std::string_view text, size_t at, Mojibake which, std::string* mended) {
  char32_t meant = 0;
  unsigned char lead = 0;
  size_t end = Spelled(text, at, &meant, &lead);
  if (end == at) return at;
  // One by itself must be sure. Several letters of another script in a row are no accident either.
  std::string spelled;
  size_t count = 0;
  bool sure = false;
  for (size_t from = at; from < text.size(); ++count) {
    const size_t next = Spelled(text, from, &meant, &lead);
    if (next == from) break;
    sure |= IsSure(meant, lead) && !MayEndWord(text, from, next);
    // Of two characters, those that stand for Latin, Greek or Cyrillic ones; of more, no text is.
    sure |= which == Mojibake::kLikely && (meant < 0x530 || meant >= 0x800);
    AppendUtf8(meant, &spelled);
    from = end = next;
  }
  if (!sure && count < 2) return at;
  *mended += spelled;
  return end;
}

namespace {

void FindOddities(std::string_view text, uint32_t part, Mojibake which, std::vector<Finding>* findings) {
  bool looked_at_nfc = false, is_nfc = true;
  for (size_t at = NextUnplain(text, 0); at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const size_t begin = at;
    if (byte < 0x80) {
      if (IsControl(byte)) AddEncoding(Rule::kControlCharacter, part, begin, at + 1, findings);
      at = NextUnplain(text, at + 1);
      continue;
    }
    const char32_t c = NextCodePoint(text, &at);
    if (c >= 0xC2 && c <= 0xF4) {
      std::string mended;
      const size_t end = MendMojibakeAt(text, begin, which, &mended);
      if (end > begin) {
        AddEncoding(Rule::kMojibake, part, begin, end, findings);
        at = end;
        continue;
      }
    }
    if (IsControl(c)) {
      AddEncoding(Rule::kControlCharacter, part, begin, at, findings);
    } else if (c == 0xFFFD) {
      AddEncoding(Rule::kReplacementCharacter, part, begin, at, findings);
    } else if (IsOddCharacter(c)) {
      AddEncoding(Rule::kOddUnicode, part, begin, at, findings);
    }
    if (!looked_at_nfc && !IsSafeForNfc(c)) {
      looked_at_nfc = true;
      is_nfc = NormalizeUnicode(text, NormalForm::kNfc) == text;
    }
  }
  if (!is_nfc) findings->push_back({Rule::kNotNfc, part, 0, text.size(), ""});
}

}  // namespace

void FindEncoding(std::string_view text, uint32_t part, std::vector<Finding>* findings) {
  const size_t before = findings->size();
  FindOddities(text, part, Mojibake::kSure, findings);
  const bool has_mojibake = std::any_of(findings->begin() + static_cast<std::ptrdiff_t>(before), findings->end(),
                                        [](const Finding& finding) { return finding.rule == Rule::kMojibake; });
  if (!has_mojibake) return;
  findings->resize(before);
  FindOddities(text, part, Mojibake::kLikely, findings);
}

}  // namespace attune
