// The f32 kernel of the matrix product, for every vector width Highway dispatches to. With 256-bit vectors a tile is
// 6 x 16 (12 accumulators, 2 panel vectors, 1 broadcast of 16 registers), with 512-bit vectors 14 x 32.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/gemm_f32.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "ops/cpu/gemm_kernel.h"
#include "ops/cpu/transpose-inl.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

using D = FullF32;
constexpr int kNr = 2 * kLanes;
constexpr int kMr = kLanes >= 16 ? 14 : 6;

// acc[row][half] += a[row][unit] * b[unit][half] for all units; one half where the tile has no more columns than lanes.
template <int kRows, int kHalves>
HWY_INLINE void Multiply(const float* HWY_RESTRICT a, int64_t a_stride, const float* HWY_RESTRICT b, int64_t units,
                         V (&acc)[kRows][kHalves]) {
  const D d;
  for (int64_t u = 0; u < units; ++u) {
    const V b0 = hn::Load(d, b);
    const V b1 = kHalves > 1 ? hn::Load(d, b + kLanes) : b0;
    b += kNr;
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const float* from = a + r * a_stride + u;
      if (kHalves == 1 || r % 2 == 0) {  // where there are two halves every other row: loads are bounded too
        AddProduct(acc[r][0], from, b0);
        if constexpr (kHalves > 1) AddProduct(acc[r][1], from, b1);
        continue;
      }
      const V x = hn::Set(d, *from);
      acc[r][0] = hn::MulAdd(x, b0, acc[r][0]);
      if constexpr (kHalves > 1) acc[r][1] = hn::MulAdd(x, b1, acc[r][1]);
    }
  }
}

template <int kRows, int kHalves>
void Tile(const MicroTile& t) {
  const D d;
  V acc[kRows][kHalves];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) acc[r][h] = hn::Zero(d);
  }
  if (t.low_units > 0) {
    Multiply<kRows, kHalves>(reinterpret_cast<const float*>(t.low_a), t.low_a_stride,
                             reinterpret_cast<const float*>(t.low_panel), t.low_units, acc);
    if (t.mask != nullptr) {
      const V scale = hn::Set(d, t.mask_scale);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const uint8_t* bits = t.mask + r * t.mask_stride;
#pragma GCC unroll 2
        for (int h = 0; h < kHalves; ++h) {
          acc[r][h] = hn::IfThenElseZero(hn::LoadMaskBits(d, bits + h * kLanes / 8), hn::Mul(acc[r][h], scale));
        }
      }
    }
  }
  Multiply<kRows, kHalves>(reinterpret_cast<const float*>(t.a), t.a_stride, reinterpret_cast<const float*>(t.panel),
                           t.units, acc);
  const V alpha = hn::Set(d, t.alpha);
  if (t.cols == kHalves * kLanes) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) {
        V y = hn::Mul(acc[r][h], alpha);
        if (t.init != nullptr) y = hn::Add(y, hn::LoadU(d, t.init + r * t.init_stride + h * kLanes));
        hn::StoreU(y, d, t.out + r * t.out_stride + h * kLanes);
      }
    }
    return;
  }
  HWY_ALIGN float rows[kRows][kHalves * kLanes];
#pragma GCC unroll 16  // an index known at run time would send every accumulator of every tile through memory
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) hn::Store(hn::Mul(acc[r][h], alpha), d, rows[r] + h * kLanes);
  }
  for (int r = 0; r < kRows; ++r) {
    for (int j = 0; j < t.cols; ++j) {
      t.out[r * t.out_stride + j] = rows[r][j] + (t.init != nullptr ? t.init[r * t.init_stride + j] : 0.0f);
    }
  }
}

template <int kRows, int kHalves>
void Dispatch(const MicroTile& t) {
  if (t.rows == kRows) return Tile<kRows, kHalves>(t);
  if constexpr (kRows > 1) Dispatch<kRows - 1, kHalves>(t);
}

void Micro(const MicroTile& t) {
  if (t.cols <= kLanes) return Dispatch<kMr, 1>(t);
  Dispatch<kMr, 2>(t);
}

