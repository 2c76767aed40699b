#include "quant/int8_rows.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/float16.h"
#include "quant/gguf_blocks.h"
#include "quant/largest.h"

namespace attune {
namespace {

void Narrow(float value, float* out) { *out = value; }
void Narrow(float value, uint16_t* out) { *out = FloatToBf16(value); }

template <class T>
void Decode(const int8_t* codes, const float* absmax, int64_t rows, int64_t columns, T* out) {
  for (int64_t row = 0; row < rows; ++row) {
    const float scale = absmax[row];
    for (int64_t c = 0; c < columns; ++c) Narrow(static_cast<float>(codes[c]) * scale * kInt8Unit, &out[c]);
    codes += columns;
    out += columns;
  }
}

}  // namespace

void EncodeInt8Rows(DType dtype, const std::byte* source, int64_t rows, int64_t columns, int8_t* codes, float* absmax) {
  std::vector<float> values(static_cast<size_t>(columns));
  const int64_t row_bytes = BytesOf(dtype, columns);
  for (int64_t row = 0; row < rows; ++row, source += row_bytes, codes += columns) {
    DecodeBlocks(dtype, source, columns, values.data());
    for (float& value : values) value = HalfToFloat(FloatToHalf(value));
    const float largest = LargestMagnitude(values.data(), columns);
    absmax[row] = largest;
    if (!(largest > 0 && largest < INFINITY)) {
      std::fill(codes, codes + columns, int8_t{0});
      // Zero times an infinity is what makes such a row decode to NaN; a largest magnitude of NaN does so by
      // itself.
      continue;
    }
    const float factor = 127.0f / largest;
    for (int64_t c = 0; c < columns; ++c) {
      codes[c] = static_cast<int8_t>(std::nearbyintf(values[static_cast<size_t>(c)] * factor));
    }
  }
}

void DecodeInt8Rows(const int8_t* codes, const float* absmax, int64_t rows, int64_t columns, float* out) {
  Decode(codes, absmax, rows, columns, out);
}

void DecodeInt8Rows(const int8_t* codes, const float* absmax, int64_t rows, int64_t columns, uint16_t* bf16_out) {
  Decode(codes, absmax, rows, columns, bf16_out);
}

}  // namespace attune
