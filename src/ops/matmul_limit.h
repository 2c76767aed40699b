// What this machine can multiply at: oneDNN alone on fixed shapes, independent of our kernels. The yardstick of
// `attune bench`; nothing else uses oneDNN.
#pragma once

#include "base/dtype.h"

namespace attune {

// In FLOP/s.
struct MatmulRate {
  double limit = 0;    // the median over five shapes of the best of a few runs: the machine's own
  double average = 0;  // over all of these runs: what other work on the same cores leaves of it just now
};

// On `threads` threads. `dtype`: F32, or BF16 where Device::has_bf16. Takes a second or two.
MatmulRate MeasureMatmulRate(DType dtype, int threads);

}  // namespace attune
