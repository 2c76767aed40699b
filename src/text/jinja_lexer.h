// Splits a template into tokens, with Jinja's rules for white space: trim_blocks and lstrip_blocks on, one
// trailing newline of the template dropped, "-" and "+" at the tags.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attune::jinja {

enum class TokenType : uint8_t {
  kText,
  kExprBegin,
  kExprEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenType type;
  uint32_t line;
  // A piece of the source: template text, a name, an operator; a string's characters between its quotes,
  // escapes and all; a number as written.
  std::string_view text;

  bool Is(TokenType t, std::string_view s) const { return type == t && text == s; }
  bool IsName(std::string_view s) const { return Is(TokenType::kName, s); }
  bool IsOperator(std::string_view s) const { return Is(TokenType::kOperator, s); }
};

// \r\n and \r become \n, and a newline at the very end goes.
std::string NormalizeTemplate(std::string_view source);

// `source` is normalised and outlives the tokens. The last token is kEnd. Throws Error{kBadInput}
// "WHERE:LINE: ...".
std::vector<Token> Tokenize(std::string_view source, const std::string& where);

// The characters of a string literal, its escapes resolved as Python does. Throws like Tokenize.
std::string Unescape(const Token& token, const std::string& where);

}  // namespace attune::jinja
