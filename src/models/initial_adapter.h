// Adapters that start from the weights themselves (PiSSA, OLoRA): scale B A is taken out of the base, so that training
// starts from the same function, with what matters most in A and B. The base in memory is then another one than in the
// files. So what is saved is the change alone, as PEFT's path_initial_model_for_weight_conversion makes it: a plain
// adapter of twice the rank on the untouched base,
//   scale (B A - B0 A0) = scale [B, -B0] [A; A0].
// Such a file holds the first values too, and a run goes on from it alone. Orthogonal factors have B A = 0 and need
// none of this.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "adapters/decomposition.h"
#include "adapters/lora_config.h"
#include "models/decoder_plan.h"
#include "models/model_files.h"
#include "models/trainable.h"
#include "models/weights.h"

namespace attune {

class InitialAdapter {
 public:
  InitialAdapter() = default;
  // One entry for each module ("model.layers.0.self_attn.q_proj").
  InitialAdapter(std::vector<std::string> modules, std::vector<LowRankFactors> factors)
      : modules_(std::move(modules)), factors_(std::move(factors)) {}

  // From the weights in the files, as config.init_lora_weights says.
  static InitialAdapter FromWeights(const ModelFiles& files, const AdapterSpec& adapter, const LoraConfig& config,
                                    uint64_t seed, int threads);

  // LoftQ (Li et al. 2023) with one step: scale B A is the largest part of what quantising the weights lost, W - Q(W).
  static InitialAdapter FromResidual(Device& device, const ModelWeights& weights, const ModelFiles& files,
                                     const AdapterSpec& adapter);

  // From a file that Save wrote. Errors: Error{kBadInput} as OpenTrainedFile.
  static InitialAdapter FromFile(const AdapterSpec& adapter, const std::vector<TrainableTensor>& tensors,
                                 const std::string& path);

  // W - scale B0 A0 into the weights in memory. Where these were quantised while they were read, it is what is left
  // that is quantised: less is lost then, as the largest part of W stays exact in A and B (QPiSSA, Meng et al. 2024,
  // section 4).
  void SubtractFrom(Device& device, const ModelWeights& weights, const ModelFiles& files,
                    const AdapterSpec& adapter) const;

  // The first values of A and B.
  void Upload(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors) const;

  // adapter_model.safetensors with [A; A0] and [B, -B0], and all else as it is.
  void Save(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
            const std::string& path) const;

  // The values of one tensor in the layout of the files, as Save writes them.
  std::vector<float> Converted(const TrainableTensor& tensor, std::vector<float> values) const;

  // A and B, and all else, from such a file.
  static void Load(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                   const std::string& path);

 private:
  std::vector<std::string> modules_;  // of the linear modules: their paths
  std::vector<LowRankFactors> factors_;
  const LowRankFactors* Find(const std::string& module) const;
};

// The configuration of what Save writes: twice the rank at the same scale, init_lora_weights true.
LoraConfig ConvertedConfig(LoraConfig config);

// Bytes of the first values on the host.
int64_t InitialAdapterBytes(const AdapterSpec& adapter);

}  // namespace attune
