#include "quant/dynamic8.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "quant/largest.h"

namespace attune {
namespace {

// torch.linspace(0.1, 1, steps) in float32, which counts from the nearer end and fuses the product and the
// sum.
std::vector<float> Linspace(int steps) {
  const float start = 0.1f, end = 1.0f, step = (end - start) / static_cast<float>(steps - 1);
  std::vector<float> values(static_cast<size_t>(steps));
  for (int i = 0; i < steps; ++i) {
    values[static_cast<size_t>(i)] = i < steps / 2 ? std::fma(step, static_cast<float>(i), start)
                                                   : std::fma(-step, static_cast<float>(steps - 1 - i), end);
  }
  return values;
}

// Seven decades below 1; each holds twice as many values as the one below it.
CodeMap MakeDynamicMap(bool is_signed) {
  constexpr int kDecades = 7;
  std::vector<float> values = {0.0f, 1.0f};
  for (int decade = 0; decade < kDecades; ++decade) {
    const std::vector<float> bounds = Linspace((1 << (is_signed ? decade : decade + 1)) + 1);
    const auto scale = static_cast<float>(std::pow(10.0, decade - (kDecades - 1)));
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      const float value = scale * ((bounds[i] + bounds[i + 1]) / 2.0f);
      values.push_back(value);
      if (is_signed) values.push_back(-value);
    }
  }
  std::sort(values.begin(), values.end());
  CodeMap map;
  std::copy(values.begin(), values.end(), map.begin());
  return map;
}

// Numbers fall into buckets by sign, exponent and seven bits of fraction, finer than any map's spacing where
// it matters; magnitudes below 2^-32 share a bucket, and so do those of 2 and above.
constexpr uint32_t kSmallest = NearestCode::kSmallest, kLargest = NearestCode::kLargest,
                   kBuckets = NearestCode::kBuckets;

uint32_t BucketOf(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = std::clamp((bits & 0x7FFFFFFF) >> 16, kSmallest, kLargest) - kSmallest;
  return (bits >> 31) * kBuckets + magnitude;
}

// The least number of a bucket.
float LowestOf(uint32_t bucket) {
  const bool negative = bucket >= kBuckets;
  const uint32_t magnitude = bucket % kBuckets;
  if (negative) {
    if (magnitude == kBuckets - 1) return -INFINITY;
    return -std::bit_cast<float>(((kSmallest + magnitude) << 16) | 0xFFFF);
  }
  return magnitude == 0 ? 0.0f : std::bit_cast<float>((kSmallest + magnitude) << 16);
}

}  // namespace

const CodeMap& DynamicMap(bool is_signed) {
  static const CodeMap maps[] = {MakeDynamicMap(false), MakeDynamicMap(true)};
  return maps[is_signed];
}

NearestCode::NearestCode(const CodeMap& map) : map_(map), first_(2 * kBuckets + 3) {
  for (size_t i = 0; i + 1 < map.size(); ++i) middles_[i] = (map[i] + map[i + 1]) / 2.0f;
  middles_[255] = INFINITY;
  for (uint32_t bucket = 0; bucket < 2 * kBuckets; ++bucket) {
    const auto at = std::lower_bound(middles_.begin(), middles_.end(), LowestOf(bucket));
    first_[bucket] = static_cast<uint8_t>(at - middles_.begin());
  }
}

uint8_t NearestCode::operator()(float x) const {
  uint32_t code = first_[BucketOf(x)];
  while (code < 255 && !(x <= middles_[code])) ++code;
  return static_cast<uint8_t>(code);
}

const NearestCode& NearestDynamic(bool is_signed) {
  static const NearestCode instances[] = {NearestCode(DynamicMap(false)), NearestCode(DynamicMap(true))};
  return instances[is_signed];
}

void EncodeDynamic8(const NearestCode& nearest, int64_t block_size, const float* values, int64_t count, uint8_t* codes,
                    float* absmax) {
  for (int64_t start = 0; start < count; start += block_size) {
    const int64_t end = std::min(count, start + block_size);
    const float largest = LargestMagnitude(values + start, end - start);
    const float divisor = largest < kLeastScale ? kLeastScale : largest;
    *absmax++ = largest;
    for (int64_t i = start; i < end; ++i) codes[i] = nearest(values[i] / divisor);
  }
}

void DecodeDynamic8(const CodeMap& map, int64_t block_size, const uint8_t* codes, const float* absmax, int64_t count,
                    float* out) {
  for (int64_t start = 0; start < count; start += block_size) {
    const int64_t end = std::min(count, start + block_size);
    const float scale = *absmax++;
    for (int64_t i = start; i < end; ++i) out[i] = map[codes[i]] * scale;
  }
}

}  // namespace attune
