#include "store/metrics_csv.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

namespace attune {
namespace {

std::string Quoted(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  std::string quoted = "\"";
  for (const char c : field) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

// Whole numbers are written as such: fmt would write 2000000000 as 2e+09, which spreadsheets show rounded.
std::string Number(double value) {
  if (!std::isfinite(value)) return "";
  if (value == std::floor(value) && std::abs(value) < 0x1p53) return fmt::format("{}", static_cast<int64_t>(value));
  return fmt::format("{}", value);
}

}  // namespace

std::vector<std::string> CsvColumns(const std::vector<MetricsEntry>& entries) {
  std::vector<std::string> columns = {"step"};
  std::set<std::string> known;
  for (const MetricsEntry& entry : entries) {
    for (const auto& [name, value] : entry.values) {
      if (known.insert(name).second) columns.push_back(name);
    }
  }
  return columns;
}

std::string CsvHeader(const std::vector<std::string>& columns) {
  std::string header;
  for (size_t i = 0; i < columns.size(); ++i) header += (i > 0 ? "," : "") + Quoted(columns[i]);
  return header + "\r\n";
}

std::string CsvRow(const MetricsEntry& entry, const std::vector<std::string>& columns) {
  std::string row = fmt::format("{}", entry.step);
  for (size_t i = 1; i < columns.size(); ++i) {
    row += ',';
    if (const double* value = entry.Find(columns[i])) row += Number(*value);
  }
  return row + "\r\n";
}

std::string CsvText(const std::vector<MetricsEntry>& entries) {
  const std::vector<std::string> columns = CsvColumns(entries);
  std::string text = CsvHeader(columns);
  for (const MetricsEntry& entry : entries) text += CsvRow(entry, columns);
  return text;
}

}  // namespace attune
