// The 8-bit dynamic data type of bitsandbytes: 256 values whose spacing shrinks towards zero, applied block
// by block to the values divided by the block's largest magnitude. It stores optimiser states, and the scales
// of doubly quantised 4-bit weights. Source: Dettmers, "8-Bit Approximations for Parallelism in Deep
// Learning" (arXiv 1511.04561) and "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861);
// bitsandbytes 0.50.2, functional.py, create_dynamic_map, quantize_blockwise and dequantize_blockwise.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace attune {

using CodeMap = std::array<float, 256>;  // ascending

// The signed map (-0.9930 ... 0 at 127 ... 1) or the unsigned one (0, 3.25e-7 ... 1). Builds of torch differ
// by one unit in the last place in a fifth of the entries: decode what a file holds with the map the file
// holds.
const CodeMap& DynamicMap(bool is_signed);

// Finds the value of a map nearest to a number: the lower of two that are equally near, the ends outside the
// map's range, code 255 for a NaN. Immutable; safe to use from several threads. The map must outlive it.
class NearestCode {
 public:
  explicit NearestCode(const CodeMap& map);

  const CodeMap& map() const { return map_; }
  uint8_t operator()(float x) const;

  // The search as tables, for kernels: the bucket of a number x is the upper half of the bits of |x|, clamped to
  // [kSmallest, kLargest], less kSmallest, plus kBuckets where x is negative. first()[bucket] is the lowest code that
  // it can have, one more where x lies above middles()[that code]. (Of the two shared instances: no bucket holds two
  // middles. Not for a NaN.)
  static constexpr uint32_t kSmallest = (127u - 32) << 7, kLargest = 128u << 7, kBuckets = kLargest - kSmallest + 1;
  const CodeMap& middles() const { return middles_; }
  const std::vector<uint8_t>& first() const { return first_; }  // 2 kBuckets, and 3 bytes so that 4 can be read at each

 private:
  const CodeMap& map_;
  CodeMap middles_;             // middles_[i] lies between map[i] and map[i + 1]
  std::vector<uint8_t> first_;  // by the leading bits of a number: the lowest code that it can have
};

// The shared instance for DynamicMap(is_signed).
const NearestCode& NearestDynamic(bool is_signed);

// Encodes `count` values in blocks of `block_size`, the last of which may be short: codes[count], and the
// largest magnitude of each block in absmax[(count + block_size - 1) / block_size]. The value looked up is x
// / absmax in float32 (x / 1e-38 in a block of zeros). A block that holds a NaN or an infinity decodes to
// NaN. Threads may take ranges of whole blocks.
void EncodeDynamic8(const NearestCode& nearest, int64_t block_size, const float* values, int64_t count, uint8_t* codes,
                    float* absmax);

// out[i] = map[codes[i]] * absmax[i / block_size], in float32.
void DecodeDynamic8(const CodeMap& map, int64_t block_size, const uint8_t* codes, const float* absmax, int64_t count,
                    float* out);

}  // namespace attune
