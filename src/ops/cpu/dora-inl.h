// The ops of weight-decomposed adapters.
// Compiled once for each Highway target, by small_kernels.cc.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/stored_tile.h"
#include "ops/cpu/typed.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

// The sum of the squares of `count` floats. A lane that sums thousands of squares loses more bits the fewer lanes there
// are, so lanes sum stretches that are short on AVX2 too, and stretches add up in f64.
double SumOfSquares(const float* values, int64_t count) {
  constexpr int64_t kStretch = 1024;
  const FullF32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  double total = 0;
  for (int64_t first = 0; first < count; first += kStretch) {
    const int64_t end = std::min(count, first + kStretch);
    auto sum = hn::Zero(d);
    int64_t i = first;
    for (; i + lanes <= end; i += lanes) {
      const auto v = hn::LoadU(d, values + i);
      sum = hn::MulAdd(v, v, sum);
    }
    total += SumLanes(d, sum);
    for (; i < end; ++i) total += static_cast<double>(values[i]) * values[i];
  }
  return total;
}

// Rows are decoded in pieces that fit a thread's scratch.
void RowSquaresKernel(const CpuState& state, const RowSquares& op) {
  constexpr int64_t kPiece = int64_t{1} << 14;  // a multiple of every format's block
  float* out = Raw<float>(op.out);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t j = 0; j < op.w.rows; ++j) {
    float* room = reinterpret_cast<float*>(state.scratch.thread(ThreadIndex()));
    double total = 0;
    for (int64_t first = 0; first < op.w.cols; first += kPiece) {
      const int64_t count = std::min(kPiece, op.w.cols - first);
      DecodeTile({op.w, j, 1, first, count, room, count}, DType::kF32);
      total += SumOfSquares(room, count);
    }
    out[j] = static_cast<float>(total);
  }
}

void DoraFactorsKernel(const CpuState& state, const DoraFactors& op) {
  const float *magnitude = Raw<const float>(op.magnitude), *squares = Raw<const float>(op.squares);
  float *norm = Raw<float>(op.norm), *factor = Raw<float>(op.factor);
  const int64_t rank = op.b_transposed.rows;
  WithComputeType(op.b_transposed.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int64_t kColumns = 64;
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t c0 = 0; c0 < op.norm.cols; c0 += kColumns) {
      const int64_t count = std::min(kColumns, op.norm.cols - c0);
      float sums[kColumns] = {}, row[kColumns];
      for (int64_t r = 0; r < rank; ++r) {  // b_r (2 cross_r + s sum_q gram_rq b_q)
        const float* cross = RawRow<const float>(op.cross, r) + c0;
        ForEach(count, [&](auto d, int64_t i)
                           HWY_ATTR { hn::StoreU(hn::Mul(hn::Set(d, 2.0f), hn::LoadU(d, cross + i)), d, row + i); });
        for (int64_t q = 0; q < rank; ++q) {
          const float weight = op.scale * RawRow<const float>(op.gram, r)[q];
          const T* b = RawRow<const T>(op.b_transposed, q) + c0;
          ForEach(count, [&](auto d, int64_t i) HWY_ATTR {
            hn::StoreU(hn::MulAdd(hn::Set(d, weight), LoadAs(d, b + i), hn::LoadU(d, row + i)), d, row + i);
          });
        }
        const T* b = RawRow<const T>(op.b_transposed, r) + c0;
        ForEach(count, [&](auto d, int64_t i) HWY_ATTR {
          hn::StoreU(hn::MulAdd(LoadAs(d, b + i), hn::LoadU(d, row + i), hn::LoadU(d, sums + i)), d, sums + i);
        });
      }
      for (int64_t i = 0; i < count; ++i) {
        const float square = squares[c0 + i] + op.scale * sums[i];
        const float length = std::sqrt(std::max(0.0f, square));
        // A NaN must stay one, so that the step is stopped: max() above would hide it.
        norm[c0 + i] = std::isnan(square) ? square : length;
        factor[c0 + i] = length > 0 || std::isnan(square) ? magnitude[c0 + i] / norm[c0 + i] : 0.0f;
      }
    }
  });
}

