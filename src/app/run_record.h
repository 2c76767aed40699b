// The records of a run in output_dir: metrics.jsonl, a line a logging step, and run.json: settings, hashes, environment.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "app/config.h"
#include "base/file.h"
#include "models/model_spec.h"

namespace attune {

// Errors: Error{kBadInput} when the folder cannot be written, or holds another run and overwrite is not set.
void CheckOutputDir(const std::string& output_dir, bool overwrite);

class RunRecord {
 public:
  // Makes output_dir and writes the first run.json.
  RunRecord(const RunConfig& config, const ModelSpec& spec, int64_t planned_bytes);

  void Append(const nlohmann::ordered_json& metrics) { metrics_.WriteLine(metrics.dump()); }

  // Completes run.json with the result.
  void Finish(const nlohmann::ordered_json& result);

 private:
  std::string path_;
  AppendFile metrics_;
  nlohmann::ordered_json json_;
  std::string model_;
};

}  // namespace attune
