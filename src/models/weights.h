// The frozen weights of a decoder in device memory, each in the format that models/base_storage.h gives it.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/base_storage.h"
#include "models/decoder_plan.h"
#include "models/model_files.h"
#include "models/model_spec.h"
#include "ops/device.h"

namespace attune {

class ModelWeights {
 public:
  // Reads every frozen weight once, in threads. What `adapter` trains whole is left out: it lives in the trained vector.
  ModelWeights(Device& device, const ModelFiles& files, const AdapterSpec& adapter, const BaseStorage& storage);

  // By Hugging Face name; an empty matrix when the model has no such tensor, or when it is trained whole.
  Matrix Find(const std::string& name) const;

  // What the constructor will allocate.
  static int64_t PlannedBytes(const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage);

 private:
  std::unordered_map<std::string, Matrix> matrices_;
};

}  // namespace attune
