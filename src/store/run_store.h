// All runs of a user in one SQLite file, so that they can be listed and compared wherever their folders are,
// and outlive them. Several processes may write at once.
//
// Tables: runs (the run.json of each run, with its fields as generated columns), metrics (run, name, line,
// step, value) and samples; the file's user_version is the schema's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/run_data.h"
#include "store/sqlite.h"

namespace attune {

// What a list of runs shows.
struct RunRow {
  nlohmann::ordered_json record;  // run.json
  std::string output_dir;         // absolute
  std::vector<MetricsEntry>
      metrics;  // those that Summarize looks at: the first, best and last evaluation, the last lines
};

class RunStore {
 public:
  // ATTUNE_RUNS, else $XDG_DATA_HOME/attune/runs.sqlite, else ~/.local/share/attune/runs.sqlite.
  // Errors: Error{kBadInput} when there is no home.
  static std::string DefaultPath();

  // Makes the file and its folder when they are not there. Errors: Error{kBadInput} or Error{kFailed} naming
  // the file: it cannot be opened or written, is no SQLite file, or was made by a newer version.
  explicit RunStore(const std::string& path);

  // The run as its folder holds it, in place of all that the store had of it. `record` must have an "id".
  void Replace(const std::string& output_dir, const RunData& run);
  void Remove(const std::string& id);
  void UpdateRecord(const nlohmann::ordered_json& record);
  void AddMetrics(const std::string& id, const MetricsEntry& entry);
  void AddSamples(const std::string& id, const std::vector<RunSample>& samples);

  std::vector<RunRow> List();  // newest first
  std::optional<RunData> Load(const std::string& id);

 private:
  void Migrate();
  void RemoveLines(const std::string& id);
  int64_t& NextLine(const std::string& id);
  void InsertMetrics(const std::string& id, const MetricsEntry& entry);
  void InsertSamples(const std::string& id, const std::vector<RunSample>& samples);

  Database database_;
  std::map<std::string, int64_t> next_lines_;  // of runs that this process has written to
};

}  // namespace attune
