// Transposing matrices of 32-bit units, a square as wide as a vector at a time.
// Included once for each Highway target, so there is no ordinary include guard.
#if defined(ATTUNE_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_TRANSPOSE_INL_H_
#undef ATTUNE_TRANSPOSE_INL_H_
#else
#define ATTUNE_TRANSPOSE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using UnitTag = hn::CappedTag<uint32_t, 16>;
using UnitVector = hn::Vec<UnitTag>;
constexpr int kUnitLanes = hn::MaxLanes(UnitTag());

// Groups of four rows, transposed within each 128-bit block, change places: block b of rows[4 g + q] becomes block g of
// rows[4 b + q].
HWY_INLINE void ExchangeBlocks(UnitVector (&rows)[8]) {
  const UnitTag d;
  for (int q = 0; q < 4; ++q) {
    const UnitVector first = rows[q], second = rows[4 + q];
    rows[q] = hn::ConcatLowerLower(d, second, first);
    rows[4 + q] = hn::ConcatUpperUpper(d, second, first);
  }
}

HWY_INLINE void ExchangeBlocks(UnitVector (&rows)[16]) {
  const UnitTag d;
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    const UnitVector r0 = rows[q], r1 = rows[4 + q], r2 = rows[8 + q], r3 = rows[12 + q];
    const UnitVector even01 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(r1), r0),
                     odd01 = hn::OddEvenBlocks(r1, hn::SwapAdjacentBlocks(r0));
    const UnitVector even23 = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(r3), r2),
                     odd23 = hn::OddEvenBlocks(r3, hn::SwapAdjacentBlocks(r2));
    rows[q] = hn::ConcatLowerLower(d, even23, even01);
    rows[4 + q] = hn::ConcatLowerLower(d, odd23, odd01);
    rows[8 + q] = hn::ConcatUpperUpper(d, even23, even01);
    rows[12 + q] = hn::ConcatUpperUpper(d, odd23, odd01);
  }
}

// A square of 32-bit units, a vector wide: out[i][j] = source[j][i].
HWY_INLINE void TransposeSquare(const uint32_t* HWY_RESTRICT source, int64_t stride, uint32_t* HWY_RESTRICT out,
                                int64_t out_stride) {
  const UnitTag d;
  const hn::Repartition<uint64_t, UnitTag> d64;
  UnitVector rows[kUnitLanes];
#pragma GCC unroll 4
  for (int r = 0; r < kUnitLanes; r += 4) {
    const uint32_t* from = source + r * stride;
    const UnitVector r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + stride);
    const UnitVector r2 = hn::LoadU(d, from + 2 * stride), r3 = hn::LoadU(d, from + 3 * stride);
    const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1)),
               low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
    const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1)),
               high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
    rows[r] = hn::BitCast(d, hn::InterleaveLower(d64, low01, low23));
    rows[r + 1] = hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23));
    rows[r + 2] = hn::BitCast(d, hn::InterleaveLower(d64, high01, high23));
    rows[r + 3] = hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23));
  }
  ExchangeBlocks(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kUnitLanes; ++i) hn::StoreU(rows[i], d, out + i * out_stride);
}

// out (cols, rows) = the transpose of in (rows, cols).
HWY_INLINE void TransposeUnits(const uint32_t* HWY_RESTRICT in, int64_t in_stride, int64_t rows, int64_t cols,
                               uint32_t* HWY_RESTRICT out, int64_t out_stride) {
  const int64_t whole_rows = rows / kUnitLanes * kUnitLanes, whole_cols = cols / kUnitLanes * kUnitLanes;
  for (int64_t r = 0; r < whole_rows; r += kUnitLanes) {
    for (int64_t c = 0; c < whole_cols; c += kUnitLanes) {
      TransposeSquare(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c) out[c * out_stride + r] = in[r * in_stride + c];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#endif
