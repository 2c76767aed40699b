// What this machine can multiply at: oneDNN alone on fixed shapes, independent of our kernels. The yardstick of
// `attune bench`; nothing else uses oneDNN.
#pragma once

#include <memory>

#include "base/dtype.h"

namespace attune {

class MatmulLimit {
 public:
  // `dtype`: F32, or BF16 where Device::has_bf16. Takes 60 MiB.
  MatmulLimit(DType dtype, int threads);
  ~MatmulLimit();

  // Median over five shapes of the best of a few runs, in FLOP/s. Takes about half a second.
  double Best();

  struct Rate {
    double flops = 0, seconds = 0;
  };
  // A few runs of one of the shapes, another at each call, with its operands at hand: some 30 ms.
  Rate Next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace attune
