#include "text/jinja_lexer.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

bool IsDigitChar(char c) { return c >= '0' && c <= '9'; }

bool IsNameStart(std::string_view s, size_t at) {
  const char32_t c = CodePointAt(s, at);
  return c == '_' || IsAlpha(c);
}

bool IsNamePart(std::string_view s, size_t at) {
  const char32_t c = CodePointAt(s, at);
  return c == '_' || IsAlpha(c) || IsNumericPoint(c);
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& where) : source_(source), where_(where) {}

  std::vector<Token> Run() {
    while (at_ < source_.size()) Text();
    Add(TokenType::kEnd, {});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void Fail(const std::string& message) const { BadInput("{}:{}: {}", where_, line_, message); }

  void Add(TokenType type, std::string_view text) { tokens_.push_back({type, line_, text}); }

  void Advance(size_t to) {
    line_ += static_cast<uint32_t>(std::count(source_.begin() + at_, source_.begin() + to, '\n'));
    if (to > at_) line_starts_ = source_[to - 1] == '\n';
    at_ = to;
  }

  bool At(size_t at, std::string_view text) const { return source_.substr(at).starts_with(text); }

  size_t SkipSpaces(size_t at) const {
    while (at < source_.size() && IsPythonSpace(CodePointAt(source_, at))) at += CodePointSize(source_, at);
    return at;
  }

  // After the name of a {% raw %} or {% endraw %} tag, the offset behind its "%}"; npos when this is no such
  // tag.
  size_t RawTagEnd(size_t tag, std::string_view name, bool plus_allowed, bool trim) const {
    size_t at = tag + 2;
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    at = SkipSpaces(at);
    if (!At(at, name)) return source_.npos;
    at = SkipSpaces(at + name.size());
    if (At(at, "-%}")) return SkipSpaces(at + 3);
    if (plus_allowed && At(at, "+%}")) return at + 3;
    if (!At(at, "%}")) return source_.npos;
    at += 2;
    return trim && At(at, "\n") ? at + 1 : at;
  }

  // Emits source[from, to) as template text in front of a tag whose opening is two characters and maybe a
  // sign.
  void AddText(size_t from, size_t to, char sign, bool is_expression) {
    std::string_view text = source_.substr(from, to - from);
    if (sign == '-') {
      text = Strip(text, false, true);
    } else if (sign != '+' && !is_expression) {
      const size_t newline = text.rfind('\n');
      const size_t start = newline == text.npos ? 0 : newline + 1;
      if ((start > 0 || line_starts_) && Strip(text.substr(start), true, false).empty()) text = text.substr(0, start);
    }
    if (!text.empty()) Add(TokenType::kText, text);
  }

  char SignAt(size_t at) const {
    return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0';
  }

  // Template text up to the next tag, and that tag.
  void Text() {
    size_t tag = at_;
    while (true) {
      tag = std::min(source_.find('{', tag), source_.size());
      if (tag >= source_.size() || At(tag, "{%") || At(tag, "{{") || At(tag, "{#")) break;
      ++tag;
    }
    if (tag >= source_.size()) {
      Add(TokenType::kText, source_.substr(at_));
      return Advance(source_.size());
    }
    const char kind = source_[tag + 1], sign = SignAt(tag + 2);
    AddText(at_, tag, sign, kind == '{');
    const size_t raw = kind == '%' ? RawTagEnd(tag, "raw", false, false) : source_.npos;
    Advance(tag);
    if (raw != source_.npos) {
      Advance(raw);
      return Raw();
    }
    Advance(tag + 2 + (sign ? 1 : 0));
    if (kind == '#') return Comment();
    Add(kind == '{' ? TokenType::kExprBegin : TokenType::kBlockBegin, source_.substr(tag, 2));
    Code(kind == '{');
  }

  void Comment() {
    const size_t close = source_.find("#}", at_);
    if (close == source_.npos) Fail("Missing end of comment tag");
    const char sign = close > at_ ? source_[close - 1] : '\0';
    size_t end = close + 2;
    if (sign == '-') {
      end = SkipSpaces(end);
    } else if (sign != '+' && At(end, "\n")) {
      ++end;
    }
    Advance(end);
  }

  void Raw() {
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != source_.npos; ++tag) {
      const size_t end = RawTagEnd(tag, "endraw", true, true);
      if (end == source_.npos) continue;
      AddText(at_, tag, SignAt(tag + 2), false);
      return Advance(end);
    }
    Fail("Missing end of raw directive");
  }

  // Everything between {{ and }} or {% and %}.
  void Code(bool is_expression) {
    std::string open;  // brackets not yet closed: inside them no end tag is looked for
    while (at_ < source_.size()) {
      if (open.empty() && CodeEnd(is_expression)) return;
      const char c = source_[at_];
      const size_t spaces = SkipSpaces(at_);
      if (spaces > at_) {
        Advance(spaces);
      } else if (IsDigitChar(c)) {
        Number();
      } else if (c == '\'' || c == '"') {
        StringLiteral(c);
      } else if (IsNameStart(source_, at_)) {
        size_t end = at_;
        while (end < source_.size() && IsNamePart(source_, end)) end += CodePointSize(source_, end);
        Emit(TokenType::kName, end);
      } else {
        Operator(&open);
      }
    }
    if (!open.empty()) Fail(std::string("unexpected end of template, expected '") + open.back() + "'");
    Fail(is_expression ? "unexpected end of template, expected end of print statement '}}'"
                       : "unexpected end of template, expected end of statement block '%}'");
  }

  bool CodeEnd(bool is_expression) {
    const std::string_view close = is_expression ? "}}" : "%}";
    const char sign = SignAt(at_);
    const bool signed_end = sign && At(at_ + 1, close) && (sign == '-' || !is_expression);
    if (!signed_end && !At(at_, close)) return false;
    Add(is_expression ? TokenType::kExprEnd : TokenType::kBlockEnd, close);
    size_t end = at_ + close.size() + (signed_end ? 1 : 0);
    if (signed_end && sign == '-') {
      end = SkipSpaces(end);
    } else if (!signed_end && !is_expression && At(end, "\n")) {
      ++end;
    }
    Advance(end);
    return true;
  }

  void Emit(TokenType type, size_t end) {
    Add(type, source_.substr(at_, end - at_));
    Advance(end);
  }

  size_t SkipDigits(size_t at) const {  // digits with single underscores between them
    size_t end = at;
    while (end < source_.size() &&
           (IsDigitChar(source_[end]) || (source_[end] == '_' && end > at && end + 1 < source_.size() &&
                                          IsDigitChar(source_[end - 1]) && IsDigitChar(source_[end + 1]))))
      ++end;
    return end;
  }

  void Number() {
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    size_t end = SkipDigits(at_);
    bool is_float = false;
    if (!after_dot) {
      if (At(end, ".") && SkipDigits(end + 1) > end + 1) {
        end = SkipDigits(end + 1);
        is_float = true;
      }
      if (end < source_.size() && (source_[end] | 32) == 'e') {
        const size_t digits = end + 1 + (SignAt(end + 1) ? 1 : 0);
        if (SkipDigits(digits) > digits) {
          end = SkipDigits(digits);
          is_float = true;
        }
      }
    }
    if (!is_float && source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char base = source_[at_ + 1] | 32;
      if (base == 'x' || base == 'o' || base == 'b')
        end = BasedNumberEnd(base);
      else if (end - at_ > 1 && source_.substr(at_, end - at_).find_first_not_of("0_") != source_.npos)
        Fail("integers may not begin with a zero");
    }
    Emit(is_float ? TokenType::kFloat : TokenType::kInteger, end);
  }

  size_t BasedNumberEnd(char base) const {
    const std::string_view digits = base == 'x' ? "0123456789abcdefABCDEF" : base == 'o' ? "01234567" : "01";
    size_t end = at_ + 2;
    while (end < source_.size()) {
      const size_t digit = end + (source_[end] == '_' ? 1 : 0);
      if (digit >= source_.size() || digits.find(source_[digit]) == digits.npos) break;
      end = digit + 1;
    }
    return end > at_ + 2 ? end : at_ + 1;
  }

  void StringLiteral(char quote) {
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) Fail("string literal without an end");
    Add(TokenType::kString, source_.substr(at_ + 1, end - at_ - 1));
    Advance(end + 1);
  }

  void Operator(std::string* open) {
    static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    const auto found =
        std::find_if(std::begin(kOperators), std::end(kOperators), [this](std::string_view op) { return At(at_, op); });
    if (found == std::end(kOperators))
      Fail("unexpected char '" + std::string(source_.substr(at_, CodePointSize(source_, at_))) + "'");
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty()) Fail(std::string("unexpected '") + c + "'");
      if (open->back() != c) Fail(std::string("unexpected '") + c + "', expected '" + open->back() + "'");
      open->pop_back();
    }
    Emit(TokenType::kOperator, at_ + found->size());
  }

  std::string_view source_;
  const std::string& where_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool line_starts_ = true;  // what was read last ended with a newline
};

