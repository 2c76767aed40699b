// The 4-bit block formats of bitsandbytes: NF4 and FP4, with their scales in float32 or quantised once more
// ("double quantisation").
// Source: Dettmers et al., "QLoRA" (arXiv 2305.14314), sections 3 and appendix E; bitsandbytes 0.50.2,
// functional.py (get_4bit_type, quantize_4bit, QuantState) and its torch kernels (backends/default/ops.py),
// with which the bytes made here agree to the last bit.
//
// Layout: a tensor is flattened row-major and cut into blocks of block_size elements, whatever its rows; the
// last block may be short. An element is a 4-bit code: a number in a table of 16, times the block's absmax
// (float32). Elements 2j and 2j + 1 share byte j, 2j in its high four bits; after an odd number of elements
// the last low bits are the code of zero. Where a checkpoint's table or map differs from ours in the last
// place, its own is used.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace attune {

enum class Bnb4Type : uint8_t { kNf4, kFp4 };

std::string_view NameOf(Bnb4Type type);                     // "nf4", "fp4"
std::optional<Bnb4Type> Bnb4TypeOf(std::string_view name);  // nothing for another name
const std::array<float, 16>& Bnb4Table(Bnb4Type type);      // by code; FP4 has two zeros, codes 0 and 8

// 32, 64, 128 ... 4096.
constexpr bool IsBnb4BlockSize(int64_t size) { return size >= 32 && size <= 4096 && (size & (size - 1)) == 0; }

constexpr int64_t Bnb4PackedBytes(int64_t elements) { return elements / 2 + elements % 2; }
constexpr int64_t BlockCount(int64_t elements, int64_t block_size) {
  return elements / block_size + (elements % block_size != 0);
}

// Encodes `elements` values of type F32, BF16 or F16 at `source` (any alignment):
// packed[Bnb4PackedBytes(elements)], absmax[BlockCount(elements, block_size)]. IsBnb4BlockSize(block_size).
// Threads may take ranges that start at a block and end at one or at the tensor's end. As in bitsandbytes:
// the number looked up is x * (1 / absmax), in a short last block x / absmax, an absmax below 1e-38 counting
// as 1e-38 (and stored so for a short last block); a number on the boundary of two codes takes the lower
// value. A block that holds a NaN or an infinity decodes to NaN.
void EncodeBnb4(Bnb4Type type, int64_t block_size, DType dtype, const std::byte* source, int64_t elements,
                uint8_t* packed, float* absmax);

// Scales quantised once more: offset = mean of all scales; scale - offset by the signed 8-bit dynamic map in
// blocks of 256.
struct NestedScales {
  static constexpr int64_t kBlockSize = 256;
  float offset = 0;
  std::vector<uint8_t> codes;  // one a block of the tensor
  std::vector<float> absmax;   // one a block of `codes`
};

// The mean is summed as torch does it (quant/torch_mean.h).
NestedScales EncodeNestedScales(const std::vector<float>& absmax);

// A packed tensor to decode: views of memory that someone else keeps, of any alignment.
struct Bnb4View {
  std::array<float, 16> table = {};
  int64_t block_size = 64;
  const std::byte* packed = nullptr;
  const std::byte* absmax = nullptr;  // F32 a block; nested: a code a block

  bool nested = false;
  int64_t nested_block_size = NestedScales::kBlockSize;
  const std::byte* nested_absmax = nullptr;  // F32 a block of codes
  const std::byte* nested_map = nullptr;     // F32 x 256
  float offset = 0;

  // The scale of a block: as stored, or nested_map[code] * nested_absmax + offset in float32.
  float Scale(int64_t block) const;
};

// Decodes elements first ... first + count - 1 of the tensor: table[code] * scale in float32, rounded to
// nearest even for bfloat16. Any range will do, so that rows need not be whole blocks. At the speed of memory
// with AVX2.
void DecodeBnb4(const Bnb4View& view, int64_t first, int64_t count, float* out);
void DecodeBnb4(const Bnb4View& view, int64_t first, int64_t count, uint16_t* bf16_out);

}  // namespace attune
