// JSON Lines: one JSON object a line. Reading is strict, and every complaint names file and line, since a
// data set is usually mended by hand.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

struct JsonlLine {
  int64_t number = 0;     // from 1, as editors count
  std::string_view text;  // without the line ending, never blank
};

// Walks over the lines of `text` that are not blank. A byte-order mark at the start, CRLF endings and a
// missing last newline are fine. The views point into `text`.
class LineReader {
 public:
  LineReader() = default;
  explicit LineReader(std::string_view text);
  // false at the end.
  bool Next(JsonlLine* line);
  std::string_view rest() const { return rest_; }  // what has not been read

 private:
  std::string_view rest_;
  int64_t number_ = 0;
};

// All of them.
std::vector<JsonlLine> SplitJsonl(std::string_view text);

// Parses one line; `path` is for errors. A key that occurs twice keeps its last value.
// Errors: Error{kBadInput} "PATH:LINE:COLUMN: not valid JSON: ..." (also invalid UTF-8 and nesting deeper
// than 256), and "PATH:LINE: ..." where the line holds something else than an object.
nlohmann::ordered_json ParseJsonlLine(const JsonlLine& line, const std::string& path);

}  // namespace attune
