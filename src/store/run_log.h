// The files that grow while a run goes on: metrics.jsonl, and from it metrics.csv and a TensorBoard event
// file; samples.jsonl. metrics.jsonl is the source of truth: the others are written beside it line by line
// and made anew from it when a run is resumed.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "store/run_data.h"

namespace attune {

class RunLog {
 public:
  // Starts the files of `folder` anew; with `resume_step`, keeps what was logged up to that step and goes on.
  // Lines that a crash left broken are dropped then. `host` is for the event file's name. Errors:
  // Error{kFailed} when a file cannot be written.
  RunLog(const std::string& folder, std::optional<int64_t> resume_step, const std::string& host);

  // Adds one line of metrics (an object with "step") and says what it holds; "time", in seconds since 1970,
  // is put at its end. Nothing is flushed to disk: a crash of the machine may cost the last lines, a crash of
  // the program none. Errors: Error{kFailed}.
  MetricsEntry Append(nlohmann::ordered_json line);

  void AppendSamples(const std::vector<RunSample>& samples);

  int64_t dropped_lines() const { return dropped_lines_; }

 private:
  std::string KeptLines(const std::string& path, int64_t resume_step);
  void RewriteCsv(const std::vector<MetricsEntry>& entries);
  void RewriteEvents(const std::vector<MetricsEntry>& entries, const std::string& host);

  std::string folder_;
  double start_time_;
  int64_t dropped_lines_ = 0;
  std::vector<std::string> columns_;
  std::unique_ptr<AppendFile> metrics_, csv_, events_, samples_;
};

// Seconds since 1970, to the millisecond.
double WallTime();

// Removes the event files that Attune wrote in the folder, and no others.
void RemoveEventFiles(const std::string& folder);

}  // namespace attune
