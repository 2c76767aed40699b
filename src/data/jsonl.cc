#include "data/jsonl.h"

#include "base/error.h"
#include "formats/json.h"

namespace attune {

using Json = nlohmann::ordered_json;

std::vector<JsonlLine> SplitJsonl(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<JsonlLine> lines;
  for (int64_t number = 1; !text.empty(); ++number) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) lines.push_back({number, line});
  }
  return lines;
}

Json ParseJsonlLine(const JsonlLine& line, const std::string& path) {
  const std::string where = fmt::format("{}:{}", path, line.number);
  Json row;
  try {
    row = ParseOrderedJson(line.text, where);
  } catch (const Error& error) {
    // The parser counts lines within the text it is given, and here that is always the first.
    std::string message = error.what();
    if (message.starts_with(where + ":1:")) message.erase(where.size(), 2);
    BadInput("{}; every line must hold one whole JSON object", message);
  }
  if (row.is_array() && line.number == 1)
    BadInput("{}: a row must be an object, and this is an array: write one object a line (JSON Lines)",
             where);
  if (!row.is_object()) BadInput("{}: a row must be an object, found {}", where, row.type_name());
  return row;
}

}  // namespace attune
