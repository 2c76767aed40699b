#include "curate/personal_data.h"

#include <algorithm>
#include <string>
#include <utility>

#include "curate/byte_scan.h"

namespace attune {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsAlnum(char c) { return IsDigit(c) || IsUpper(c) || (c >= 'a' && c <= 'z'); }

// ---------------------------------------------------------------- e-mail

// Letters of Latin script beyond ASCII (U+00C0 to U+024F) take two bytes.
bool IsLatinLead(char c) { return c >= '\xC3' && c <= '\xC9'; }
bool IsTail(char c) { return (c & 0xC0) == 0x80; }

size_t BeginOfLocalPart(std::string_view text, size_t at) {
  constexpr size_t kLongest = 64;
  const auto is_local = [](char c) { return IsAlnum(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-'; };
  size_t begin = at;
  while (begin > 0 && at - begin < kLongest) {
    if (is_local(text[begin - 1])) {
      --begin;
    } else if (begin > 1 && IsTail(text[begin - 1]) && IsLatinLead(text[begin - 2])) {
      begin -= 2;
    } else {
      break;
    }
  }
  while (begin < at && text[begin] == '.') ++begin;
  return begin;
}

size_t EndOfDomain(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size()) {
    if (IsAlnum(text[end]) || text[end] == '.' || text[end] == '-') {
      ++end;
    } else if (end + 1 < text.size() && IsLatinLead(text[end]) && IsTail(text[end + 1])) {
      end += 2;
    } else {
      break;
    }
  }
  while (end > at && (text[end - 1] == '.' || text[end - 1] == '-')) --end;
  return end;
}

// Code has signs like it: "git@host.org:team/project.git", "x @ y" without blanks in "x@self.weight" and
// "A@B.transpose()".
bool IsCode(std::string_view domain, std::string_view behind) {
  const char next = behind.empty() ? ' ' : behind[0];
  const bool path = next == ':' && behind.size() > 1 && (IsAlnum(behind[1]) || behind[1] == '/' || behind[1] == '~');
  return path || next == '(' || next == '[' || domain.starts_with("self.");
}

void FindEmails(std::string_view text, uint32_t part, std::vector<Finding>* findings) {
  for (size_t at = text.find('@'); at != text.npos; at = text.find('@', at + 1)) {
    const size_t begin = BeginOfLocalPart(text, at), end = EndOfDomain(text, at + 1);
    const std::string_view domain = text.substr(at + 1, end - at - 1);
    const size_t dot = domain.rfind('.');
    if (begin == at || dot == domain.npos || dot == 0 || domain.find("..") != domain.npos) continue;
    const std::string_view top = domain.substr(dot + 1);
    if (top.size() < 2 || std::any_of(top.begin(), top.end(), IsDigit)) continue;
    if (IsCode(domain, text.substr(end))) continue;
    findings->push_back({Rule::kEmail, part, begin, end, ""});
  }
}

// ---------------------------------------------------------------- numbers

// Digits in groups, "+49 30 123456": a candidate for a card or a telephone.
struct Number {
  size_t begin = 0, end = 0;
  bool plus = false, other_separators = false;  // than blanks and hyphens
  std::string digits;
  std::vector<size_t> groups;  // digits in each
};

constexpr size_t kMostDigits = 19;

Number ReadNumber(std::string_view text, size_t at) {
  Number number;
  number.begin = at;
  if (at > 0 && text[at - 1] == '(') --number.begin;
  if (number.begin > 0 && text[number.begin - 1] == '+') number.plus = true, --number.begin;
  size_t i = at, group = 0;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (IsDigit(c)) {
      number.digits += c;
      ++group;
      number.end = i + 1;
      if (number.digits.size() > kMostDigits) break;  // it is neither, however long a list of numbers this is
      continue;
    }
    // At most two separators between groups, ") " and " (": a line break or a word ends the number.
    const size_t ahead = text.find_first_not_of(" -./()", i);
    if (ahead == text.npos || !IsDigit(text[ahead]) || ahead - i > 2) break;
    for (; i < ahead; ++i) number.other_separators |= text[i] != ' ' && text[i] != '-';
    number.groups.push_back(group);
    group = 0;
    --i;
  }
  number.groups.push_back(group);
  return number;
}

bool PassesLuhn(std::string_view digits) {
  int sum = 0;
  for (size_t i = 0; i < digits.size(); ++i) {
    int digit = digits[digits.size() - 1 - i] - '0';
    if (i % 2 == 1) digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
    sum += digit;
  }
  return sum % 10 == 0;
}

bool IsCard(const Number& number) {
  const std::string& d = number.digits;
  if (number.plus || number.other_separators || d.size() < 13 || d.size() > kMostDigits || number.groups.size() > 5)
    return false;
  if (std::any_of(number.groups.begin(), number.groups.end(), [](size_t size) { return size < 2; })) return false;
  const int two = (d[0] - '0') * 10 + d[1] - '0', four = two * 100 + (d[2] - '0') * 10 + d[3] - '0';
  const bool issued = d[0] == '4' || (two >= 51 && two <= 55) || (four >= 2221 && four <= 2720) || two == 34 ||
                      two == 37 || two == 35 || two == 36 || two == 38 || two == 39 || two == 30 || four == 6011 ||
                      two == 65 || two == 62 || two == 50 || (two >= 56 && two <= 58);
  return issued && PassesLuhn(d);
}

bool IsPhone(const Number& number) {
  const size_t digits = number.digits.size();
  const auto& groups = number.groups;
  if (number.plus) return digits >= 8 && digits <= 15 && number.digits[0] != '0';
  // As dialled: 00 for the plus, at the start of a group of its country's digits.
  if (groups.size() >= 3 && (groups[0] == 4 || groups[0] == 5) && number.digits.starts_with("00") &&
      number.digits[2] != '0')
    return digits >= 10 && digits <= 17;
  if (digits > 12 || groups.size() < 2) return false;
  const std::vector<size_t> american = {3, 3, 4};
  if (groups == american && number.digits[0] != '0') return true;
  if (groups.size() == 4 && groups[0] == 1 && number.digits[0] == '1' &&
      std::equal(american.begin(), american.end(), groups.begin() + 1))
    return true;
  // National: a leading 0, then groups of at least two digits; not a date (01.02.2003).
  const bool grouped = std::all_of(groups.begin(), groups.end(), [](size_t size) { return size >= 2; });
  return number.digits[0] == '0' && digits >= 9 && groups.size() <= 5 && groups[0] >= 3 && grouped;
}

// The account that begins with the two letters at `at`, or its end at `at`.
size_t EndOfIban(std::string_view text, size_t at) {
  std::string symbols;
  size_t end = at, i = at;
  for (; i < text.size() && symbols.size() <= 34; ++i) {
    if (IsDigit(text[i]) || IsUpper(text[i])) {
      symbols += text[i];
    } else if (text[i] != ' ' || symbols.size() % 4 != 0 || symbols.empty()) {
      break;
    }
  }
  if (i < text.size() && IsAlnum(text[i]) && i > at && text[i - 1] != ' ') return at;  // a longer word
  // A word in capitals may follow after a blank, so the longest account that holds is taken.
  size_t count = symbols.size();
  for (; count >= 15; --count) {
    if (count > 34) continue;
    const std::string moved = symbols.substr(4, count - 4) + symbols.substr(0, 4);
    int rest = 0;
    for (const char c : moved) rest = IsDigit(c) ? (rest * 10 + c - '0') % 97 : (rest * 100 + c - 'A' + 10) % 97;
    if (rest != 1) continue;
    size_t seen = 0;
    for (end = at; seen < count; ++end) seen += text[end] != ' ';
    if (end == text.size() || !IsAlnum(text[end])) return end;
  }
  return at;
}

void FindNumbers(std::string_view text, uint32_t part, std::vector<Finding>* findings) {
  for (size_t i = NextDigit(text, 0); i < text.size(); i = NextDigit(text, i + 1)) {
    const bool after_letter = i > 0 && (IsAlnum(text[i - 1]) || text[i - 1] == '_');
    if (i >= 2 && IsUpper(text[i - 1]) && IsUpper(text[i - 2]) && (i == 2 || !IsAlnum(text[i - 3])) &&
        i + 1 < text.size() && IsDigit(text[i + 1])) {
      const size_t end = EndOfIban(text, i - 2);
      if (end > i) {
        findings->push_back({Rule::kIban, part, i - 2, end, ""});
        i = end - 1;
        continue;
      }
    }
    // A short group with nothing behind it is most numbers there are; it is passed over without a closer
    // look.
    size_t run = i;
    while (run < text.size() && IsDigit(text[run])) ++run;
    const bool goes_on = run + 1 < text.size() && (text[run] == ' ' || text[run] == '-' || text[run] == '.' ||
                                                   text[run] == '/' || text[run] == ')');
    if (after_letter || (run - i < 7 && !goes_on)) {
      i = run;
      continue;
    }
    const Number number = ReadNumber(text, i);
    const bool ends = number.end == text.size() || !IsAlnum(text[number.end]);
    if (ends && IsCard(number)) {
      findings->push_back({Rule::kCardNumber, part, number.begin, number.end, ""});
    } else if (ends && IsPhone(number)) {
      findings->push_back({Rule::kPhone, part, number.begin, number.end, ""});
    } else {
      i = run;
      continue;
    }
    i = number.end;
  }
}

}  // namespace

