// The records of a run: in output_dir run.json (settings, hashes, environment, result), metrics.jsonl with
// its CSV and TensorBoard event file, samples.jsonl and, at the end, report.html; the same in the user's
// store of runs. The folder is complete without the store, and a store that cannot be written never stops a
// run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/output_dir.h"
#include "models/model_spec.h"
#include "store/run_log.h"
#include "store/run_store.h"

namespace attune {

struct RunRecordOptions {
  // Goes on with the run in output_dir after this step: what it logged later is cut off. Without it, or with 0, the run
  // starts anew, and an old one in the folder is removed where the configuration says overwrite_output_dir.
  std::optional<int64_t> resume_step;
  nlohmann::ordered_json fingerprint;                              // TrainSession's: hashes of the model and the data
  nlohmann::ordered_json data = nlohmann::ordered_json::object();  // what else is known of it: joins "data" of run.json
  std::string compute;                                             // "bf16", "f32": what is computed in
  std::function<void(const std::string&)> on_note;                 // one line for the user
};

class RunRecord {
 public:
  // Makes output_dir and writes the first run.json. Errors: Error{kBadInput} when removing the old run would
  // remove what this one reads; Error{kFailed} when the folder cannot be written.
  RunRecord(const RunConfig& config, const ModelSpec& spec, int64_t planned_bytes, const RunRecordOptions& options);

  // Without Finish or Stop before it, an exception has ended the run: it is marked as failed.
  ~RunRecord();
  RunRecord(const RunRecord&) = delete;
  RunRecord& operator=(const RunRecord&) = delete;

  // A line of metrics: an object with "step".
  void Append(const nlohmann::ordered_json& metrics);

  // Answers to prompts, as the model gives them after update `step`; the samples' own step is not looked at.
  void AppendSamples(int64_t step, std::vector<RunSample> samples);

  // Completes run.json with the result, which must have "peak_rss_bytes", and writes report.html.
  void Finish(const nlohmann::ordered_json& result);

  // Ends the run before its end: "interrupted" (it can be resumed) or "failed", with the reason if there is
  // one.
  void Stop(const std::string& status, const std::string& reason);

  // Ends a run that bad input keeps from its first update. What has been written of one that began here is taken back,
  // in the folder and in the store; one that was begun before has failed, for the reason.
  void Refuse(const std::string& reason);

  const std::string& id() const { return id_; }

 private:
  nlohmann::ordered_json FirstRecord(const RunConfig& config, const ModelSpec& spec, int64_t planned_bytes,
                                     const RunRecordOptions& options) const;
  void KeepFromBefore(int64_t resume_step);
  void ToStore(const std::function<void(RunStore&)>& work);
  void WriteReport();
  void Close(const std::string& status);

  std::string output_dir_, model_, id_;
  std::function<void(const std::string&)> on_note_;
  nlohmann::ordered_json json_;
  std::unique_ptr<RunLog> log_;
  std::unique_ptr<RunStore> store_;
  bool is_open_ = false, store_is_given_up_ = false;
};

}  // namespace attune
