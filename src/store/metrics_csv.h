// metrics.csv: the same numbers as metrics.jsonl, one row a line and one column for each name, for
// spreadsheets. Source: RFC 4180 (CRLF line ends, quotes doubled).
#pragma once

#include <string>
#include <vector>

#include "store/run_data.h"

namespace attune {

// "step", then the other names in the order in which they first occur.
std::vector<std::string> CsvColumns(const std::vector<MetricsEntry>& entries);

std::string CsvHeader(const std::vector<std::string>& columns);

// A number in its shortest form that reads back the same; nothing for what is absent or not finite.
std::string CsvRow(const MetricsEntry& entry, const std::vector<std::string>& columns);

// Header and rows.
std::string CsvText(const std::vector<MetricsEntry>& entries);

}  // namespace attune
