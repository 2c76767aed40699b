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

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int kLanes = hn::MaxLanes(D());
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
      const V x = hn::Set(d, a[r * a_stride + u]);
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
  HWY_ALIGN float row[kHalves * kLanes];
  for (int r = 0; r < kRows; ++r) {
    for (int h = 0; h < kHalves; ++h) hn::Store(hn::Mul(acc[r][h], alpha), d, row + h * kLanes);
    for (int j = 0; j < t.cols; ++j) {
      t.out[r * t.out_stride + j] = row[j] + (t.init != nullptr ? t.init[r * t.init_stride + j] : 0.0f);
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

// Four rows of eight 32-bit units become eight rows of four.
HWY_INLINE void Transpose4x8(const uint32_t* HWY_RESTRICT source, int64_t stride, uint32_t* HWY_RESTRICT panel,
                             int64_t panel_stride) {
  const hn::Full128<uint32_t> d;
  const hn::Full128<uint64_t> d64;
  for (int half = 0; half < 2; ++half) {
    const auto r0 = hn::LoadU(d, source + 4 * half);
    const auto r1 = hn::LoadU(d, source + stride + 4 * half);
    const auto r2 = hn::LoadU(d, source + 2 * stride + 4 * half);
    const auto r3 = hn::LoadU(d, source + 3 * stride + 4 * half);
    const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
    const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
    const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
    const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
    uint32_t* out = panel + 4 * half * panel_stride;
    hn::Store(hn::BitCast(d, hn::InterleaveLower(d64, low01, low23)), d, out);
    hn::Store(hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23)), d, out + panel_stride);
    hn::Store(hn::BitCast(d, hn::InterleaveLower(d64, high01, high23)), d, out + 2 * panel_stride);
    hn::Store(hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23)), d, out + 3 * panel_stride);
  }
}

void PackNk(const void* from, int64_t stride, int cols, int64_t units, uint32_t* panel) {
  const uint32_t* source = static_cast<const uint32_t*>(from);
  constexpr int64_t kBlock = 64;  // units whose part of the panel stays in L1 while the columns pass by
  const int whole = cols / 4 * 4;
  for (int64_t u0 = 0; u0 < units; u0 += kBlock) {
    const int64_t end = std::min(units, u0 + kBlock);
    for (int j = 0; j < whole; j += 4) {
      int64_t u = u0;
      for (; u + 8 <= end; u += 8) Transpose4x8(source + j * stride + u, stride, panel + u * kNr + j, kNr);
      for (; u < end; ++u) {
        for (int i = 0; i < 4; ++i) panel[u * kNr + j + i] = source[(j + i) * stride + u];
      }
    }
    for (int j = whole; j < kNr; ++j) {
      for (int64_t u = u0; u < end; ++u) panel[u * kNr + j] = j < cols ? source[j * stride + u] : 0;
    }
  }
}

void PackKn(const void* source, int64_t stride, int cols, int64_t rows, const uint8_t* mask, int64_t mask_stride,
            uint32_t* panel) {
  const D d;
  const float* from = static_cast<const float*>(source);
  float* to = reinterpret_cast<float*>(panel);
  for (int64_t k = 0; k < rows; ++k, from += stride, to += kNr) {
    if (cols < kNr) {
      for (int j = 0; j < kNr; ++j) {
        const bool keep = j < cols && (mask == nullptr || (mask[k * mask_stride + j / 8] >> (j % 8) & 1) != 0);
        to[j] = keep ? from[j] : 0.0f;
      }
      continue;
    }
    V x0 = hn::LoadU(d, from), x1 = hn::LoadU(d, from + kLanes);
    if (mask != nullptr) {
      const uint8_t* bits = mask + k * mask_stride;
      x0 = hn::IfThenElseZero(hn::LoadMaskBits(d, bits), x0);
      x1 = hn::IfThenElseZero(hn::LoadMaskBits(d, bits + kLanes / 8), x1);
    }
    hn::Store(x0, d, to);
    hn::Store(x1, d, to + kLanes);
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
  const uint32_t* from = static_cast<const uint32_t*>(source);
  constexpr int64_t kBlock = 16;  // units: what is written of a row is a whole cache line
  const int64_t whole_rows = m / 8 * 8, whole_units = k / 4 * 4;
  for (int64_t u0 = 0; u0 < whole_units; u0 += kBlock) {
    const int64_t end = std::min(whole_units, u0 + kBlock);
    for (int64_t r = 0; r < whole_rows; r += 8) {
      for (int64_t u = u0; u < end; u += 4) Transpose4x8(from + u * stride + r, stride, out + r * out_stride + u, out_stride);
    }
  }
  for (int64_t u = 0; u < k; ++u) {
    for (int64_t r = u < whole_units ? whole_rows : 0; r < m; ++r) out[r * out_stride + u] = from[u * stride + r];
  }
}

const GemmKernel* Kernel() {
  static const GemmKernel kernel = {hwy::TargetName(HWY_TARGET), kMr, kNr, 1, Micro, PackNk, PackKn, PackRows,
                                    PackTransposed};
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
