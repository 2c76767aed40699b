// What this machine can multiply at: oneDNN alone on fixed shapes, independent of our kernels. The yardstick of
// `attune bench`; nothing else uses oneDNN.
#pragma once

#include "base/dtype.h"

namespace attune {

// Median over five shapes of the best of a few runs, in FLOP/s, on `threads` threads. `dtype`: F32, or BF16 where
// Device::has_bf16. Takes about half a second.
double MeasureMatmulLimit(DType dtype, int threads);

}  // namespace attune
