#include "train/checkpoint.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "models/trained_files.h"

namespace attune {
namespace {

constexpr const char* kOptimizerFile = "/optimizer.safetensors";
constexpr const char* kStateFile = "/attune_state.json";

std::string CheckpointOf(const CheckpointContent& c, int64_t step) {
  return c.arguments.output_dir + "/checkpoint-" + std::to_string(step);
}

// transformers' trainer_state.json, so that its tools can read the history.
std::string TransformersState(const CheckpointContent& c) {
  const TrainerState& s = c.state;
  const bool best = s.best_metric.has_value();
  nlohmann::json state = {
      {"best_global_step", best ? nlohmann::json(s.best_step) : nlohmann::json(nullptr)},
      {"best_metric", best ? nlohmann::json(*s.best_metric) : nlohmann::json(nullptr)},
      {"best_model_checkpoint",
       s.best_saved_step > 0 ? nlohmann::json(CheckpointOf(c, s.best_saved_step)) : nlohmann::json(nullptr)},
      {"epoch", s.epoch},
      {"eval_steps", c.plan.eval_steps > 0 ? c.plan.eval_steps : 500},
      {"global_step", s.step},
      {"is_hyper_param_search", false},
      {"is_local_process_zero", true},
      {"is_world_process_zero", true},
      {"log_history", s.history},
      {"logging_steps", c.plan.logging_steps},
      {"max_steps", c.plan.steps.total_updates},
      {"num_input_tokens_seen", s.tokens_seen},
      {"num_train_epochs", c.plan.steps.epochs_run},
      {"save_steps", c.plan.save_steps > 0 ? c.plan.save_steps : 500},
      {"stateful_callbacks", nlohmann::json::object()},
      {"total_flos", 0.0},
      {"train_batch_size", c.plan.per_device_train_batch_size},
      {"trial_name", nullptr},
      {"trial_params", nullptr}};
  return state.dump(2) + "\n";
}

void WriteOptimizer(const std::string& path, const CheckpointContent& c) {
  const std::vector<OptimizerState>& states = c.optimizer.states();
  std::vector<TensorDeclaration> declarations;
  for (const OptimizerState& s : states)
    declarations.push_back({s.name, s.values.dtype, {s.values.rows, s.values.cols}});
  SafetensorsWriter writer(path, declarations);
  for (const TensorDeclaration& declared : writer.order()) {
    const auto state =
        std::find_if(states.begin(), states.end(), [&](const auto& s) { return s.name == declared.name; });
    WriteMatrix(c.device, state->values, state->name, writer);
    c.optimizer.DropPages();
  }
  writer.Commit();
}

}  // namespace

void WriteCheckpoint(const std::string& folder, const CheckpointContent& content) {
  content.save_model(folder);
  WriteOptimizer(folder + kOptimizerFile, content);
  WriteFileAtomic(folder + "/trainer_state.json", TransformersState(content));
  const nlohmann::ordered_json state = {{"fingerprint", content.fingerprint}, {"state", content.state.ToJson()}};
  WriteFileAtomic(folder + kStateFile, state.dump(2) + "\n");
}

ResumePoint ReadCheckpoint(const std::string& folder) {
  const std::string path = folder + kStateFile;
  const nlohmann::ordered_json json = ParseOrderedJsonFile(path);
  if (!json.is_object() || !json.contains("state") || !json.contains("fingerprint")) {
    BadInput("{}: not the state of a run: it lacks \"state\" or \"fingerprint\"", path);
  }
  return {folder, TrainerState::FromJson(json["state"], path), json["fingerprint"]};
}

void LoadOptimizer(Device& device, const Optimizer& optimizer, const std::string& folder) {
  const SafetensorsFile file(folder + kOptimizerFile);
  for (const OptimizerState& state : optimizer.states()) {
    const TensorView* view = file.Find(state.name);
    const std::vector<int64_t> shape = {state.values.rows, state.values.cols};
    if (view == nullptr || view->dtype != state.values.dtype || view->shape != shape) {
      BadInput("{}: tensor \"{}\" is missing or not {} {}: this checkpoint is of a run with other settings",
               file.path(), state.name, NameOf(state.values.dtype), ShapeText(shape));
    }
  }
  if (file.tensors().size() != optimizer.states().size()) {
    BadInput("{}: holds {} tensors, this optimiser has {}: this checkpoint is of a run with other settings",
             file.path(), file.tensors().size(), optimizer.states().size());
  }
  for (const OptimizerState& state : optimizer.states()) {
    const std::span<const std::byte> bytes = file.Find(state.name)->bytes;
    device.Upload(state.values.data, bytes.data(), std::ssize(bytes));
    optimizer.DropPages();
  }
}

}  // namespace attune
