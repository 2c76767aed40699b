// Full fine-tuning: which of a model's own weights are trained, their first values, and the model folder they are saved
// as, which transformers loads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/decoder_plan.h"
#include "models/model_files.h"
#include "models/trainable.h"
#include "models/weights.h"

namespace attune {

// Regular expressions, each looked for anywhere in a parameter's name ("model.layers.0.self_attn.q_proj.weight"), as
// Python's re.search. `train` empty: everything is trained; `freeze` wins over it.
struct ParameterPatterns {
  std::vector<std::string> train, freeze;
};

// The weights that are trained, in the order of the forward pass. Errors: Error{kBadInput} naming `where`: a pattern
// that matches nothing or is wrong, nothing left to train.
AdapterSpec BuildFullSpec(const ModelSpec& spec, const ParameterPatterns& patterns, const std::string& where);

// First values from the model's files.
void InitializeFromFiles(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                         const ModelFiles& files);

// First values for training from scratch, as transformers' _init_weights: matrices and embeddings from a normal
// distribution with standard deviation initializer_range, norms 1, biases 0; torch's generator with this seed.
void InitializeFromScratch(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                           double initializer_range, uint64_t seed);

// Writes model.safetensors and config.json into an existing folder, all f32, so that nothing is lost of what was
// trained or of a frozen weight, which comes from `files`. One tensor at a time is held beside the vectors.
void SaveFullModel(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                   const ModelFiles& files, const std::string& folder);

}  // namespace attune
