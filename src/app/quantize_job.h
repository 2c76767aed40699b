// Writing a model as a pre-quantised checkpoint that transformers and bitsandbytes load with load_in_4bit or
// load_in_8bit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "adapters/bnb_config.h"
#include "app/model_difference.h"
#include "base/dtype.h"
#include "base/progress.h"

namespace attune {

struct QuantizeJob {
  std::string model;   // folder, .gguf file or org/name
  std::string output;  // a new or empty folder
  BnbConfig config;    // load_in_4bit or load_in_8bit is true
  // Of what stays unquantised, and of the values before they are quantised: F32, F16 or BF16; absent: as the model is
  // stored, BF16 for a GGUF file of blocks.
  std::optional<DType> dtype;
  std::string adapter;     // folded in before anything is packed; may be empty
  bool any_base = false;   // also into another base than the adapter was trained on
  OnProgress on_progress;  // may be empty
};

struct QuantizeResult {
  std::string output;
  int64_t quantized = 0, kept = 0, source_bytes = 0, bytes = 0, files = 0;
  double seconds = 0;
  std::optional<ModelDifference> difference;  // with an adapter: from base and adapter to the result
};

// Linear layers become 4-bit (adapters' QLoRA) or 8-bit rows (quant/int8_rows.h), but for those that
// llm_int8_skip_modules names or, without it, the output head; embeddings, norms and biases are kept. One weight a
// thread is in memory at a time. Errors: Error{kBadInput}: the output exists, the disk has too little room, a value
// that is not finite, a layer that does not fill bnb_4bit_quant_storage, an adapter of another base or with a head of
// its own for a tied one.
QuantizeResult RunQuantize(const QuantizeJob& job);

}  // namespace attune
