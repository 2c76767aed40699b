#include "app/output_dir.h"

#include <unistd.h>

#include <filesystem>
#include <set>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "store/run_log.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

bool IsCheckpoint(std::string_view name) {
  constexpr std::string_view kPrefix = "checkpoint-";
  if (!name.starts_with(kPrefix)) return false;
  name.remove_prefix(kPrefix.size());
  for (const std::string_view ending : {".partial", ".old", ".removing"}) {  // what a crash may have left
    if (name.ends_with(ending)) name.remove_suffix(ending.size());
  }
  return !name.empty() && name.find_first_not_of("0123456789") == std::string_view::npos;
}

// model.safetensors, model-00001-of-00002.safetensors and their index.
bool IsWeights(const std::string& name) {
  return name == "model.safetensors" || name == "model.safetensors.index.json" ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

// The entries of the folder that are a run's: by exact names, for a person may keep other things there, and
// what lies beside weights only where there are weights.
std::vector<fs::path> FilesOfOldRun(const std::string& output_dir) {
  static const std::set<std::string> records = {"run.json",           "metrics.jsonl", "metrics.csv",
                                                "samples.jsonl",      "report.html",   "adapter_model.safetensors",
                                                "adapter_config.json"};
  static const std::vector<std::string> beside_weights = {
      "config.json",           "generation_config.json",  "tokenizer.json",
      "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"};
  std::vector<fs::path> found;
  std::error_code error;
  bool has_adapter = false, has_weights = false;
  for (fs::directory_iterator it(output_dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    has_adapter = has_adapter || name == "adapter_config.json";
    has_weights = has_weights || IsWeights(name);
    if (records.contains(name) || IsCheckpoint(name) || IsWeights(name)) found.push_back(it->path());
  }
  for (const std::string& name : has_weights ? beside_weights : std::vector<std::string>{}) {
    found.push_back(fs::path(output_dir) / name);
  }
  if (has_adapter || has_weights) found.push_back(fs::path(output_dir) / "README.md");  // the model card
  return found;
}

// Whether what is removed is read: it is the file, a folder above it, or a file of the folder that is read.
// Links are followed.
bool IsRead(const fs::path& removed, const std::string& read) {
  std::error_code error;
  if (read.empty() || !fs::exists(read, error)) return false;
  const fs::path a = fs::weakly_canonical(removed, error), b = fs::weakly_canonical(read, error);
  return a == b || b.string().starts_with(a.string() + "/") || a.parent_path() == b;
}

}  // namespace

void CheckOutputDir(const std::string& output_dir, bool overwrite) {
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
      if ((is_run || IsWeights(name)) && !overwrite) {
        BadInput("output_dir {}: already holds {} ({}); name a new folder or set overwrite_output_dir: true",
                 output_dir, is_run ? "another run" : "a model", name);
      }
    }
    return;
  }
  // Only trying tells: make it, and take away again what was made, for nothing is written before all is
  // checked.
  fs::path made = fs::absolute(output_dir, error).lexically_normal();
  while (made.has_relative_path() && !fs::exists(made.parent_path(), error)) made = made.parent_path();
  MakeDirectories(output_dir);
  fs::remove_all(made, error);
}

void RequireFolderOf(const std::string& path) {
  if (path.empty()) BadInput("the name of the output is empty; name a file");
  if (PathExists(path) && DirectoryExists(path)) {  // the first refuses a name that is too long
    BadInput("{}: is a folder; name a file", path);
  }
  if (!DirectoryExists(ParentOf(path))) BadInput("{}: its folder does not exist; make it first", path);
}

void RequireNewFile(const std::string& path) {
  if (PathExists(path)) BadInput("{}: exists; name a new file", path);
  RequireFolderOf(path);
}

void RemoveOldRun(const RunConfig& config) {
  const std::string& output_dir = config.training.output_dir;
  const std::vector<fs::path> old = FilesOfOldRun(output_dir);
  for (const std::string& input : {config.model, config.adapter, config.train_data, config.eval_data,
                                   config.init_from_config, config.tokenizer, config.chat_template}) {
    for (const fs::path& path : old) {
      if (!IsRead(path, input)) continue;
      BadInput("output_dir {}: {} is read by this run and would be overwritten; name a new folder", output_dir, input);
    }
  }
  // A checkpoint that stayed would be taken for one of the new run.
  for (const fs::path& path : old) RemoveTree(path.string());
  RemoveEventFiles(output_dir + "/tensorboard");
}

}  // namespace attune