void FindPersonalData(std::string_view text, uint32_t part, std::vector<Finding>* findings) {
  const size_t before = findings->size();
  FindEmails(text, part, findings);
  const bool both = findings->size() > before;
  FindNumbers(text, part, findings);
  if (!both) return;
  std::sort(findings->begin() + static_cast<std::ptrdiff_t>(before), findings->end(),
            [](const Finding& a, const Finding& b) { return a.begin < b.begin; });
}

const SecretFinder::Stretch& SecretFinder::StretchAt(size_t start, bool dotted) {
  Stretch& stretch = stretches_[dotted];
  if (start >= stretch.begin && start < stretch.end) return stretch;
  stretch = {start, start};
  size_t at = start;
  for (; at < text_.size(); ++at) {
    const char c = text_[at];
    if (IsDigit(c)) {
      stretch.digits = at + 1;
    } else if (IsAlnum(c)) {
      stretch.letters = at + 1;
    } else if (dotted && c == '.') {
      continue;
    } else if (c != '_' && c != '-') {
      break;
    }
    for (size_t dot = stretch.end; dot < at; ++dot) stretch.earlier_dots = std::exchange(stretch.dots, dot + 1);
    stretch.end = at + 1;
  }
  return stretch;
}

std::optional<size_t> SecretFinder::End(size_t at, std::string_view beginning) {
  if (at > 0 && (IsAlnum(text_[at - 1]) || text_[at - 1] == '_')) return std::nullopt;
  const size_t start = at + beginning.size();
  if (beginning == "-----BEGIN ") {
    const std::string_view rest = text_.substr(start);
    const size_t title = rest.substr(0, 64).find("PRIVATE KEY-----");
    if (title == rest.npos) return std::nullopt;
    const size_t close = text_.find("-----END ", start);
    if (close == text_.npos) return text_.size();
    const size_t last = text_.find("-----", close + 9);
    return last == text_.npos ? text_.size() : last + 5;
  }
  if (beginning == "AKIA" || beginning == "ASIA") {
    size_t end = start;
    while (end < text_.size() && (IsUpper(text_[end]) || IsDigit(text_[end]))) ++end;
    return end - start == 16 ? std::optional(end) : std::nullopt;
  }
  const bool jwt = beginning == "eyJ", dotted = jwt || beginning == "SG.";
  const Stretch& stretch = StretchAt(start, dotted);
  const size_t size = stretch.end - start;
  if (dotted) {
    const bool parted = (jwt ? stretch.earlier_dots : stretch.dots) > start;
    return parted && size >= 40 ? std::optional(stretch.end) : std::nullopt;
  }
  const size_t least = beginning == "glpat-" ? 18 : beginning == "AIza" ? 33 : 20;
  const bool mixed = stretch.digits > start && stretch.letters > start;
  // Of what begins like a name with underscores, keys go on without.
  const bool plain = beginning.ends_with('_') && beginning != "github_pat_";
  if (plain && size >= least && text_.substr(start, least).find_first_of("_-") != text_.npos) return std::nullopt;
  return size >= least && mixed ? std::optional(stretch.end) : std::nullopt;
}

}  // namespace attune
