// What is told of a run's data before its first step: what the cheap part of `attune data check` finds, and whether the
// files are still those that a stage of `attune data` wrote. Neither changes anything of the run.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace attune {

struct DataNotes {
  std::vector<std::string> lines;  // for people
  nlohmann::ordered_json record;   // for run.json
};

// So much of the rows is looked at: less than a second's work.
inline constexpr int64_t kCheckedBytes = int64_t{32} << 20;

// The rules of check over the first `bytes` of training rows. Lines: how many rows have something; which errors; which
// warnings; one alone where there is nothing. Record: "rows", "errors" and "warnings" by rule. `path`: as LoadDataset
// reads it. Errors: Error{kBadInput} as DataFiles.
DataNotes CheckTrainData(const std::string& path, int64_t bytes = kCheckedBytes);

// For each file of `paths` that has the manifest of a stage beside it (NAME.manifest.json of NAME.jsonl and
// NAME.train.jsonl, naming the file among its outputs): a line where the file's hash is another one, or where what
// stands there cannot be read. Record: a list of "file", "manifest", "stage", "manifest_xxh3_128", "xxh3_128" (of the
// file, by the manifest) and "matches".
DataNotes CheckManifests(const std::vector<std::string>& paths);

}  // namespace attune
