#include "app/run_record.h"

#include <sodium.h>

#include "app/model_hash.h"
#include "base/error.h"
#include "base/file.h"
#include "base/system.h"
#include "formats/json.h"
#include "store/report.h"
#include "store/run_summary.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

// Eight characters: short enough to type, and two runs of one user do not meet.
std::string NewId() {
  unsigned char bytes[4];
  randombytes_buf(bytes, sizeof(bytes));
  return fmt::format("{:02x}{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2], bytes[3]);
}

Json DataOf(const RunConfig& config, const RunRecordOptions& options) {
  const Json& fingerprint = options.fingerprint;
  Json data = {{"train", config.train_data}, {"train_sha256", fingerprint.at("train_sha256")}};
  if (!config.eval_data.empty()) {
    data["eval"] = config.eval_data;
    data["eval_sha256"] = fingerprint.at("eval_sha256");
  }
  data.update(options.data);
  return data;
}

Json Environment(const std::string& compute) {
  Json environment = {{"cpu", CpuName()},
                      {"cpus", CpuCount()},
                      {"memory_bytes", TotalMemoryBytes()},
                      {"kernel", KernelName()},
                      {"host", HostName()}};
  if (!compute.empty()) environment["compute"] = compute;
  return environment;
}

}  // namespace

RunRecord::RunRecord(const RunConfig& config, const ModelSpec& spec, int64_t planned_bytes,
                     const RunRecordOptions& options)
    : output_dir_(config.training.output_dir),
      model_(config.model.empty() ? config.init_from_config : config.model),
      id_(NewId()),
      on_note_(options.on_note) {
  const int64_t resume_step = options.resume_step.value_or(0);
  const bool is_resumed = resume_step > 0;
  if (!is_resumed && config.training.overwrite_output_dir) RemoveOldRun(config);
  MakeDirectories(output_dir_);
  json_ = FirstRecord(config, spec, planned_bytes, options);
  KeepFromBefore(resume_step);
  WriteFileAtomic(output_dir_ + "/run.json", json_.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  is_open_ = true;
  store_is_given_up_ = !config.is_recorded;
  log_ = std::make_unique<RunLog>(output_dir_, is_resumed ? options.resume_step : std::nullopt, HostName());
  if (log_->dropped_lines() > 0 && on_note_) {
    on_note_(fmt::format("{}: {} broken lines of metrics.jsonl and samples.jsonl have been dropped", output_dir_,
                         log_->dropped_lines()));
  }
  ToStore([&](RunStore& store) { store.Replace(AbsolutePath(output_dir_), ReadRunFolder(output_dir_)); });
}

RunRecord::~RunRecord() {
  if (!is_open_) return;
  try {
    Stop("failed", "");
  } catch (const std::exception&) {  // the disk that is full, again
  }
}

nlohmann::ordered_json RunRecord::FirstRecord(const RunConfig& config, const ModelSpec& spec, int64_t planned_bytes,
                                              const RunRecordOptions& options) const {
  Json model = {{"name_or_path", model_}, {"model_type", spec.model_type}};
  model.update(options.fingerprint.at("model"));
  return {{"attune_version", "0.1.0"},
          {"id", id_},
          {"output_dir", AbsolutePath(output_dir_)},
          {"status", "running"},
          {"started", TimeText(WallTime())},
          {"finished", nullptr},
          {"method", config.method},
          {"settings", config.source},
          {"model", model},
          {"data", DataOf(config, options)},
          {"environment", Environment(options.compute)},
          {"process", ThisProcess()},
          {"planned_bytes", planned_bytes},
          {"peak_rss_bytes", nullptr}};
}

// A run.json that is still there is of the run that is resumed, be it from its start. It is the same run: its number
// and its start stay, and each time it was taken up again is listed.
void RunRecord::KeepFromBefore(int64_t resume_step) {
  const std::string path = output_dir_ + "/run.json";
  if (!FileExists(path)) return;
  const Json before = ParseOrderedJsonFile(path);
  if (const std::string id = FieldText(before, "/id"); !id.empty()) json_["id"] = id_ = id;
  if (const std::string started = FieldText(before, "/started"); !started.empty()) json_["started"] = started;
  const auto resumed = before.find("resumed");
  json_["resumed"] = resumed != before.end() && resumed->is_array() ? *resumed : Json::array();
  json_["resumed"].push_back({{"time", TimeText(WallTime())}, {"step", resume_step}});
}

// The first thing that goes wrong with the store is said once; from then on the run does without it.
void RunRecord::ToStore(const std::function<void(RunStore&)>& work) {
  if (store_is_given_up_) return;
  try {
    if (store_ == nullptr) store_ = std::make_unique<RunStore>(RunStore::DefaultPath());
    work(*store_);
  } catch (const Error& error) {
    store_is_given_up_ = true;
    store_.reset();
    if (on_note_) on_note_(fmt::format("{}; this run is recorded in {} alone", error.what(), output_dir_));
  }
}

void RunRecord::Append(const nlohmann::ordered_json& metrics) {
  const MetricsEntry entry = log_->Append(metrics);
  ToStore([&](RunStore& store) { store.AddMetrics(id_, entry); });
}

void RunRecord::AppendSamples(int64_t step, std::vector<RunSample> samples) {
  for (RunSample& sample : samples) sample.step = step;
  log_->AppendSamples(samples);
  ToStore([&](RunStore& store) { store.AddSamples(id_, samples); });
}

void RunRecord::Finish(const nlohmann::ordered_json& result) {
  // Hashing a large model takes a while, so it is done when the training is over.
  if (const std::string hash = FullModelHash(model_); !hash.empty()) json_["model"]["sha256"] = hash;
  json_["peak_rss_bytes"] = result.at("peak_rss_bytes");
  json_["result"] = result;
  Close("finished");
}

void RunRecord::Stop(const std::string& status, const std::string& reason) {
  json_["peak_rss_bytes"] = PeakResidentBytes();
  if (!reason.empty()) json_["reason"] = reason;
  Close(status);
}

void RunRecord::Refuse(const std::string& reason) {
  if (json_.contains("resumed")) return Stop("failed", reason);
  is_open_ = false;
  log_.reset();
  for (const char* name : {"run.json", "metrics.jsonl", "metrics.csv", "samples.jsonl"})
    RemoveTree(output_dir_ + "/" + name);
  RemoveEventFiles(output_dir_ + "/tensorboard");
  ToStore([&](RunStore& store) { store.Remove(id_); });
}

// A page that can be made again at any time (attune runs show --html) is no reason for a run to fail.
void RunRecord::WriteReport() {
  try {
    RunData run = ReadRunFolder(output_dir_);
    run.record = json_;
    WriteFileAtomic(output_dir_ + "/report.html", ReportHtml(run));
  } catch (const Error& error) {
    if (on_note_) on_note_(fmt::format("no report.html: {}", error.what()));
  }
}

void RunRecord::Close(const std::string& status) {
  is_open_ = false;
  json_["status"] = status;
  json_["finished"] = TimeText(WallTime());
  WriteReport();
  ToStore([&](RunStore& store) { store.UpdateRecord(json_); });
  // Last, so that a run that says it is finished has all that it leaves.
  WriteFileAtomic(output_dir_ + "/run.json", json_.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace attune
