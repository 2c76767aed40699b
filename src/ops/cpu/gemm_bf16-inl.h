// The bf16 kernel of the matrix product, written once over a tiny vector type: a native one (AVX512-BF16) and an
// emulated one for tests on any machine. A unit is two neighbouring bf16 of the reduction; Dot adds both products to
// an f32 accumulator. Included by exactly two files; everything here is internal to the including file, so that no
// function compiled for AVX-512 can be picked up by code that runs elsewhere.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/cpu/gemm_kernel.h"

namespace {

using attune::DotTile;
using attune::GemmKernel;
using attune::MicroTile;
using attune::OuterTile;

constexpr int kMr = 14, kLanes = 16, kNr = 32;

// acc[row][half] += pairs of a[row] and b; one half where the tile has no more than 16 columns.
template <class Simd, int kRows, int kHalves>
inline void Multiply(const uint32_t* a, int64_t a_stride, const uint32_t* b, int64_t units,
                     typename Simd::Acc (&acc)[kRows][kHalves]) {
  for (int64_t u = 0; u < units; ++u, b += kNr) {
    const typename Simd::Pairs b0 = Simd::Load(b), b1 = kHalves > 1 ? Simd::Load(b + kLanes) : b0;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename Simd::Pairs x = Simd::Broadcast(a[r * a_stride + u]);
      acc[r][0] = Simd::Dot(acc[r][0], x, b0);
      if constexpr (kHalves > 1) acc[r][1] = Simd::Dot(acc[r][1], x, b1);
    }
  }
}

// The keep-bits of a row of a tile, never read beyond its last byte; without a call, which would send all accumulators
// through memory.
inline uint32_t KeepBits(const uint8_t* mask, int cols) {
  uint32_t bits = 0;
  if (cols >= kNr) {
    std::memcpy(&bits, mask, sizeof(bits));
    return bits;
  }
  bits = mask[0];
  if (cols > 8) bits |= static_cast<uint32_t>(mask[1]) << 8;
  if (cols > 16) bits |= static_cast<uint32_t>(mask[2]) << 16;
  if (cols > 24) bits |= static_cast<uint32_t>(mask[3]) << 24;
  return bits;
}

// f32 to the nearest bf16, ties to even; a NaN stays one.
inline uint16_t RoundToBf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = bits + 0x7fff + ((bits >> 16) & 1);
  return static_cast<uint16_t>(((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x00400000 : rounded) >> 16);
}

template <class Simd, int kRows, int kHalves>
void Tile(const MicroTile& t) {
  typename Simd::Acc acc[kRows][kHalves];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) acc[r][h] = Simd::Zero();
  }
  if (t.low_units > 0) {
    Multiply<Simd, kRows, kHalves>(t.low_a, t.low_a_stride, t.low_panel, t.low_units, acc);
    if (t.mask != nullptr) {
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const uint32_t bits = KeepBits(t.mask + r * t.mask_stride, t.cols);
#pragma GCC unroll 2
        for (int h = 0; h < kHalves; ++h) {
          acc[r][h] = Simd::Keep(Simd::Scale(acc[r][h], t.mask_scale), static_cast<uint16_t>(bits >> (h * kLanes)));
        }
      }
    }
  }
  Multiply<Simd, kRows, kHalves>(t.a, t.a_stride, t.panel, t.units, acc);
  if (t.cols == kHalves * kLanes) {
#pragma GCC unroll 16  // an index known at run time would send every accumulator through memory
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) {
        const float* init = t.init != nullptr ? t.init + r * t.init_stride + h * kLanes : nullptr;
        const typename Simd::Acc y = Simd::Plus(Simd::Scale(acc[r][h], t.alpha), init);
        if (t.out_bf16 != nullptr) {
          Simd::StoreBf16(y, t.out_bf16 + r * t.out_bf16_stride + h * kLanes);
        } else {
          Simd::Store(y, t.out + r * t.out_stride + h * kLanes);
        }
      }
    }
    return;
  }
  float rows[kRows][kHalves * kLanes];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) Simd::Store(Simd::Scale(acc[r][h], t.alpha), rows[r] + h * kLanes);
  }
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < t.cols; ++j) {
      const float y = rows[r][j] + (t.init != nullptr ? t.init[r * t.init_stride + j] : 0.0f);
      if (t.out_bf16 != nullptr) {
        t.out_bf16[r * t.out_bf16_stride + j] = RoundToBf16(y);
      } else {
        t.out[r * t.out_stride + j] = y;
      }
    }
  }
}

template <class Simd, int kRows, int kHalves>
void Dispatch(const MicroTile& t) {
  if (t.rows == kRows) return Tile<Simd, kRows, kHalves>(t);
  if constexpr (kRows > 1) Dispatch<Simd, kRows - 1, kHalves>(t);
}

template <class Simd>
void Micro(const MicroTile& t) {
  if (t.cols <= kLanes) return Dispatch<Simd, kMr, 1>(t);
  Dispatch<Simd, kMr, 2>(t);
}

