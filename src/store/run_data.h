// What is known of one run, as its output folder holds it: run.json, metrics.jsonl and samples.jsonl. The
// folder is the source of truth; everything else (the store, CSV, event files, reports) is derived from it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attune {

// The numbers of one line of metrics.jsonl. `values` holds what was logged at that step, without "step"
// itself and without anything that is not a number. A loss that was not finite is null in the file and NaN
// here.
struct MetricsEntry {
  int64_t step = 0;
  std::vector<std::pair<std::string, double>> values;

  const double* Find(std::string_view name) const;  // nullptr when it was not logged
};

// An answer of the model as it stood after update `step`.
struct RunSample {
  int64_t step = 0;
  std::string prompt, reference, answer;
};

struct RunData {
  nlohmann::ordered_json record;  // run.json, an object
  std::vector<MetricsEntry> metrics;
  std::vector<RunSample> samples;
};

// One parsed line of either file; `where` is its place for errors ("out/metrics.jsonl:7").
// Errors: Error{kBadInput}: "step" is absent or no whole number from 0 to 2^53; a sample without its texts.
MetricsEntry MetricsFromJson(const nlohmann::ordered_json& line, const std::string& where);
RunSample SampleFromJson(const nlohmann::ordered_json& line, const std::string& where);
nlohmann::ordered_json ToJson(const RunSample& sample);

// The whole text of a metrics.jsonl. Errors: Error{kBadInput} naming `path` and the line; more than 256
// names.
std::vector<MetricsEntry> ParseMetrics(std::string_view text, const std::string& path);

// A run.json. Errors: Error{kBadInput} naming `path`: it is not there, no JSON, or no object.
nlohmann::ordered_json ReadRunJson(const std::string& path);

// Errors: Error{kBadInput}: no run.json in the folder, or a file there that is broken (file and line).
RunData ReadRunFolder(const std::string& folder);

// As the store keeps an output_dir: from the root, without "." and ".." and without a slash at its end.
std::string AbsolutePath(const std::string& path);

// JSON text of one line, in which bytes that are no UTF-8 are replaced.
std::string OneLine(const nlohmann::ordered_json& json);

}  // namespace attune
