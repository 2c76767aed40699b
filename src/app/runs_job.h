// `attune runs`: looking back at trainings, from the user's store and from output folders.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "store/run_data.h"
#include "store/run_summary.h"

namespace attune {

struct RunList {
  std::string store;             // the file
  std::vector<RunSummary> runs;  // newest first
};

// Errors: Error{kBadInput} or Error{kFailed} when the store cannot be read.
RunList ListRuns();

// A run by its output_dir (which need not be in the store), its id or the beginning of one. A run whose
// folder is gone, or holds another run by now, comes from the store. Errors: Error{kBadInput}: unknown (with
// the nearest), ambiguous, a folder without run.json, a broken line of metrics.jsonl (file and line).
RunData FindRun(const std::string& run_or_dir);

// A setting or figure that is not the same in all runs; a value is null where a run has none.
struct ComparedRow {
  std::string name;
  std::vector<nlohmann::ordered_json> values;  // a run
};

struct RunComparison {
  std::vector<RunSummary> runs;
  std::vector<ComparedRow> settings;  // those that differ, by dotted name: settings, model, data and environment
  std::vector<ComparedRow> metrics;   // the last value of everything that was logged
};

// Errors: Error{kBadInput} for fewer than two runs, and as FindRun.
RunComparison CompareRuns(const std::vector<std::string>& runs_or_dirs);
nlohmann::ordered_json ToJson(const RunComparison& comparison);

// run.json, the summary, metrics and samples as one document.
nlohmann::ordered_json ToJson(const RunData& run);

// Writes a run as "csv", "jsonl" or "html" to a file, as "tensorboard" into a folder, and returns the path of
// what was written. Errors: Error{kBadInput} for another format, or an output that cannot be opened;
// Error{kFailed} when the disk fails.
std::string ExportRun(const RunData& run, const std::string& format, const std::string& output);

// report.html and loss.svg, to files. Errors: as ExportRun.
void WriteReport(const RunData& run, const std::string& path);
void WriteLossSvg(const RunData& run, const std::string& path);

}  // namespace attune
