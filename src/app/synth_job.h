// Making up a model: a Hugging Face folder of a published shape with random weights, for measuring and for trying
// things out where the real model is not at hand.
#pragma once

#include <cstdint>
#include <string>

#include "base/dtype.h"
#include "base/progress.h"

namespace attune {

struct SynthJob {
  std::string shape;           // ModelShapeNames()
  std::string output;          // a new or empty folder
  DType dtype = DType::kBF16;  // F32, F16 or BF16
  uint64_t seed = 42;
  OnProgress on_progress;  // may be empty
};

struct SynthResult {
  std::string output;
  int64_t tensors = 0, parameters = 0, bytes = 0, files = 0;
  double seconds = 0;
};

// As transformers' _init_weights: matrices and embeddings from a normal distribution with standard deviation
// initializer_range, norms 1, biases 0. A tensor's values depend on its name and the seed alone
// (quant/random_weights.h). The tokenizer has a token a byte. Memory stays at a few megabytes a thread. Errors:
// Error{kBadInput}: an unknown shape, an output that exists, a disk with too little room.
SynthResult RunSynth(const SynthJob& job);

}  // namespace attune
