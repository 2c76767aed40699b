#include "formats/json.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace attune {
namespace {

constexpr int kMaxDepth = 256;
constexpr int64_t kMaxOrderedKeys = 20000;

[[noreturn]] void SyntaxError(std::string_view text, size_t offset, const std::string& where, std::string_view reason) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t line_start = before.rfind('\n');
  const size_t column = before.size() - (line_start == std::string_view::npos ? 0 : line_start + 1) + 1;
  BadInput("{}:{}:{}: not valid JSON: {}", where, line, column, reason);
}

// One pass over the brackets outside strings. On text that is not JSON the counts mean nothing, and the
// parser finds the error itself.
void CheckLimits(std::string_view text, const std::string& where, bool ordered) {
  bool in_string = false;
  int depth = 0;
  int64_t keys = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) SyntaxError(text, i, where, fmt::format("nested deeper than {} levels", kMaxDepth));
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ':') {
      ++keys;
    } else if (c == '\0') {
      SyntaxError(text, i, where, "a zero byte");  // the parser would take it for the end of the text
    }
  }
  if (ordered && keys > kMaxOrderedKeys) {
    BadInput("{}: has {} keys, more than the {} that a configuration may have", where, keys, kMaxOrderedKeys);
  }
}

// The parser's reason without its own numbering, place and quotation of the text.
std::string Reason(const std::exception& error) {
  std::string reason = error.what();
  if (const size_t tag = reason.find("] "); tag != std::string::npos) reason.erase(0, tag + 2);
  if (reason.starts_with("parse error")) {
    if (const size_t colon = reason.find(": "); colon != std::string::npos) reason.erase(0, colon + 2);
  }
  if (const size_t quote = reason.find("; last read"); quote != std::string::npos) reason.erase(quote);
  return reason;
}

template <class Json>
Json Parse(std::string_view text, const std::string& where, bool ordered) {
  CheckLimits(text, where, ordered);
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::parse_error& error) {
    SyntaxError(text, error.byte > 0 ? error.byte - 1 : 0, where, Reason(error));
  } catch (const nlohmann::json::exception& error) {
    BadInput("{}: not valid JSON: {}", where, Reason(error).substr(0, 200));
  }
}

}  // namespace

nlohmann::json ParseJson(std::string_view text, const std::string& where) {
  return Parse<nlohmann::json>(text, where, false);
}

nlohmann::ordered_json ParseOrderedJson(std::string_view text, const std::string& where) {
  return Parse<nlohmann::ordered_json>(text, where, true);
}

nlohmann::json ParseJsonFile(const std::string& path) { return ParseJson(ReadFile(path), path); }

nlohmann::json ParseJsonObjectFile(const std::string& path) {
  nlohmann::json object = ParseJsonFile(path);
  if (!object.is_object()) BadInput("{}: must hold a JSON object", path);
  return object;
}

nlohmann::ordered_json ParseOrderedJsonFile(const std::string& path) { return ParseOrderedJson(ReadFile(path), path); }

}  // namespace attune
