// Writing a model as a Hugging Face folder: merged with an adapter, or a GGUF base dequantised so that PEFT has the base
// its adapter was trained on.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dtype.h"

namespace attune {

struct ExportJob {
  std::string model, adapter;  // adapter may be empty
  std::string output;          // a new or empty folder
  std::optional<DType> dtype;  // F32, F16 or BF16; absent: as the base is stored, F32 for a quantised one
};

struct ExportResult {
  std::string output;
  DType dtype = DType::kF32;
  int64_t tensors = 0, bytes = 0, merged_modules = 0;
};

// Errors: Error{kBadInput}: the output exists, the adapter does not fit; Error{kFailed}: merged values that are not finite.
ExportResult ExportFolder(const ExportJob& job);

}  // namespace attune
