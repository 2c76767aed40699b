#include "curate/csv.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"

namespace attune {

const char* SplitCsvRecord(std::string_view record, char separator, std::vector<std::string>* fields) {
  fields->clear();
  size_t at = 0;
  for (;;) {
    std::string& field = fields->emplace_back();
    if (at < record.size() && record[at] == '"') {
      for (++at;; ++at) {
        const size_t end = record.find('"', at);
        if (end == record.npos) return "a quote is opened and not closed";
        field += record.substr(at, end - at);
        at = end + 1;
        if (at == record.size() || record[at] != '"') break;
        field += '"';
      }
      if (at < record.size() && record[at] != separator)
        return "text follows a closing quote; double quotes within a field";
    } else {
      const size_t end = std::min(record.find(separator, at), record.size());
      field = record.substr(at, end - at);
      at = end;
    }
    if (at == record.size()) return nullptr;
    ++at;  // the separator
  }
}

std::vector<std::string> CsvColumns(std::string_view record, char separator, const std::string& where) {
  std::vector<std::string> columns;
  if (const char* problem = SplitCsvRecord(record, separator, &columns)) BadInput("{}: the header: {}", where, problem);
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].empty()) BadInput("{}: column {} has no name; the first line must name the columns", where, i + 1);
    if (!IsValidUtf8(columns[i])) BadInput("{}: the header is not valid UTF-8; convert the file to UTF-8", where);
    if (std::find(columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(i), columns[i]) !=
        columns.begin() + static_cast<std::ptrdiff_t>(i)) {
      BadInput("{}: two columns are named \"{}\"", where, columns[i]);
    }
  }
  return columns;
}

}  // namespace attune
