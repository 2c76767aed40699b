// The weights of LLM.int8: a signed byte an element and one scale a row.
// Source: Dettmers et al., "LLM.int8()" (arXiv 2208.07339), section 2.1; bitsandbytes 0.50.2,
// int8_vectorwise_quant and int8_vectorwise_dequant. In a checkpoint: X.weight I8 (out, in), X.SCB F32 (out),
// X.weight_format. Weights pass through float16, as they do in bitsandbytes, so magnitudes above 65504 are
// infinite.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace attune {

// 1 / 127 in float32.
inline constexpr float kInt8Unit = 7.874015718698502e-3f;

// Encodes `rows` rows of `columns` values of type F32, BF16 or F16: code = round(x * (127 / absmax)), half to
// even, with absmax the largest magnitude of the row, stored in absmax[rows] (SCB). A row of zeros has codes
// and absmax 0; one that holds a NaN or an infinity has codes 0 and that absmax, so decodes to NaN. Threads
// may take ranges of rows.
void EncodeInt8Rows(DType dtype, const std::byte* source, int64_t rows, int64_t columns, int8_t* codes, float* absmax);

// code * absmax * (1 / 127) in float32, for rows that follow one another; rounded to nearest even for
// bfloat16.
void DecodeInt8Rows(const int8_t* codes, const float* absmax, int64_t rows, int64_t columns, float* out);
void DecodeInt8Rows(const int8_t* codes, const float* absmax, int64_t rows, int64_t columns, uint16_t* bf16_out);

}  // namespace attune
