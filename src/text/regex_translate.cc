// Oniguruma's syntax as PCRE2 would have to read it. Only what differs is rewritten; what PCRE2 cannot say is
// refused by name, since a pattern that silently means something else would give other tokens than the model
// was trained on.

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace attune {
namespace {

// Insides of character classes. PCRE2's own \s adds U+180E and its \w leaves out marks and joining
// punctuation.
constexpr std::string_view kSpace =
    "\\t-\\r\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}";
// Oniguruma's \w also takes some digits of Latin-1, but only outside classes.
constexpr std::string_view kPosixWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}";
constexpr std::string_view kHex = "0-9A-Fa-f";
constexpr int kMaxClassDepth = 32;

// Long names of properties, which PCRE2 does not know.
constexpr std::string_view kPropertyNames =
    " "
    "letter=L uppercaseletter=Lu lowercaseletter=Ll titlecaseletter=Lt casedletter=L& "
    "modifierletter=Lm otherletter=Lo mark=M combiningmark=M nonspacingmark=Mn spacingmark=Mc "
    "enclosingmark=Me number=N decimalnumber=Nd letternumber=Nl othernumber=No punctuation=P "
    "connectorpunctuation=Pc dashpunctuation=Pd openpunctuation=Ps closepunctuation=Pe "
    "initialpunctuation=Pi finalpunctuation=Pf otherpunctuation=Po symbol=S mathsymbol=Sm "
    "currencysymbol=Sc modifiersymbol=Sk othersymbol=So separator=Z spaceseparator=Zs "
    "lineseparator=Zl paragraphseparator=Zp other=C control=Cc format=Cf surrogate=Cs privateuse=Co "
    "unassigned=Cn alpha=Alphabetic digit=Nd space=White_Space upper=Uppercase lower=Lowercase "
    "punct=P cntrl=Cc ";

// Insides of [:name:]; PCRE2 reads the names that are not here as Oniguruma does.
constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kPosixNames = {{
    {"alpha", "\\p{Alphabetic}"},
    {"alnum", "\\p{Alphabetic}\\p{Nd}"},
    {"upper", "\\p{Uppercase}"},
    {"lower", "\\p{Lowercase}"},
    {"punct", "\\p{P}\\p{S}"},
    {"space", kSpace},
    {"blank", "\\t\\p{Zs}"},
    {"word", kPosixWord},
    {"xdigit", kHex},
}};

bool Compiles(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
                                   &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

bool IsHex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsQuantifier(char c) { return c == '*' || c == '+' || c == '?' || c == '{'; }

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string Run() {
    while (at_ < pattern_.size()) Step();
    return std::move(out_);
  }

 private:
  [[noreturn]] void Refuse(std::string_view what) const {
    BadInput("{}: the regular expression '{}' uses {}, which is not supported", where_, pattern_, what);
  }

  char Peek(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }

  std::string_view TakeCharacter() {
    const std::string_view c = pattern_.substr(at_, Utf8Length(pattern_[at_]));
    at_ += c.size();
    return c;
  }

  void Atom(std::string_view text) {
    atom_ = out_.size();
    out_ += text;
  }

  void Step() {
    const char c = Peek();
    if (c == '\\') {
      Escape();
    } else if (c == '[') {
      ++at_;
      const std::string set = Class(0);
      Atom(set);
    } else if (c == '(') {
      Group();
    } else if (c == ')') {
      ++at_;
      out_ += ')';
      if (groups_.empty()) Refuse("an unmatched ')'");
      atom_ = groups_.back();
      groups_.pop_back();
    } else if (IsQuantifier(c)) {
      Quantifier();
    } else if (c == ']' || c == '}') {
      ++at_;
      Atom(c == ']' ? "\\]" : "\\}");
    } else {
      Atom(TakeCharacter());
    }
  }

  // "(" and what follows it up to the group's body.
  void Group() {
    const size_t start = out_.size();
    if (pattern_.substr(at_, 3) == "(?#") Refuse("a (?#comment)");
    ++at_;
    out_ += '(';
    if (Peek() != '?') {
      groups_.push_back(start);
      return;
    }
    ++at_;
    out_ += '?';
    const bool is_flags = std::isalpha(static_cast<unsigned char>(Peek())) != 0 || Peek() == '-';
    if (!is_flags) {  // (?: (?= (?! (?> (?<name> (?<= (?<!
      out_ += TakeCharacter();
      groups_.push_back(start);
      return;
    }
    for (; Peek() == 'i' || Peek() == 'm' || Peek() == '-'; ++at_) out_ += Peek() == 'm' ? 's' : Peek();
    if (Peek() == ':') {
      out_ += TakeCharacter();
      groups_.push_back(start);
    } else if (Peek() == ')') {  // until the end of the group: the same in PCRE2 when nothing stands before it
      if (start != 0 && out_[start - 1] != '(' && out_[start - 1] != ':') Refuse("options in mid-pattern");
      out_ += TakeCharacter();
    } else {
      Refuse(std::string("the option '") + Peek() + "'");
    }
  }

  void Wrap() {
    out_.insert(atom_, "(?:");
    out_ += ')';
  }

  void Quantifier() {
    if (Peek() == '{') {
      size_t end = at_ + 1;
      while (end < pattern_.size() && (IsDigit(pattern_[end]) || pattern_[end] == ',')) ++end;
      const std::string_view body = pattern_.substr(at_ + 1, end - at_ - 1);
      const bool is_interval = end < pattern_.size() && pattern_[end] == '}' && !body.empty() && body != "," &&
                               std::count(body.begin(), body.end(), ',') <= 1;
      if (!is_interval) {
        ++at_;
        Atom("\\{");
        return;
      }
      out_ += '{';
      if (body.front() == ',') out_ += '0';
      out_ += body;
      out_ += '}';
      at_ = end + 1;
      const bool exact = body.find(',') == std::string_view::npos;
      if (Peek() == '?' && !exact) out_ += TakeCharacter();  // {n}? is (?:{n})? and {n,m}+ is (?:{n,m})+
    } else {
      out_ += TakeCharacter();
      if (Peek() == '?' || Peek() == '+') out_ += TakeCharacter();
    }
    if (IsQuantifier(Peek())) Wrap();
  }

  void Escape() {
    ++at_;
    if (at_ >= pattern_.size()) Refuse("a lone '\\' at its end");
    const char c = Peek();
    const auto set = [&](std::string_view open, std::string_view inside) {
      ++at_;
      Atom(std::string(open) + std::string(inside) + "]");
    };
    switch (c) {
      case 's':
        return set("[", kSpace);
      case 'S':
        return set("[^", kSpace);
      case 'w':
        return set("[", kWord);
      case 'W':
        return set("[^", kWord);
      case 'h':
        return set("[", kHex);
      case 'H':
        return set("[^", kHex);
      case 'b':
        return WordEdge("(?![", "(?=[");
      case 'B':
        return WordEdge("(?=[", "(?![");
      case 'k': {
        const std::string_view name = pattern_.substr(at_, pattern_.find('>', at_) - at_ + 1);
        at_ += name.size();
        return Atom("\\" + std::string(name));
      }
      default:
        break;
    }
    constexpr std::string_view kSame = "dDAZzGKRX";
    if (kSame.find(c) != std::string_view::npos || (c >= '1' && c <= '9')) {
      ++at_;
      return Atom(std::string("\\") + c);
    }
    const std::string literal = CommonEscape();
    Atom(literal);
  }

  // \b and \B: between characters of which one, or both or neither, is in \w as Oniguruma has it.
  void WordEdge(std::string_view after_word, std::string_view after_other) {
    ++at_;
    Atom(fmt::format("(?:(?<=[{0}]){1}{0}])|(?<![{0}]){2}{0}]))", kWord, after_word, after_other));
  }

  // Escapes that mean the same inside and outside a class; at_ stands on the letter.
  std::string CommonEscape() {
    const char c = Peek();
    if (c == 'p' || c == 'P') return Property();
    if (c == 'u' || c == 'x') return CodePoint();
    if (c == 'v') {
      ++at_;
      return "\\x{0B}";
    }
    if (c == '0') {
      ++at_;
      return "\\x{0}";
    }
    constexpr std::string_view kSame = "aefnrt";
    const bool plain = static_cast<unsigned char>(c) >= 0x80;
    const bool letter = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (!plain && letter && kSame.find(c) == std::string_view::npos) Refuse(std::string("the escape \\") + c);
    return (plain ? "" : "\\") + std::string(TakeCharacter());
  }

  std::string CodePoint() {
    const bool braces = Peek(1) == '{';
    const size_t first = at_ + (braces ? 2 : 1);
    const size_t most = braces ? 8 : Peek() == 'u' ? 4 : 2;
    size_t end = first;
    while (end < pattern_.size() && end - first < most && IsHex(pattern_[end])) ++end;
    const std::string digits(pattern_.substr(first, end - first));
    if (digits.empty() || (braces && (end >= pattern_.size() || pattern_[end] != '}')))
      Refuse("an unfinished \\x or \\u");
    if (!braces && Peek() == 'u' && digits.size() != 4) Refuse("an unfinished \\u");
    if (!braces && Peek() == 'x' && digits.size() == 2 && digits[0] >= '8')
      Refuse("a single byte of a character (\\x)");
    at_ = end + (braces ? 1 : 0);
    return "\\x{" + digits + "}";
  }

  std::string Property() {
    std::string escape = std::string("\\") + Peek();
    ++at_;
    if (Peek() != '{') {  // \pL
      if (at_ >= pattern_.size()) Refuse("an unfinished \\p");
      return escape + "{" + std::string(TakeCharacter()) + "}";
    }
    const size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos) Refuse("an unfinished \\p{");
    std::string name(pattern_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    std::string caret;
    if (name.starts_with('^')) {
      caret = "^";
      name.erase(0, 1);
    }
    std::string key;
    for (const char c : name) {
      if (c != ' ' && c != '_' && c != '-') key += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    if (const size_t found = kPropertyNames.find(" " + key + "="); found != std::string_view::npos) {
      const std::string_view rest = kPropertyNames.substr(found + key.size() + 2);
      return escape + "{" + caret + std::string(rest.substr(0, rest.find(' '))) + "}";
    }
    // PCRE2 takes a bare script name as Script_Extensions; Oniguruma means Script.
    if (key.size() > 2 && Compiles("\\p{sc:" + key + "}")) return escape + "{" + caret + "sc:" + key + "}";
    return escape + "{" + caret + name + "}";
  }

  // After '[': an expression that matches one character. Nested sets, && and \W become alternations and
  // look-aheads.
  std::string Class(int depth) {
    if (depth > kMaxClassDepth) Refuse("character classes nested too deeply");
    const bool negated = Peek() == '^';
    if (negated) ++at_;
    std::vector<std::string> operands;  // of &&
    std::string items;
    std::vector<std::string> others;
    for (bool first = true;; first = false) {
      if (at_ >= pattern_.size()) Refuse("an unfinished character class");
      const char c = Peek();
      if (c == ']' && !first) {
        ++at_;
        break;
      }
      if (c == '&' && Peek(1) == '&') {
        at_ += 2;
        operands.push_back(Union(std::exchange(items, {}), std::exchange(others, {})));
      } else if (c == '[' && Peek(1) == ':' && pattern_.find(":]", at_) != std::string_view::npos) {
        Posix(&items, &others);
      } else if (c == '[') {
        ++at_;
        others.push_back(Class(depth + 1));
      } else if (c == '\\') {
        ClassEscape(&items, &others);
      } else if (c == ']' || c == '^') {
        ++at_;
        items += c == ']' ? "\\]" : "\\^";
      } else {
        items += TakeCharacter();
      }
    }
    if (operands.empty() && others.empty() && !items.empty()) return (negated ? "[^" : "[") + items + "]";
    std::string all = Union(std::move(items), std::move(others));
    for (const std::string& operand : operands) all = "(?=" + operand + ")" + all;
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  static std::string Union(std::string items, std::vector<std::string> others) {
    std::string out = items.empty() ? "" : "[" + items + "]";
    for (const std::string& other : others) out += (out.empty() ? "" : "|") + other;
    return out.empty() ? "(?!)" : "(?:" + out + ")";
  }

  // [:name:] or [:^name:]
  void Posix(std::string* items, std::vector<std::string>* others) {
    const size_t end = pattern_.find(":]", at_);
    std::string_view name = pattern_.substr(at_ + 2, end - at_ - 2);
    const bool negated = name.starts_with('^');
    if (negated) name.remove_prefix(1);
    std::string inside = fmt::format("[:{}:]", name);
    for (const auto& [known, its_inside] : kPosixNames) {
      if (name == known) inside = its_inside;
    }
    at_ = end + 2;
    if (negated) {
      others->push_back("[^" + inside + "]");
    } else {
      *items += inside;
    }
  }

  void ClassEscape(std::string* items, std::vector<std::string>* others) {
    ++at_;
    if (at_ >= pattern_.size()) Refuse("an unfinished character class");
    const char c = Peek();
    bool is_set = true;
    switch (c) {
      case 's':
        *items += kSpace, ++at_;
        break;
      case 'S':
        *items += "\\P{White_Space}", ++at_;
        break;
      case 'w':
        *items += kPosixWord, ++at_;
        break;
      case 'W':
        others->push_back("[^" + std::string(kPosixWord) + "]"), ++at_;
        break;
      case 'h':
        *items += kHex, ++at_;
        break;
      case 'H':
        others->push_back("[^" + std::string(kHex) + "]"), ++at_;
        break;
      case 'd':
      case 'D':
        *items += std::string("\\") + c, ++at_;
        break;
      case 'b':
        *items += "\\x{08}", ++at_, is_set = false;
        break;
      default:
        is_set = c == 'p' || c == 'P', *items += CommonEscape();
    }
    if (is_set && Peek() == '-') {  // never a range
      ++at_;
      *items += "\\-";
    }
  }

  std::string_view pattern_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
  size_t atom_ = 0;             // where in out_ the last atom starts
  std::vector<size_t> groups_;  // where in out_ the open groups start
};

}  // namespace

std::string TranslateOnigurumaPattern(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).Run();
}

}  // namespace attune