// Element by element: pairs may straddle 32-bit words.
void PackPairsNk(const uint16_t* source, int64_t stride, int cols, int64_t k, uint32_t* panel) {
  for (int64_t u = 0; u < (k + 1) / 2; ++u, panel += kNr) {
    for (int j = 0; j < kNr; ++j) {
      const uint16_t* pair = source + j * stride + 2 * u;
      panel[j] = j < cols ? pair[0] | (2 * u + 1 < k ? static_cast<uint32_t>(pair[1]) << 16 : 0) : 0;
    }
  }
}

// Pairs are 32-bit units, so the f32 kernel packs them where its panels are as wide, as they are on every processor
// with the instruction.
void PackNk(const void* source, int64_t stride, int cols, int64_t k, uint32_t* panel) {
  const GemmKernel& units = attune::F32GemmKernel();
  const bool whole_pairs = k % 2 == 0 && stride % 2 == 0 && reinterpret_cast<uintptr_t>(source) % sizeof(uint32_t) == 0;
  if (whole_pairs && units.nr == kNr) return units.pack_nk(source, stride / 2, cols, k / 2, panel);
  PackPairsNk(static_cast<const uint16_t*>(source), stride, cols, k, panel);
}

// The columns of a row, `cols` <= 32, that are there and that a mask (may be null) keeps.
inline uint32_t KeptColumns(const uint8_t* mask, int64_t cols) {
  const uint32_t there = cols >= kNr ? ~uint32_t{0} : (uint32_t{1} << cols) - 1;
  return mask == nullptr ? there : there & KeepBits(mask, static_cast<int>(cols));
}

template <class Simd>
void PackKn(const void* source, int64_t stride, int cols, int64_t rows, const uint8_t* mask, int64_t mask_stride,
            uint32_t* panel) {
  const uint16_t* from = static_cast<const uint16_t*>(source);
  const uint32_t there = KeptColumns(nullptr, cols);
  for (int64_t k = 0; k < rows; k += 2, from += 2 * stride, panel += kNr) {
    const bool paired = k + 1 < rows;
    const uint32_t low = mask == nullptr ? there : KeptColumns(mask + k * mask_stride, cols);
    const uint32_t high = !paired ? 0 : mask == nullptr ? there : KeptColumns(mask + (k + 1) * mask_stride, cols);
    const auto pairs = Simd::Interleave(from, low, paired ? from + stride : from, high);
    Simd::StorePairs(pairs.first, panel);
    Simd::StorePairs(pairs.second, panel + kLanes);
  }
}

template <class Simd>
void PackRows(const void* source, int64_t stride, int64_t rows, int64_t k, const uint8_t* mask, int64_t mask_stride,
              uint32_t* out, int64_t out_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const uint16_t* from = static_cast<const uint16_t*>(source) + r * stride;
    uint16_t* to = reinterpret_cast<uint16_t*>(out + r * out_stride);
    if (mask == nullptr) {
      std::memcpy(to, from, static_cast<size_t>(k) * sizeof(uint16_t));
      if (k % 2 != 0) to[k] = 0;
      continue;
    }
    const uint8_t* bits = mask + r * mask_stride;
    for (int64_t j = 0; j < k; j += kNr) {
      Simd::StorePairs(Simd::LoadKept(from + j, KeptColumns(bits + j / 8, k - j)), to + j);
    }
  }
}

void PackTransposed(const void* source, int64_t stride, int64_t m, int64_t k, uint32_t* out, int64_t out_stride) {
  const uint16_t* from = static_cast<const uint16_t*>(source);
  constexpr int64_t kUnits = 16, kRows = 16;  // a block: what is written of a row is a whole cache line
  const int64_t units = (k + 1) / 2;
  uint32_t block[kUnits][kRows];
  for (int64_t u0 = 0; u0 < units; u0 += kUnits) {
    const int64_t count = units - u0 < kUnits ? units - u0 : kUnits;
    for (int64_t r0 = 0; r0 < m; r0 += kRows) {
      const int64_t rows = m - r0 < kRows ? m - r0 : kRows;
      for (int64_t u = 0; u < count; ++u) {
        const uint16_t* low = from + 2 * (u0 + u) * stride + r0;
        const bool paired = 2 * (u0 + u) + 1 < k;
        for (int64_t r = 0; r < rows; ++r)
          block[u][r] = low[r] | (paired ? static_cast<uint32_t>(low[stride + r]) << 16 : 0);
      }
      attune::F32GemmKernel().pack_transposed(block, kRows, rows, count, out + r0 * out_stride + u0, out_stride);
    }
  }
}

constexpr int kDotRows = 3, kDotCols = 8, kOuterRows = 8;

