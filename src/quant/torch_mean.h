// The mean of a vector with the roundings of torch on an x86 CPU without AVX-512 and on one thread.
// Why it is needed: the mean of the scales goes into a doubly quantised checkpoint, and its last bit decides
// over scales that lie between two codes. Nothing else orders a sum this way.
#pragma once

#include <cstdint>

namespace attune {

// sum / count in float32; NaN for none. Source: PyTorch, aten/src/ATen/native/cpu/SumKernel.cpp (cascade sum:
// eight lanes, four rows at once, four levels of partial sums, which bounds the rounding error).
float TorchMean(const float* values, int64_t count);

}  // namespace attune