int HexValue(char c) {
  return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

}  // namespace

std::string NormalizeTemplate(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

std::vector<Token> Tokenize(std::string_view source, const std::string& where) { return Lexer(source, where).Run(); }

std::string Unescape(const Token& token, const std::string& where) {
  const std::string_view text = token.text;
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '\\' || at + 1 >= text.size()) {
      out += text[at++];
      continue;
    }
    const char c = text[at + 1];
    at += 2;
    static constexpr std::string_view kFrom = "abfnrtv\\'\"", kTo = "\a\b\f\n\r\t\v\\'\"";
    if (c == '\n') continue;  // an escaped line end joins lines
    if (const size_t simple = kFrom.find(c); simple != kFrom.npos) {
      out += kTo[simple];
    } else if (c >= '0' && c <= '7') {
      char32_t value = static_cast<char32_t>(c - '0');
      for (int i = 0; i < 2 && at < text.size() && text[at] >= '0' && text[at] <= '7'; ++i)
        value = value * 8 + static_cast<char32_t>(text[at++] - '0');
      AppendCodePoint(value, &out);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const int digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      char32_t value = 0;
      for (int i = 0; i < digits; ++i) {
        const int digit = at < text.size() ? HexValue(text[at]) : -1;
        if (digit < 0) BadInput("{}:{}: truncated \\{} escape in a string", where, token.line, c);
        value = value * 16 + static_cast<char32_t>(digit);
        ++at;
      }
      if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        BadInput("{}:{}: a \\{} escape names U+{:04X}, which is no character", where, token.line, c,
                 static_cast<uint32_t>(value));
      AppendCodePoint(value, &out);
    } else if (c == 'N') {
      BadInput("{}:{}: \\N{{...}} escapes are not supported; write the character itself", where, token.line);
    } else {
      out += '\\';
      out += c;
    }
  }
  return out;
}

}  // namespace attune::jinja
