// The frozen weights of a decoder in device memory, in the compute dtype, read from a model's files.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/decoder_plan.h"
#include "models/model_files.h"
#include "models/model_spec.h"
#include "ops/device.h"

namespace attune {

class ModelWeights {
 public:
  // Reads every frozen weight once, in threads; matrices become `compute` (F32 or BF16), vectors (norms, biases) f32.
  // What `adapter` trains whole is left out: it lives in the trained vector.
  ModelWeights(Device& device, const ModelFiles& files, const AdapterSpec& adapter, DType compute);

  // By Hugging Face name; an empty matrix when the model has no such tensor, or when it is trained whole.
  Matrix Find(const std::string& name) const;

  DType compute() const { return compute_; }
  int64_t bytes() const { return bytes_; }

  // What the constructor will allocate.
  static int64_t PlannedBytes(const ModelSpec& spec, const AdapterSpec& adapter, DType compute);

 private:
  DType compute_;
  int64_t bytes_ = 0;
  std::unordered_map<std::string, Matrix> matrices_;
};

}  // namespace attune
