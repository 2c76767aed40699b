#include "app/run_record.h"

#include <unistd.h>

#include <ctime>
#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "base/system.h"
#include "models/model_files.h"

namespace attune {
namespace {

std::string TimeNow() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  return text;
}

// Makes the folder before the members that live in it.
const std::string& Made(const std::string& folder) {
  MakeDirectories(folder);
  return folder;
}

}  // namespace

void CheckOutputDir(const std::string& output_dir, bool overwrite) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (fs::exists(output_dir, error) && !fs::is_directory(output_dir, error)) {
    BadInput("output_dir {}: is a file; name a folder", output_dir);
  }
  if (fs::is_directory(output_dir, error)) {
    if (::access(output_dir.c_str(), W_OK) != 0) BadInput("output_dir {}: cannot be written to", output_dir);
    for (const auto& entry : fs::directory_iterator(output_dir, error)) {
      const std::string name = entry.path().filename().string();
      const bool is_run = name == "run.json" || name == "metrics.jsonl" || name == "adapter_model.safetensors" ||
                          name.starts_with("checkpoint-");
      if (is_run && !overwrite) {
        BadInput("output_dir {}: already holds another run ({}); name a new folder or set overwrite_output_dir: true",
                 output_dir, name);
      }
    }
    return;
  }
  // Only trying tells: make it, and take away again what was made, for nothing is written before all is checked.
  fs::path made = fs::absolute(output_dir, error).lexically_normal();
  while (made.has_relative_path() && !fs::exists(made.parent_path(), error)) made = made.parent_path();
  MakeDirectories(output_dir);
  fs::remove_all(made, error);
}

RunRecord::RunRecord(const RunConfig& config, const ModelSpec& spec, int64_t planned_bytes)
    : path_(Made(config.training.output_dir) + "/run.json"),
      metrics_(config.training.output_dir + "/metrics.jsonl", true),
      model_(config.model) {
  json_ = {{"attune_version", "0.1.0"},
           {"started", TimeNow()},
           {"method", config.method},
           {"settings", config.source},
           {"model", {{"name_or_path", config.model}, {"model_type", spec.model_type}}},
           {"data", {{"train", config.train_data}, {"train_sha256", Sha256OfFile(config.train_data)}}},
           {"environment", {{"cpu", CpuName()}, {"memory_bytes", TotalMemoryBytes()}}},
           {"planned_bytes", planned_bytes},
           {"peak_rss_bytes", nullptr},
           {"finished", nullptr}};
  if (!config.eval_data.empty()) {
    json_["data"]["eval"] = config.eval_data;
    json_["data"]["eval_sha256"] = Sha256OfFile(config.eval_data);
  }
  WriteFileAtomic(path_, json_.dump(2) + "\n");
}

void RunRecord::Finish(const nlohmann::ordered_json& result) {
  // Hashing a large model takes a while, so it is done when the training is over.
  if (FileExists(model_)) json_["model"]["sha256"] = Sha256OfFile(model_);
  json_["finished"] = TimeNow();
  json_["peak_rss_bytes"] = result["peak_rss_bytes"];
  json_["result"] = result;
  WriteFileAtomic(path_, json_.dump(2) + "\n");
}

}  // namespace attune
