// Decoding of stored weights to float32: plain floats and the block formats of ggml.
// Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h. A block of 32 holds one float16
// scale (and a minimum); a K block of 256 holds 8 or 16 sub-blocks whose small integer scales share one or
// two float16 factors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace attune {

// Whether DecodeBlocks knows the type: F32, F16, BF16 and the Q formats of DType.
bool CanDecode(DType type);

// Decodes `elements` consecutive elements, a multiple of the type's block size, from `source` (any alignment)
// to `out`. The products are formed in the order of ggml's own reference, in float32, so results agree to the
// last bit or two. Requires CanDecode(type).
void DecodeBlocks(DType type, const std::byte* source, int64_t elements, float* out);

}  // namespace attune
