// How the bf16 attention kernel brings rows of a head into the forms its products want. Internal to the files
// that include it, as attention_bf16-inl.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ops/cpu/gemm_kernel.h"

namespace {

constexpr int kLanes = 16, kTileCols = 32;
constexpr int64_t kBlock = 64;          // queries and keys of one tile
constexpr int64_t kPairs = kBlock / 2;  // units of a tile's side

inline int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t Clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

// The scratch of a thread, taken piece by piece; every piece is aligned to a cache line.
class Room {
 public:
  explicit Room(std::byte* base) : cursor_(base) {}

  uint32_t* Units(int64_t count) { return reinterpret_cast<uint32_t*>(Take(count)); }
  float* Floats(int64_t count) { return reinterpret_cast<float*>(Take(count)); }

 private:
  std::byte* Take(int64_t count) {
    std::byte* here = cursor_;
    cursor_ += (count + kLanes - 1) / kLanes * kLanes * 4;
    return here;
  }

  std::byte* cursor_;
};

// out (64, units) = rows of `dim` bf16, packed densely; what lies beyond dim and beyond the rows is zero.
inline void CopyRows(const uint16_t* in, int64_t stride, int64_t rows, int64_t dim, uint32_t* out) {
  const int64_t units = (dim + 1) / 2;
  for (int64_t r = 0; r < rows; ++r, in += stride, out += units) {
    if (dim % 2 != 0) out[units - 1] = 0;
    std::memcpy(out, in, static_cast<size_t>(dim) * sizeof(uint16_t));
  }
  std::memset(out, 0, static_cast<size_t>((kBlock - rows) * units) * sizeof(uint32_t));
}

// out (32, width) = units of two neighbouring rows of in (64, cols bf16), zero from cols on; cols is even.
template <class Simd>
inline void ZipRows(const uint32_t* in, int64_t cols, uint32_t* out, int64_t width) {
  for (int64_t r = 0; r < kPairs; ++r, in += cols, out += width) {
    int64_t c = 0;
    for (; c + kLanes <= cols; c += kLanes) {
      Simd::StorePairs(Simd::Zip(in + c / 2, in + cols / 2 + c / 2), out + c);
    }
    for (; c < cols; c += 2) {
      const uint32_t low = in[c / 2], high = in[cols / 2 + c / 2];
      out[c] = (low & 0xffff) | high << 16;
      out[c + 1] = low >> 16 | (high & 0xffff0000u);
    }
    for (; c < width; ++c) out[c] = 0;
  }
}

// out (cols, rows) = the transpose of in (rows, cols), by the f32 kernel, which takes squares as wide as a vector.
inline void TransposeUnits(const uint32_t* in, int64_t in_stride, int64_t rows, int64_t cols, uint32_t* out,
                           int64_t out_stride) {
  attune::F32GemmKernel().pack_transposed(in, in_stride, cols, rows, out, out_stride);
}

// sums (rows, dim) += from (rows, width).
template <class Simd>
inline void AddRows(const float* from, int64_t width, int64_t rows, int64_t dim, float* sums, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r, from += width, sums += stride) {
    int64_t c = 0;
    for (; c + kLanes <= dim; c += kLanes) Simd::Store(Simd::Add(Simd::Load(from + c), Simd::Load(sums + c)), sums + c);
    for (; c < dim; ++c) sums[c] += from[c];
  }
}

}  // namespace
