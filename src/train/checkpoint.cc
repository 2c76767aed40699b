#include "train/checkpoint.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/safetensors.h"

namespace attune {
namespace {

namespace fs = std::filesystem;

// transformers' trainer_state.json, so that its tools can read the history.
std::string TrainerState(const CheckpointContent& c) {
  nlohmann::json state = {{"best_global_step", nullptr},
                          {"best_metric", nullptr},
                          {"best_model_checkpoint", nullptr},
                          {"epoch", c.epoch},
                          {"eval_steps", c.plan.eval_steps > 0 ? c.plan.eval_steps : 500},
                          {"global_step", c.step},
                          {"is_hyper_param_search", false},
                          {"is_local_process_zero", true},
                          {"is_world_process_zero", true},
                          {"log_history", c.history},
                          {"logging_steps", c.plan.logging_steps},
                          {"max_steps", c.plan.steps.total_updates},
                          {"num_input_tokens_seen", 0},
                          {"num_train_epochs", c.plan.steps.epochs_run},
                          {"save_steps", c.plan.save_steps},
                          {"stateful_callbacks", nlohmann::json::object()},
                          {"total_flos", 0.0},
                          {"train_batch_size", c.plan.per_device_train_batch_size},
                          {"trial_name", nullptr},
                          {"trial_params", nullptr}};
  return state.dump(2) + "\n";
}

// The moments by torch's names, in the layout of the adapter file.
void WriteOptimizer(const std::string& path, const CheckpointContent& c) {
  struct Moment {
    std::string name;
    const TrainableTensor* tensor;
    Matrix vector;
  };
  std::vector<Moment> moments;
  std::vector<TensorDeclaration> declarations;
  for (const TrainableTensor& t : c.trainables) {
    for (const auto& [prefix, vector] :
         {std::pair{"exp_avg.", c.vectors.first_moment()}, std::pair{"exp_avg_sq.", c.vectors.second_moment()}}) {
      moments.push_back({prefix + t.key, &t, vector});
      const bool transposed = t.kind == TrainableTensor::Kind::kLoraB;
      declarations.push_back({prefix + t.key, DType::kF32,
                              {transposed ? t.cols : t.rows, transposed ? t.rows : t.cols}});
    }
  }
  SafetensorsWriter writer(path, declarations);
  for (const TensorDeclaration& declared : writer.order()) {
    const auto moment =
        std::find_if(moments.begin(), moments.end(), [&](const Moment& m) { return m.name == declared.name; });
    const std::vector<float> values = DownloadTrained(c.device, moment->vector, *moment->tensor);
    writer.Write(moment->name, std::as_bytes(std::span(values)));
  }
  writer.Commit();
}

}  // namespace

void WriteCheckpoint(const std::string& folder, const CheckpointContent& content) {
  const std::string temporary = folder + ".partial";
  std::error_code error;
  fs::remove_all(temporary, error);
  SaveAdapter(content.device, content.vectors, content.trainables, content.lora, temporary);
  WriteOptimizer(temporary + "/optimizer.safetensors", content);
  WriteFileAtomic(temporary + "/trainer_state.json", TrainerState(content));
  fs::remove_all(folder, error);
  fs::rename(temporary, folder, error);
  if (error) Failed("{}: cannot be put in place: {}", folder, error.message());
}

void RotateCheckpoints(const std::string& output_dir, std::optional<int64_t> save_total_limit) {
  if (!save_total_limit) return;
  std::vector<std::pair<int64_t, fs::path>> checkpoints;
  for (const auto& entry : fs::directory_iterator(output_dir)) {
    const std::string name = entry.path().filename().string();
    const std::string prefix = "checkpoint-";
    if (!name.starts_with(prefix) || name.find_first_not_of("0123456789", prefix.size()) != std::string::npos) continue;
    checkpoints.emplace_back(std::atoll(name.c_str() + prefix.size()), entry.path());
  }
  std::sort(checkpoints.begin(), checkpoints.end());
  std::error_code error;
  for (size_t i = 0; i + static_cast<size_t>(*save_total_limit) < checkpoints.size(); ++i) {
    fs::remove_all(checkpoints[i].second, error);
  }
}

}  // namespace attune