void PackNk(const void* from, int64_t stride, int cols, int64_t units, uint32_t* panel) {
  const uint32_t* source = static_cast<const uint32_t*>(from);
  const int64_t whole_units = units / kLanes * kLanes;
  const int whole = cols / kLanes * kLanes;
  for (int64_t u = 0; u < whole_units; u += kLanes) {
    for (int j = 0; j < whole; j += kLanes) TransposeSquare(source + j * stride + u, stride, panel + u * kNr + j, kNr);
  }
  for (int64_t u = 0; u < units; ++u) {
    for (int j = u < whole_units ? whole : 0; j < kNr; ++j) panel[u * kNr + j] = j < cols ? source[j * stride + u] : 0;
  }
}

// The first `count` lanes from memory, of which no more is read; the rest zero.
HWY_INLINE V LoadFirst(const float* from, int64_t count) {
  const D d;
  return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(count)), d, from);
}

void PackKn(const void* source, int64_t stride, int cols, int64_t rows, const uint8_t* mask, int64_t mask_stride,
            uint32_t* panel) {
  const D d;
  const float* from = static_cast<const float*>(source);
  float* to = reinterpret_cast<float*>(panel);
  for (int64_t k = 0; k < rows; ++k, from += stride, to += kNr) {
    for (int j = 0; j < kNr; j += kLanes) {
      V x = hn::Zero(d);
      if (j + kLanes <= cols) {
        x = hn::LoadU(d, from + j);
      } else if (j < cols) {
        x = LoadFirst(from + j, cols - j);
      }
      if (mask != nullptr && j < cols) x = hn::IfThenElseZero(hn::LoadMaskBits(d, mask + k * mask_stride + j / 8), x);
      hn::Store(x, d, to + j);
    }
  }
}

void PackRows(const void* source, int64_t stride, int64_t rows, int64_t k, const uint8_t* mask, int64_t mask_stride,
              uint32_t* out, int64_t out_stride) {
  const D d;
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = static_cast<const float*>(source) + r * stride;
    float* to = reinterpret_cast<float*>(out) + r * out_stride;
    if (mask == nullptr) {
      std::memcpy(to, from, static_cast<size_t>(k) * sizeof(float));
      continue;
    }
    const uint8_t* bits = mask + r * mask_stride;
    int64_t j = 0;
    for (; j + kLanes <= k; j += kLanes) {
      hn::StoreU(hn::IfThenElseZero(hn::LoadMaskBits(d, bits + j / 8), hn::LoadU(d, from + j)), d, to + j);
    }
    for (; j < k; ++j) to[j] = (bits[j / 8] >> (j % 8) & 1) != 0 ? from[j] : 0.0f;
  }
}

void PackTransposed(const void* source, int64_t stride, int64_t m, int64_t k, uint32_t* out, int64_t out_stride) {
  TransposeUnits(static_cast<const uint32_t*>(source), stride, k, m, out, out_stride);
}

// Four columns, or eight where there are registers for them.
constexpr int kDotRows = 3, kDotCols = kLanes >= 16 ? 8 : 4;
constexpr int kOuterRows = kLanes >= 16 ? 8 : 4, kOuterVectors = 3;

// Adds the sums of the lanes of kDotCols vectors to as many floats.
HWY_INLINE void AddLaneSums(const V (&columns)[kDotCols], float* HWY_RESTRICT sums) {
  const hn::Full128<float> d4;
#pragma GCC unroll 2
  for (int c = 0; c < kDotCols; c += 4) {
    const V four[4] = {columns[c], columns[c + 1], columns[c + 2], columns[c + 3]};
    hn::StoreU(hn::Add(hn::LoadU(d4, sums + c), FourSums(four)), d4, sums + c);
  }
}

