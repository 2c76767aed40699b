// Normal random numbers from a counter, for the weights of a model that is made up: a value depends on its key and its
// place alone, so any part of any tensor can be made again, by any number of threads.
// Source: G. Box and M. Muller, "A Note on the Generation of Random Normal Deviates" (1958); the bits are the finaliser
// of MurmurHash3 (A. Appleby, public domain). Elements 16g + j and 16g + j + 8 (j < 8) are a pair, as in torch's
// normal_.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace attune {

// Values first ... first + count - 1 of N(0, stddev^2) under this key, as F32, BF16 or F16 (rounded to nearest even) at
// `out`, aligned as the type asks. `first` is a multiple of 16; places lie below 2^33. No value lies beyond 5.8 stddev.
// The same bits on every machine: nothing but additions, multiplications and square roots of float32.
void FillNormalWeights(uint64_t key, float stddev, DType dtype, int64_t first, int64_t count, std::byte* out);

}  // namespace attune
