// Writing a model as a Hugging Face folder: merged with an adapter, or a GGUF base dequantised so that PEFT has the
// base its adapter was trained on. What was written is read again and compared with what it came from before it gets
// its name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/model_difference.h"
#include "base/dtype.h"
#include "base/progress.h"

namespace attune {

struct ExportJob {
  std::string model, adapter;  // adapter may be empty
  std::string output;          // a new or empty folder
  std::optional<DType> dtype;  // F32, F16 or BF16; absent: as the base is stored, F32 for a quantised one
  std::string data;            // held-out rows to compare on; may be empty
  bool any_base = false;       // also onto another base than the adapter was trained on
  OnProgress on_progress;      // may be empty
};

struct ExportResult {
  std::string output;
  DType dtype = DType::kF32;
  int64_t tensors = 0, bytes = 0, merged_modules = 0;
  ModelDifference difference;
};

// Errors: Error{kBadInput}: the output exists, the adapter does not fit or was trained on another base; Error{kFailed}:
// merged values that are not finite, a result that is worse than what it came from. Nothing is left then.
ExportResult ExportFolder(const ExportJob& job);

}  // namespace attune