template <bool kMasked>
void DotProducts(const DotTile& t) {
  const D d;
  const float* x[kDotRows];
  const uint8_t* mask[kDotRows];
  const float* y[kDotCols];
  for (int r = 0; r < kDotRows; ++r) {
    x[r] = static_cast<const float*>(t.x) + std::min(r, t.rows - 1) * t.x_stride;
    mask[r] = kMasked ? t.mask + std::min(r, t.rows - 1) * t.mask_stride : nullptr;
  }
  for (int c = 0; c < kDotCols; ++c) y[c] = static_cast<const float*>(t.y) + std::min(c, t.cols - 1) * t.y_stride;
  V acc[kDotRows][kDotCols];
#pragma GCC unroll 4
  for (int r = 0; r < kDotRows; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < kDotCols; ++c) acc[r][c] = hn::Zero(d);
  }
  const auto add = [&](int64_t u, auto load) HWY_ATTR {
    V row[kDotRows];
#pragma GCC unroll 4
    for (int r = 0; r < kDotRows; ++r) {
      row[r] = load(x[r] + u);
      if constexpr (kMasked) row[r] = hn::IfThenElseZero(hn::LoadMaskBits(d, mask[r] + u / 8), row[r]);
    }
#pragma GCC unroll 8
    for (int c = 0; c < kDotCols; ++c) {
      V column = load(y[c] + u);
#if HWY_TARGET <= HWY_AVX3 && HWY_COMPILER_GCC
      asm("" : "+v"(column.raw));
#endif
#pragma GCC unroll 4
      for (int r = 0; r < kDotRows; ++r) acc[r][c] = hn::MulAdd(row[r], column, acc[r][c]);
    }
  };
  const int64_t whole = t.k / kLanes * kLanes, ahead = t.ahead * t.x_stride;
  for (int64_t u = 0; u < whole; u += kLanes) {
    if (ahead > 0) {
#pragma GCC unroll 4
      for (int r = 0; r < kDotRows; ++r) __builtin_prefetch(x[r] + ahead + u, 0, 2);
    }
    add(u, [](const float* from) HWY_ATTR { return hn::LoadU(D(), from); });
  }
  if (whole < t.k) add(whole, [&](const float* from) HWY_ATTR { return LoadFirst(from, t.k - whole); });
#pragma GCC unroll 4
  for (int r = 0; r < kDotRows; ++r) {
    if (r < t.rows) AddLaneSums(acc[r], t.sums + r * t.sums_stride);
  }
}

void Dots(const DotTile& t) { t.mask != nullptr ? DotProducts<true>(t) : DotProducts<false>(t); }

// Columns [column, column + kVectors vectors), of which the last has `count` lanes.
template <int kVectors, bool kMasked>
HWY_INLINE void OuterColumns(const OuterTile& t, int column, int64_t count) {
  const D d;
  V acc[kOuterRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kOuterRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::LoadU(d, t.sums + r * t.sums_stride + column + v * kLanes);
  }
  const float* x = static_cast<const float*>(t.x) + column;
  const float* panel = reinterpret_cast<const float*>(t.panel);
  const uint8_t* mask = kMasked ? t.mask + column / 8 : nullptr;
  const int64_t ahead = t.ahead * t.x_stride;
  for (int64_t u = 0; u < t.k; ++u, x += t.x_stride, panel += kNr) {
    V row[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      row[v] = count < kLanes && v == kVectors - 1 ? LoadFirst(x + v * kLanes, count) : hn::LoadU(d, x + v * kLanes);
      if constexpr (kMasked)
        row[v] = hn::IfThenElseZero(hn::LoadMaskBits(d, mask + u * t.mask_stride + v * kLanes / 8), row[v]);
    }
    if (ahead > 0) {
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) __builtin_prefetch(x + ahead + v * kLanes, 0, 2);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kOuterRows; ++r) {
      const V factor = hn::Set(d, panel[r]);
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) acc[r][v] = hn::MulAdd(row[v], factor, acc[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kOuterRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) hn::StoreU(acc[r][v], d, t.sums + r * t.sums_stride + column + v * kLanes);
  }
}

template <bool kMasked>
void OuterProducts(const OuterTile& t) {
  if (t.cols == kOuterVectors * kLanes) return OuterColumns<kOuterVectors, kMasked>(t, 0, kLanes);
  for (int column = 0; column < t.cols; column += kLanes) {
    OuterColumns<1, kMasked>(t, column, std::min(kLanes, t.cols - column));
  }
}

void Outer(const OuterTile& t) { t.mask != nullptr ? OuterProducts<true>(t) : OuterProducts<false>(t); }

const GemmKernel* Kernel() {
  static const GemmKernel kernel = {hwy::TargetName(HWY_TARGET),
                                    kMr,
                                    kNr,
                                    1,
                                    Micro,
                                    PackNk,
                                    PackKn,
                                    PackRows,
                                    PackTransposed,
                                    kDotRows,
                                    kDotCols,
                                    Dots,
                                    kOuterRows,
                                    kOuterVectors * kLanes,
                                    Outer};
  return &kernel;
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(Kernel);
const GemmKernel& F32GemmKernel() { return *HWY_DYNAMIC_DISPATCH(Kernel)(); }
}  // namespace attune
#endif
