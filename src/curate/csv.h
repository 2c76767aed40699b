// The fields of one CSV or TSV record (RFC 4180; with tabs instead of commas for TSV).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace attune {

// Splits a record as RecordReader cuts it into `fields`, quotes taken off. Returns why it cannot be done, or
// null.
const char* SplitCsvRecord(std::string_view record, char separator, std::vector<std::string>* fields);

// Reads the header. Errors: Error{kBadInput} starting with `where`: a column without a name or named twice.
std::vector<std::string> CsvColumns(std::string_view record, char separator, const std::string& where);

}  // namespace attune
