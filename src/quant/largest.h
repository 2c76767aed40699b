// The largest magnitude of a block of values, on which every absmax format scales.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace attune {

// Blocks are divided by at least this much, so that zeros stay zeros (bitsandbytes).
inline constexpr float kLeastScale = 1e-38f;

// Magnitudes of floats are ordered as their bits are, and a NaN's lie above an infinity's: a block with a NaN
// has the magnitude NaN. Integers also vectorise without leave to reorder float operations.
inline float LargestMagnitude(const float* values, int64_t count) {
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<int32_t>(values[i]) & 0x7FFFFFFF);
  }
  return std::bit_cast<float>(largest);
}

}  // namespace attune
