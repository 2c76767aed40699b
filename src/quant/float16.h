// The two 16-bit float formats and float32, exactly: widening is exact, narrowing rounds to nearest even.
#pragma once

#include <bit>
#include <cstdint>

#include "base/dtype.h"

namespace attune {

// IEEE binary16 to binary32. No step goes through a subnormal float32, so flush-to-zero modes do not change
// the result; selects instead of branches, so that loops vectorise.
inline float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t magnitude = half & 0x7FFF;
  const uint32_t normal = (magnitude << 13) + (112u << 23);  // exponent bias 15 to 127
  const uint32_t special = normal + (112u << 23);            // infinity and NaN keep an all-ones exponent
  // A subnormal half is magnitude * 2^-24: glue it below the exponent of 2^-14 and subtract 2^-14.
  const float subnormal = std::bit_cast<float>((magnitude << 13) + (113u << 23)) - std::bit_cast<float>(113u << 23);
  uint32_t bits = magnitude >= 0x7C00 ? special : normal;
  bits = magnitude < 0x0400 ? std::bit_cast<uint32_t>(subnormal) : bits;
  return std::bit_cast<float>(bits | sign);
}

inline float Bf16ToFloat(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

// Round to nearest, ties to even; a NaN stays a (quiet) NaN.
inline uint16_t FloatToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7FFF + ((bits >> 16) & 1);
  const uint32_t quiet = bits | 0x00400000;
  return static_cast<uint16_t>(((bits & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded) >> 16);
}

// Round to nearest, ties to even, beyond the largest half to infinity; a NaN stays a (quiet) NaN.
inline uint16_t FloatToHalf(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  // Halves from 2^-14: 13 bits of fraction fall away. One that rounds up past the largest becomes infinity.
  const uint32_t rounded = (magnitude + 0xFFF + ((magnitude >> 13) & 1) - (112u << 23)) >> 13;
  // Below: adding 0.5 to a magnitude leaves its multiple of 2^-24, rounded, in the last bits of the sum.
  const float sum = std::bit_cast<float>(magnitude) + 0.5f;
  const uint32_t subnormal = std::bit_cast<uint32_t>(sum) - std::bit_cast<uint32_t>(0.5f);
  uint32_t half = magnitude < (113u << 23) ? subnormal : rounded;
  half = magnitude >= 0x47800000 ? 0x7C00 : half;
  half = magnitude > 0x7F800000 ? 0x7E00 : half;
  return static_cast<uint16_t>(half | (bits >> 16 & 0x8000));
}

// `count` values as BF16 or F16.
inline void NarrowFloats(const float* from, int64_t count, DType dtype, uint16_t* to) {
  if (dtype == DType::kBF16) {
    for (int64_t i = 0; i < count; ++i) to[i] = FloatToBf16(from[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = FloatToHalf(from[i]);
  }
}

}  // namespace attune
