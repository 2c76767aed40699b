// checkpoint-N/: the adapter, the optimiser's moments and trainer_state.json, written to a temporary sibling and renamed
// when complete.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "models/adapter_model.h"
#include "train/arguments.h"
#include "train/run_plan.h"

namespace attune {

struct CheckpointContent {
  Device& device;
  const TrainableVectors& vectors;
  const std::vector<TrainableTensor>& trainables;
  const LoraConfig& lora;
  const RunPlan& plan;
  int64_t step;
  double epoch;
  const std::vector<nlohmann::ordered_json>& history;
  const TrainingArguments& arguments;
};

// Errors: Error{kFailed} when the disk fails; no checkpoint of that name exists then.
void WriteCheckpoint(const std::string& folder, const CheckpointContent& content);

// Removes the oldest checkpoints (by step) beyond the limit.
void RotateCheckpoints(const std::string& output_dir, std::optional<int64_t> save_total_limit);

}  // namespace attune
