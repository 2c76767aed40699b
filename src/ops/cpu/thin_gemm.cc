// Products of a long matrix X with an adapter's few rows or columns. The general way (gemm.cc) packs X so that it can
// be used many times; here it is used once a column, and moving it would take longer than multiplying. So X is read in
// place, masks included, and only the thin operand is brought into another order. Sums run in an order fixed by the
// shapes alone.
#include <omp.h>

#include <algorithm>
#include <atomic>

#include "ops/cpu/gemm.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/stored_tile.h"
#include "quant/float16.h"

namespace attune {
namespace {

constexpr int64_t kDotTaskRows = 48;      // rows of X that one thread takes at a time
constexpr int64_t kDotBlockBytes = 3072;  // of the reduction: a few rows of the thin operand stay in L1
constexpr int64_t kOuterTaskCols = 96;    // columns of X that one thread takes at a time
constexpr int64_t kOuterBlockRows = 32;   // rows of X whose sums are added up before the next ones
constexpr int64_t kPartRows = 1024;       // sums of so many rows are added to those of other parts: they lose less
constexpr int64_t kPanelUnits = 8192;     // of the thin operand, packed at a time
constexpr int64_t kMostSums = 32 * kOuterTaskCols;
static_assert(kMostSums >= kDotTaskRows * 32 && (2 * kMostSums + kPanelUnits * 32) * 4 <= kThreadScratchBytes);

struct ThinPlan {
  const GemmKernel& kernel;
  const Gemm& g;
  int64_t k;
  int64_t element_bytes;
  float alpha;  // with the factor of the mask
};

// c = alpha sums + start, for rows [m0, m1) and columns [n0, n1).
void Finish(const ThinPlan& plan, const float* sums, int64_t stride, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
  const Gemm& g = plan.g;
  for (int64_t i = m0; i < m1; ++i, sums += stride) {
    const float* start =
        g.start ? (g.start.rows == 1 ? Raw<const float>(g.start) : RawRow<const float>(g.start, i)) : nullptr;
    for (int64_t j = n0; j < n1; ++j) {
      const float y = plan.alpha * sums[j - n0] + (start != nullptr ? start[j] : 0.0f);
      if (g.c.dtype == DType::kF32) {
        RawRow<float>(g.c, i)[j] = y;
      } else {
        RawRow<uint16_t>(g.c, i)[j] = FloatToBf16(y);
      }
    }
  }
}

// Columns [k0, k0 + count) of all rows of b: in place, or decoded where it is stored in another type.
const std::byte* RowsOfB(const ThinPlan& plan, int64_t k0, int64_t count, std::byte* room, int64_t* stride) {
  const Matrix& b = plan.g.b;
  if (b.dtype == plan.g.a.dtype) {
    *stride = b.stride;
    return Raw<const std::byte>(b) + k0 * plan.element_bytes;
  }
  DecodeTile({b, 0, b.rows, k0, count, room, count}, plan.g.a.dtype);
  *stride = count;
  return room;
}

// Rows [m0, m1) of c, whose columns are few: x is a, as long as c is, and y is b.
void DotTask(const ThinPlan& plan, int64_t m0, int64_t m1, float* sums, std::byte* decoded) {
  const Gemm& g = plan.g;
  const GemmKernel& kernel = plan.kernel;
  const int64_t stride = kernel.nr, block = kDotBlockBytes / plan.element_bytes;
  std::fill_n(sums, (m1 - m0) * stride, 0.0f);
  for (int64_t k0 = 0; k0 < plan.k; k0 += block) {
    DotTile t;
    t.k = std::min(block, plan.k - k0);
    t.x_stride = g.a.stride;
    const std::byte* y = RowsOfB(plan, k0, t.k, decoded, &t.y_stride);
    t.sums_stride = stride;
    t.mask_stride = g.a_mask.bits.stride;
    for (int64_t n0 = 0; n0 < g.c.cols; n0 += kernel.dot_cols) {
      t.cols = static_cast<int>(std::min<int64_t>(kernel.dot_cols, g.c.cols - n0));
      t.y = y + n0 * t.y_stride * plan.element_bytes;
      for (int64_t row = m0; row < m1; row += kernel.dot_rows) {
        t.rows = static_cast<int>(std::min<int64_t>(kernel.dot_rows, m1 - row));
        t.x = Raw<const std::byte>(g.a) + (row * g.a.stride + k0) * plan.element_bytes;
        if (g.a_mask.bits) t.mask = RawRow<const uint8_t>(g.a_mask.bits, row) + k0 / 8;
        t.sums = sums + (row - m0) * stride + n0;
        t.ahead = n0 == 0 && row + 2 * kernel.dot_rows <= g.c.rows ? kernel.dot_rows : 0;
        kernel.dots(t);
      }
    }
  }
  Finish(plan, sums, stride, m0, m1, 0, g.c.cols);
}

// Columns [n0, n1) of c, whose rows are few: x is b, whose columns they are, and the panel is a.
void OuterTask(const ThinPlan& plan, int64_t n0, int64_t n1, float* total, float* sums, uint32_t* panel,
               int64_t* packed) {
  const Gemm& g = plan.g;
  const GemmKernel& kernel = plan.kernel;
  const int64_t panel_rows = kPanelUnits * kernel.unit_elements, size = kernel.nr * kOuterTaskCols;
  std::fill_n(total, size, 0.0f);
  for (int64_t k0 = 0; k0 < plan.k; k0 += kPartRows) {
    const int64_t k1 = std::min(plan.k, k0 + kPartRows), first = k0 / panel_rows * panel_rows;
    if (*packed != first) {
      kernel.pack_kn(Raw<const std::byte>(g.a) + first * g.a.stride * plan.element_bytes, g.a.stride,
                     static_cast<int>(g.c.rows), std::min(panel_rows, plan.k - first), nullptr, 0, panel);
      *packed = first;
    }
    std::fill_n(sums, size, 0.0f);
    OuterTile t;
    t.x_stride = g.b.stride;
    t.mask_stride = g.b_mask.bits.stride;
    t.sums_stride = kOuterTaskCols;
    for (int64_t row = k0; row < k1; row += kOuterBlockRows) {
      t.k = std::min(kOuterBlockRows, k1 - row);
      for (int64_t column = n0; column < n1; column += kernel.outer_cols) {
        t.cols = static_cast<int>(std::min<int64_t>(kernel.outer_cols, n1 - column));
        t.x = Raw<const std::byte>(g.b) + (row * g.b.stride + column) * plan.element_bytes;
        if (g.b_mask.bits) t.mask = RawRow<const uint8_t>(g.b_mask.bits, row) + column / 8;
        for (int64_t i = 0; i < g.c.rows; i += kernel.outer_rows) {
          t.panel = panel + (row - first) / kernel.unit_elements * kernel.nr + i;
          t.sums = sums + i * kOuterTaskCols + (column - n0);
          t.ahead = i == 0 && row + 2 * kOuterBlockRows <= plan.k ? kOuterBlockRows : 0;
          kernel.outer(t);
        }
      }
    }
    for (int64_t i = 0; i < size; ++i) total[i] += sums[i];
  }
  Finish(plan, total, kOuterTaskCols, 0, g.c.rows, n0, n1);
}

}  // namespace

bool RunThinGemm(const GemmKernel& kernel, const Scratch& scratch, const Gemm& g) {
  const bool dots = !g.a_transposed && g.b_transposed && g.c.cols <= kernel.nr;
  const bool outer = g.a_transposed && !g.b_transposed && g.c.rows <= kernel.nr;
  if (g.low_a || !(dots || outer) || (outer && g.b.dtype != g.a.dtype)) return false;
  const KeepMask& mask = dots ? g.a_mask : g.b_mask;
  const ThinPlan plan{kernel, g, g.a_transposed ? g.a.rows : g.a.cols, 4 / kernel.unit_elements,
                      g.alpha * (mask.bits ? mask.scale : 1.0f)};
  const int64_t length = dots ? g.c.rows : g.c.cols, step = dots ? kDotTaskRows : kOuterTaskCols;
  std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(scratch.threads)
  {
    float* sums = reinterpret_cast<float*>(scratch.thread(omp_get_thread_num()));
    float* more = sums + kMostSums;
    uint32_t* panel = reinterpret_cast<uint32_t*>(more + kMostSums);
    int64_t packed = -1;
    for (int64_t begin = step * next++; begin < length; begin = step * next++) {
      const int64_t end = std::min(length, begin + step);
      dots ? DotTask(plan, begin, end, sums, reinterpret_cast<std::byte*>(panel))
           : OuterTask(plan, begin, end, sums, more, panel, &packed);
    }
  }
  return true;
}

}  // namespace attune
