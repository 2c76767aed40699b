#include "quant/random_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "quant/float16.h"

namespace attune {
namespace {

constexpr int64_t kGroup = 16, kPairs = kGroup / 2;

uint32_t MixBits(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ (x >> 16);
}

// ln(x) of a normal float in (0, 1]. Source: Cephes, logf.c (S. Moshier), its polynomial; the fraction lies in
// [sqrt(1/2), sqrt(2)).
float LogOf(float x) {
  const auto bits = std::bit_cast<int32_t>(x);
  const int32_t shifted = bits - 0x3f3504f3;  // sqrt(1/2)
  const auto exponent = static_cast<float>(shifted >> 23);
  const float m = std::bit_cast<float>(bits - (shifted & static_cast<int32_t>(0xff800000u))) - 1.0f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z - 2.12194440e-4f * exponent - 0.5f * z;
  return m + p + 0.693359375f * exponent;
}

// Sixteen values: `pair` numbers their eight pairs from pair * 8 on. Plain loops over eight, which the compiler
// vectorises.
void NormalGroup(uint32_t low_key, uint32_t high_key, uint32_t group, float stddev, float* out) {
  for (uint32_t j = 0; j < kPairs; ++j) {
    const uint32_t pair = group * static_cast<uint32_t>(kPairs) + j;
    const uint32_t a = MixBits(MixBits(pair ^ low_key) + high_key);
    const uint32_t b = MixBits(a ^ 0x9e3779b9u ^ MixBits(pair + high_key));
    // 1 ... 2^24, over 2^24: no logarithm of 0.
    const float u = static_cast<float>(static_cast<int32_t>((a >> 8) + 1)) * 0x1p-24f;
    const float radius = stddev * std::sqrt(-2.0f * LogOf(u));
    // The angle: a quadrant, and t in [-pi/4, pi/4) within it.
    const float t = (static_cast<float>(static_cast<int32_t>(b & 0xffffff)) - 0x1p23f) * (1.57079632679f * 0x1p-24f);
    const float z = t * t;
    const float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * t + t;
    const float c =
        ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
    const uint32_t quadrant = b >> 30;
    const bool swapped = (quadrant & 1) != 0;
    const float x = swapped ? s : c, y = swapped ? c : s;
    const uint32_t x_sign = (quadrant ^ (quadrant << 1)) << 30 & 0x80000000u;  // quadrants 1 and 2
    const uint32_t y_sign = quadrant << 30 & 0x80000000u;                      // quadrants 2 and 3
    out[j] = radius * std::bit_cast<float>(std::bit_cast<uint32_t>(x) ^ x_sign);
    out[j + kPairs] = radius * std::bit_cast<float>(std::bit_cast<uint32_t>(y) ^ y_sign);
  }
}

}  // namespace

void FillNormalWeights(uint64_t key, float stddev, DType dtype, int64_t first, int64_t count, std::byte* out) {
  const auto low_key = static_cast<uint32_t>(key), high_key = static_cast<uint32_t>(key >> 32);
  constexpr int64_t kPiece = 64 * kGroup;
  float values[kPiece];
  uint16_t narrow[kPiece];
  for (int64_t done = 0; done < count; done += kPiece) {
    const int64_t size = std::min(kPiece, count - done);
    const auto group = static_cast<uint32_t>((first + done) / kGroup);
    for (int64_t g = 0; g < (size + kGroup - 1) / kGroup; ++g) {
      NormalGroup(low_key, high_key, group + static_cast<uint32_t>(g), stddev, values + g * kGroup);
    }
    if (dtype == DType::kF32) {
      std::memcpy(out + done * 4, values, static_cast<size_t>(size) * 4);
      continue;
    }
    NarrowFloats(values, size, dtype, narrow);
    std::memcpy(out + done * 2, narrow, static_cast<size_t>(size) * 2);
  }
}

}  // namespace attune