// out = factor(d, t, i) x (+ rest) + start, whatever types x, out and start have; rest(d, i, sum) adds what else there
// is.
template <class Op, class Factor, class Rest>
void ScaleRows(const CpuState& state, const Op& op, const Factor& factor, const Rest& rest) {
  WithComputeType(op.x.dtype, [&](auto x_type) {
    WithComputeType(op.out.dtype, [&](auto out_type) {
      WithComputeType(op.start ? op.start.dtype : DType::kF32, [&](auto start_type) {
        using X = decltype(x_type);
        using Out = decltype(out_type);
        using Start = decltype(start_type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
        for (int64_t t = 0; t < op.out.rows; ++t) {
          const X* x = RawRow<const X>(op.x, t);
          const Start* start = op.start ? RawRow<const Start>(op.start, t) : nullptr;
          Out* out = RawRow<Out>(op.out, t);
          ForEach(op.out.cols, [&](auto d, int64_t i) HWY_ATTR {
            auto sum = rest(d, i, hn::Mul(LoadAs(d, x + i), factor(d, t, i)));
            if (start != nullptr) sum = hn::Add(sum, LoadAs(d, start + i));
            StoreAs(sum, d, out + i);
          });
        }
      });
    });
  });
}

void ScaleColumnsKernel(const CpuState& state, const ScaleColumns& op) {
  const float* factor = Raw<const float>(op.factor);
  const float* bias = op.bias ? Raw<const float>(op.bias) : nullptr;
  ScaleRows(
      state, op, [&](auto d, int64_t, int64_t i) HWY_ATTR { return hn::LoadU(d, factor + i); },
      [&](auto d, int64_t i, auto sum)
          HWY_ATTR { return bias == nullptr ? sum : hn::Add(sum, hn::LoadU(d, bias + i)); });
}

// Each thread sums whole columns, rows in order: the result does not depend on the number of threads.
void ColumnProductsKernel(const CpuState& state, const ColumnProducts& op) {
  constexpr int64_t kColumns = 64;
  float* out = Raw<float>(op.out);
  const float* divisor = Raw<const float>(op.divisor);
  WithComputeType(op.x.dtype, [&](auto x_type) {
    WithComputeType(op.y.dtype, [&](auto y_type) {
      using X = decltype(x_type);
      using Y = decltype(y_type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
      for (int64_t c0 = 0; c0 < op.out.cols; c0 += kColumns) {
        const int64_t count = std::min(kColumns, op.out.cols - c0);
        float sums[kColumns] = {};
        for (int64_t t = 0; t < op.x.rows; ++t) {
          const X* x = RawRow<const X>(op.x, t) + c0;
          const Y* y = RawRow<const Y>(op.y, t) + c0;
          ForEach(count, [&](auto d, int64_t i) HWY_ATTR {
            hn::StoreU(hn::MulAdd(LoadAs(d, x + i), LoadAs(d, y + i), hn::LoadU(d, sums + i)), d, sums + i);
          });
        }
        for (int64_t i = 0; i < count; ++i) {
          if (divisor[c0 + i] != 0) out[c0 + i] += sums[i] / divisor[c0 + i];
        }
      }
    });
  });
}

// kept where a bit from column i on is 1, else dropped; of whole vectors i is a multiple of the lanes.
template <class D>
HWY_INLINE hn::Vec<D> FactorsAt(D d, const uint8_t* bits, int64_t i, float kept, float dropped) {
  if constexpr (hn::MaxLanes(d) == 1) {
    return hn::Set(d, (bits[i / 8] >> (i % 8) & 1) != 0 ? kept : dropped);
  } else {
    const hn::RebindToUnsigned<D> du;
    uint32_t word = bits[i / 8];
    if constexpr (hn::MaxLanes(d) == 16) word |= static_cast<uint32_t>(bits[i / 8 + 1]) << 8;
    const auto lane = hn::Shl(hn::Set(du, 1u), hn::Iota(du, 0u));
    const auto is_kept = hn::RebindMask(d, hn::TestBit(hn::Set(du, word), lane));
    return hn::IfThenElse(is_kept, hn::Set(d, kept), hn::Set(d, dropped));
  }
}

void SelectScaleKernel(const CpuState& state, const SelectScale& op) {
  ScaleRows(
      state, op,
      [&](auto d, int64_t t, int64_t i)
          HWY_ATTR { return FactorsAt(d, RawRow<const uint8_t>(op.bits, t), i, op.kept, op.dropped); },
      [](auto, int64_t, auto sum) HWY_ATTR { return sum; });
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(RowSquaresKernel);
HWY_EXPORT(DoraFactorsKernel);
HWY_EXPORT(ScaleColumnsKernel);
HWY_EXPORT(ColumnProductsKernel);
HWY_EXPORT(SelectScaleKernel);

void CpuRowSquares(void* state, const RowSquares& op) {
  HWY_DYNAMIC_DISPATCH(RowSquaresKernel)(*static_cast<CpuState*>(state), op);
}
void CpuDoraFactors(void* state, const DoraFactors& op) {
  HWY_DYNAMIC_DISPATCH(DoraFactorsKernel)(*static_cast<CpuState*>(state), op);
}
void CpuScaleColumns(void* state, const ScaleColumns& op) {
  HWY_DYNAMIC_DISPATCH(ScaleColumnsKernel)(*static_cast<CpuState*>(state), op);
}
void CpuColumnProducts(void* state, const ColumnProducts& op) {
  HWY_DYNAMIC_DISPATCH(ColumnProductsKernel)(*static_cast<CpuState*>(state), op);
}
void CpuSelectScale(void* state, const SelectScale& op) {
  HWY_DYNAMIC_DISPATCH(SelectScaleKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
