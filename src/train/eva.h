// EVA (Paischer et al. 2024, as PEFT's initialize_lora_eva_weights): A starts from the principal components of what
// each layer sees of the training rows, and ranks go where components explain most; B is zero, so the base stays as it
// is.
#pragma once

#include <cstdint>
#include <vector>

#include "adapters/lora_config.h"
#include "models/base_storage.h"
#include "models/decoder_plan.h"
#include "models/initial_adapter.h"
#include "models/model_files.h"
#include "train/chunks.h"

namespace attune {

struct EvaInputs {
  const ModelFiles& files;
  const LoraConfig& config;    // its eva_config counts
  const AdapterSpec& adapter;  // what the configuration adapts, with the ranks to share out
  const std::vector<Example>& examples;
  std::vector<Chunk> chunks;  // of the examples, in the order in which they are looked at
  const BaseStorage& storage;
};

struct EvaStart {
  LoraConfig config;  // target_modules, rank_pattern and alpha_pattern as ranks have been shared out
  InitialAdapter adapter;
  int64_t tokens = 0;  // that were looked at, until the components stood still or the rows had run out
  bool converged = false;
};

// Runs the base forward on a device of its own, whose memory is free again when this returns. Errors: Error{kBadInput}:
// rows whose batches hold fewer tokens than there are components.
EvaStart FindEvaStart(const EvaInputs& inputs);

}  // namespace attune
