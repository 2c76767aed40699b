// A LoRA configuration applied to a model: which modules are adapted and trained, their first values, and PEFT's files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adapters/lora_config.h"
#include "adapters/target_matching.h"
#include "models/decoder_plan.h"
#include "models/initial_adapter.h"
#include "models/model_files.h"
#include "models/trainable.h"
#include "models/trained_files.h"

namespace attune {

// The modules of a decoder as PEFT sees them, in the order of the forward pass.
std::vector<ModuleInfo> DecoderModules(const ModelSpec& spec);

// Errors: Error{kBadInput} as MatchTargets, and for what a setting asks of a module it does not have.
AdapterSpec BuildAdapterSpec(const ModelSpec& spec, const LoraConfig& config, const std::string& where,
                             UnknownTargets unknown = UnknownTargets::kRefuse);

// Gives every trained tensor its first value: A and B as init_lora_weights says, from torch's generator with this seed;
// trained copies of base weights, of rows of the embedding and of biases from the files. Magnitudes become 0:
// Decoder::InitializeMagnitudes sets them.
void InitializeTrained(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                       const LoraConfig& config, const TokenRows& tokens, const ModelFiles& files, uint64_t seed);

// An adapter folder: adapter_model.safetensors and adapter_config.json as PEFT writes them.
struct AdapterFolder {
  LoraConfig config;
  std::string path;
  static AdapterFolder Open(const std::string& path);       // reads the configuration only
  static std::string WeightsPath(const std::string& path);  // Errors: Error{kBadInput} where there is no such file
};

// Writes adapter_model.safetensors, adapter_config.json and README.md, each whole or not at all. `initial`: what has
// been taken out of the base; null where the base is as it was.
void SaveAdapter(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                 const LoraConfig& config, const InitialAdapter* initial, const std::string& folder);

}  // namespace attune
