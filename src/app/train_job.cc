#include "app/train_job.h"

#include "app/output_dir.h"
#include "app/resume_check.h"
#include "app/train_session.h"
#include "base/error.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "base/interrupt.h"
#include "models/adapter_model.h"
#include "store/run_data.h"
#include "store/run_summary.h"
#include "train/checkpoint_store.h"

namespace attune {
namespace {

// As run.json keeps the settings: a run may be resumed from another working folder.
void MakePathsAbsolute(RunConfig& config) {
  for (const auto& [section, key] : {std::pair{"model", "name_or_path"},
                                     {"model", "init_from_config"},
                                     {"model", "tokenizer"},
                                     {"model", "chat_template"},
                                     {"model", "adapter"},
                                     {"data", "train"},
                                     {"data", "eval"},
                                     {"training", "output_dir"}}) {
    if (!config.source.contains(section) || !config.source[section].contains(key)) continue;
    auto& value = config.source[section][key];
    if (!value.is_string()) continue;  // null: none
    const auto text = value.get<std::string>();
    if (key == std::string("output_dir") || FileExists(text) || DirectoryExists(text)) value = AbsolutePath(text);
  }
}

// One process at a time writes into a run's folder.
class RunLock {
 public:
  explicit RunLock(const std::string& output_dir) : lock_(output_dir) {
    if (!lock_.is_held()) {
      BadInput("{}: another attune is training here; stop it first (once Ctrl-C or SIGTERM saves), or wait for its end",
               output_dir);
    }
  }

 private:
  FolderLock lock_;
};

nlohmann::ordered_json ReadRunRecord(const std::string& output_dir) {
  const std::string path = output_dir + "/run.json";
  nlohmann::ordered_json record = ReadRunJson(path);
  if (!record.contains("settings")) BadInput("{}: lacks the run's settings", path);
  return record;
}

RunConfig ConfigOf(const nlohmann::ordered_json& record, const ResumeJob& job) {
  RunConfig config = ConfigFromSource(record["settings"], job.output_dir + "/run.json", job.settings);
  config.training.output_dir = job.output_dir;  // the folder may have been moved
  config.training.overwrite_output_dir = false;
  return config;
}

// The name that the adapter's own files give their base stays, wherever the base has been found again.
void KeepBaseName(const std::string& checkpoint, RunConfig* config) {
  if (config->method == "full" || !FileExists(checkpoint + "/adapter_config.json")) return;
  config->lora.base_model_name_or_path = AdapterFolder::Open(checkpoint).config.base_model_name_or_path;
}

// What a run that has come to its end left: going on with it changes nothing.
TrainResult ResultOf(const nlohmann::ordered_json& record, const std::string& output_dir) {
  TrainResult result;
  result.output_dir = output_dir;
  result.noun = FieldText(record, "/method") == "full" ? "the model" : "the adapter";
  const auto number = [&](const char* pointer) { return FieldNumber(record, pointer).value_or(0); };
  result.steps = WholeNumber(number("/result/steps"));
  result.num_tokens = WholeNumber(number("/result/num_tokens"));
  result.train_loss = number("/result/train_loss");
  result.train_seconds = number("/result/train_runtime");
  result.tokens_per_second = number("/result/tokens_per_second");
  result.eval_loss_before = FieldNumber(record, "/result/eval_loss_before");
  result.eval_loss_after = FieldNumber(record, "/result/eval_loss");
  result.best_checkpoint = FieldText(record, "/result/best_model_checkpoint");
  result.planned_bytes = WholeNumber(number("/result/planned_bytes"));
  result.peak_rss_bytes = WholeNumber(number("/result/peak_rss_bytes"));
  result.seconds_to_first_step = number("/result/seconds_to_first_step");
  return result;
}

}  // namespace

TrainResult Train(const RunConfig& config, TrainEvents& events, Profile* profile) {
  CheckOutputDir(config.training.output_dir, config.training.overwrite_output_dir);
  RunConfig recorded = config;
  MakePathsAbsolute(recorded);
  TrainSession session(recorded, events);
  const bool is_made = !DirectoryExists(config.training.output_dir);
  MakeDirectories(config.training.output_dir);
  const RunLock lock(config.training.output_dir);
  const InterruptGuard guard;
  try {
    return session.Run(nullptr, InterruptGuard::requested, profile);
  } catch (const Error&) {
    if (is_made && ListDirectory(config.training.output_dir).empty()) RemoveTree(config.training.output_dir);
    throw;
  }
}

TrainResult Resume(const ResumeJob& job, TrainEvents& events) {
  if (!FileExists(job.output_dir + "/run.json")) {
    BadInput("{}: is not the output_dir of a run: it has no run.json", job.output_dir);
  }
  const RunLock lock(job.output_dir);  // before anything is read, for it may be changing
  const nlohmann::ordered_json record = ReadRunRecord(job.output_dir);
  const bool is_finished = StatusOf(record) == "finished";
  if (is_finished && job.settings.empty()) {
    events.OnNote("this run is finished; to train on, set more num_train_epochs or max_steps");
    return ResultOf(record, job.output_dir);
  }
  RunConfig config = ConfigOf(record, job);
  const CheckpointSearch search = FindNewest(job.output_dir);
  for (const std::string& skipped : search.skipped) events.OnNote("skipped " + skipped);
  std::optional<ResumePoint> point;
  if (search.found) {
    point = ReadCheckpoint(search.found->path);
    KeepBaseName(search.found->path, &config);
  }
  if (is_finished && !point) BadInput("{}: this run is finished and has no checkpoint to go on from", job.output_dir);
  MakePathsAbsolute(config);
  TrainSession session(config, events);
  if (point) {
    CheckResumable(point->fingerprint, session.fingerprint(), job.force);
  } else if (FieldText(record, "/data/train_sha256") != session.fingerprint()["train_sha256"] && !job.force) {
    BadInput("{}: the training data has changed since the run began; --force starts again with what is now",
             job.output_dir);
  }
  events.OnResume(point ? point->state.step : 0, point ? point->path : "");
  const InterruptGuard guard;
  return session.Run(point ? &*point : nullptr, InterruptGuard::requested, nullptr);
}

}  // namespace attune
