// checkpoint-N/: what is trained, the optimiser's states, and everything else the next update depends on. The folder is
// made whole or not at all by formats/durable_folder.h; checkpoint_store.h finds and removes them.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "train/arguments.h"
#include "train/optimizer.h"
#include "train/run_plan.h"
#include "train/trainer_state.h"

namespace attune {

// Writes the model or adapter, with its configuration and tokenizer, into an existing folder.
using SaveModel = std::function<void(const std::string& folder)>;

struct CheckpointContent {
  Device& device;
  const Optimizer& optimizer;
  const TrainerState& state;
  const TrainingArguments& arguments;
  const RunPlan& plan;
  const nlohmann::ordered_json& fingerprint;  // what a resumed run must have in common with this one
  const SaveModel& save_model;
};

// Writes the files into an existing, empty folder. Errors: Error{kFailed} when the disk fails.
void WriteCheckpoint(const std::string& folder, const CheckpointContent& content);

// Where a run goes on from.
struct ResumePoint {
  std::string path;
  TrainerState state;
  nlohmann::ordered_json fingerprint;
};

// Errors: Error{kBadInput} naming the file.
ResumePoint ReadCheckpoint(const std::string& folder);

// Reads the optimiser's states. Errors: Error{kBadInput} naming the file and the first state that differs.
void LoadOptimizer(Device& device, const Optimizer& optimizer, const std::string& folder);

}  // namespace attune
