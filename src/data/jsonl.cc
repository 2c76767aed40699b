#include "data/jsonl.h"

#include "base/error.h"
#include "formats/json.h"

namespace attune {

using Json = nlohmann::ordered_json;

LineReader::LineReader(std::string_view text) : rest_(text) {
  if (rest_.starts_with("\xEF\xBB\xBF")) rest_.remove_prefix(3);
}

bool LineReader::Next(JsonlLine* line) {
  while (!rest_.empty()) {
    const size_t end = rest_.find('\n');
    std::string_view text = rest_.substr(0, end);
    rest_.remove_prefix(end == rest_.npos ? rest_.size() : end + 1);
    ++number_;
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.find_first_not_of(" \t\r") == text.npos) continue;
    *line = {number_, text};
    return true;
  }
  return false;
}

std::vector<JsonlLine> SplitJsonl(std::string_view text) {
  std::vector<JsonlLine> lines;
  LineReader reader(text);
  for (JsonlLine line; reader.Next(&line);) lines.push_back(line);
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
    BadInput("{}: a row must be an object, and this is an array: write one object a line (JSON Lines)", where);
  if (!row.is_object()) BadInput("{}: a row must be an object, found {}", where, row.type_name());
  return row;
}

}  // namespace attune