// Adds the sum of the lanes of each of eight accumulators to as many floats.
template <class Simd>
inline void AddLaneSums(const typename Simd::Acc (&columns)[kDotCols], float* sums) {
  float lanes[kDotCols][kLanes];
#pragma GCC unroll 8
  for (int c = 0; c < kDotCols; ++c) Simd::Store(columns[c], lanes[c]);
  for (int c = 0; c < kDotCols; ++c) {
    float part[4] = {};
    for (int i = 0; i < kLanes; i += 4) {
      for (int j = 0; j < 4; ++j) part[j] += lanes[c][i + j];
    }
    sums[c] += (part[0] + part[1]) + (part[2] + part[3]);
  }
}

template <class Simd, bool kMasked>
void DotProducts(const DotTile& t) {
  const uint16_t* x[kDotRows];
  const uint8_t* mask[kDotRows];
  const uint16_t* y[kDotCols];
  for (int r = 0; r < kDotRows; ++r) {
    const int row = r < t.rows ? r : t.rows - 1;
    x[r] = static_cast<const uint16_t*>(t.x) + row * t.x_stride;
    mask[r] = kMasked ? t.mask + row * t.mask_stride : nullptr;
  }
  for (int c = 0; c < kDotCols; ++c)
    y[c] = static_cast<const uint16_t*>(t.y) + (c < t.cols ? c : t.cols - 1) * t.y_stride;
  typename Simd::Acc acc[kDotRows][kDotCols];
#pragma GCC unroll 4
  for (int r = 0; r < kDotRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kDotCols; ++c) acc[r][c] = Simd::Zero();
  }
  const int64_t ahead = t.ahead * t.x_stride;
  for (int64_t u = 0; u < t.k; u += kNr) {
    const uint32_t there = KeptColumns(nullptr, t.k - u);
    typename Simd::Pairs row[kDotRows];
#pragma GCC unroll 4
    for (int r = 0; r < kDotRows; ++r) {
      row[r] = Simd::LoadKept(x[r] + u, kMasked ? KeptColumns(mask[r] + u / 8, t.k - u) : there);
      if (ahead > 0) __builtin_prefetch(x[r] + ahead + u, 0, 2);
    }
#pragma GCC unroll 8
    for (int c = 0; c < kDotCols; ++c) {
      const typename Simd::Pairs column = Simd::LoadKept(y[c] + u, there);
#pragma GCC unroll 4
      for (int r = 0; r < kDotRows; ++r) acc[r][c] = Simd::Dot(acc[r][c], row[r], column);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kDotRows; ++r) {
    if (r < t.rows) AddLaneSums<Simd>(acc[r], t.sums + r * t.sums_stride);
  }
}

template <class Simd>
void Dots(const DotTile& t) {
  t.mask != nullptr ? DotProducts<Simd, true>(t) : DotProducts<Simd, false>(t);
}

template <class Simd, bool kMasked>
void OuterProducts(const OuterTile& t) {
  typename Simd::Acc acc[kOuterRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kOuterRows; ++r) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) acc[r][h] = Simd::Plus(Simd::Zero(), t.sums + r * t.sums_stride + h * kLanes);
  }
  const uint16_t* x = static_cast<const uint16_t*>(t.x);
  const uint32_t* panel = t.panel;
  const uint32_t there = KeptColumns(nullptr, t.cols);
  const int64_t ahead = t.ahead * t.x_stride;
  for (int64_t k = 0; k < t.k; k += 2, x += 2 * t.x_stride, panel += kNr) {
    const bool paired = k + 1 < t.k;
    const uint32_t low = kMasked ? KeptColumns(t.mask + k * t.mask_stride, t.cols) : there;
    const uint32_t high = !paired ? 0 : kMasked ? KeptColumns(t.mask + (k + 1) * t.mask_stride, t.cols) : there;
    const auto pairs = Simd::Interleave(x, low, paired ? x + t.x_stride : x, high);
    if (ahead > 0) {
      __builtin_prefetch(x + ahead, 0, 2);
      __builtin_prefetch(x + ahead + t.x_stride, 0, 2);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kOuterRows; ++r) {
      const typename Simd::Pairs factor = Simd::Broadcast(panel[r]);
      acc[r][0] = Simd::Dot(acc[r][0], factor, pairs.first);
      acc[r][1] = Simd::Dot(acc[r][1], factor, pairs.second);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kOuterRows; ++r) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) Simd::Store(acc[r][h], t.sums + r * t.sums_stride + h * kLanes);
  }
}

template <class Simd>
void Outer(const OuterTile& t) {
  t.mask != nullptr ? OuterProducts<Simd, true>(t) : OuterProducts<Simd, false>(t);
}

template <class Simd>
const GemmKernel* KernelOf(const char* name) {
  static const GemmKernel kernel = {
      name,           kMr,      kNr,      2,          Micro<Simd>, PackNk, PackKn<Simd>, PackRows<Simd>,
      PackTransposed, kDotRows, kDotCols, Dots<Simd>, kOuterRows,  kNr,    Outer<Simd>};
  return &kernel;
}

}  // namespace
