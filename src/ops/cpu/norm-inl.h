// RMSNorm forward and backward, of whole rows and of heads.
// Compiled once for each Highway target, by small_kernels.cc.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/typed.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

// Sum of body(d, i) over [0, n): two running vectors in a fixed order, then the tail.
template <class Body>
HWY_INLINE float SumOver(int64_t n, const Body& body) {
  const FullF32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    sum0 = hn::Add(sum0, body(d, i));
    sum1 = hn::Add(sum1, body(d, i + lanes));
  }
  float total = SumLanes(d, hn::Add(sum0, sum1));
  const hn::CappedTag<float, 1> one;
  for (; i < n; ++i) total += hn::GetLane(body(one, i));
  return total;
}

template <class X, class T>
HWY_INLINE void NormRow(const X* x, const float* weight, float eps, int64_t n, T* out, float* rstd_out) {
  const float squares = SumOver(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto v = LoadAs(d, x + i);
    return hn::Mul(v, v);
  });
  const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
  if (rstd_out != nullptr) *rstd_out = rstd;
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto v = hn::Mul(LoadAs(d, x + i), hn::Set(d, rstd));
    StoreAs(hn::Mul(v, hn::LoadU(d, weight + i)), d, out + i);
  });
}

void RmsNormKernel(const CpuState& state, const RmsNorm& op) {
  const int32_t* rows = op.rows ? Raw<const int32_t>(op.rows) : nullptr;
  WithComputeType(op.out.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t i = 0; i < op.out.rows; ++i) {
      const float* x = RawRow<const float>(op.x, rows != nullptr ? rows[i] : i);
      NormRow(x, Raw<const float>(op.weight), op.eps, op.out.cols, RawRow<T>(op.out, i),
              op.rstd ? Raw<float>(op.rstd) + i : nullptr);
    }
  });
}

// With xhat = x rstd: dx = rstd (w dy - xhat mean(w dy xhat)).
template <class T>
void NormBackwardRow(const float* dy, const float* x, const float* weight, float rstd, int64_t n, float* dx, T* copy) {
  const float dot = SumOver(n, [&](auto d, int64_t i) HWY_ATTR {
    return hn::Mul(hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i)), hn::LoadU(d, x + i));
  });
  const float mean = dot * rstd * rstd / static_cast<float>(n);
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto gradient =
        hn::NegMulAdd(hn::Set(d, mean), hn::LoadU(d, x + i), hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i)));
    const auto sum = hn::MulAdd(gradient, hn::Set(d, rstd), hn::LoadU(d, dx + i));
    hn::StoreU(sum, d, dx + i);
    if (copy != nullptr) StoreAs(sum, d, copy + i);
  });
}

void RmsNormBackwardKernel(const CpuState& state, const RmsNormBackward& op) {
  const int32_t* rows = op.rows ? Raw<const int32_t>(op.rows) : nullptr;
  WithComputeType(op.dx_copy ? op.dx_copy.dtype : DType::kF32, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t i = 0; i < op.dy.rows; ++i) {
      const int64_t r = rows != nullptr ? rows[i] : i;
      NormBackwardRow(RawRow<const float>(op.dy, i), RawRow<const float>(op.x, r), Raw<const float>(op.weight),
                      Raw<const float>(op.rstd)[i], op.dy.cols, RawRow<float>(op.dx, r),
                      op.dx_copy ? RawRow<T>(op.dx_copy, r) : nullptr);
    }
  });
}

// Columns [begin, end) of the weight's gradient from kRows rows, read side by side.
template <int kRows>
void AddToWeightGradient(const RmsNormWeightBackward& op, int64_t first, int64_t begin, int64_t end) {
  const float *dy[kRows], *x[kRows];
  float rstd[kRows];
  for (int64_t i = 0; i < kRows; ++i) {
    const int64_t r = op.rows ? Raw<const int32_t>(op.rows)[first + i] : first + i;
    dy[i] = RawRow<const float>(op.dy, first + i);
    x[i] = RawRow<const float>(op.x, r);
    rstd[i] = Raw<const float>(op.rstd)[first + i];
  }
  float* dweight = Raw<float>(op.dweight);
  ForEach(end - begin, [&](auto d, int64_t j) HWY_ATTR {
    const int64_t c = begin + j;
    auto sum = hn::Zero(d);
    for (int i = 0; i < kRows; ++i) {
      const auto xhat = hn::Mul(hn::LoadU(d, x[i] + c), hn::Set(d, rstd[i]));
      sum = hn::MulAdd(hn::LoadU(d, dy[i] + c), xhat, sum);
    }
    hn::StoreU(hn::Add(hn::LoadU(d, dweight + c), sum), d, dweight + c);
  });
}

void RmsNormWeightBackwardKernel(const CpuState& state, const RmsNormWeightBackward& op) {
  constexpr int64_t kColumns = 64;  // the least a thread takes: whole cache lines of every row
  const int64_t n = op.dy.cols, pieces = (n + kColumns - 1) / kColumns;
  const int64_t threads = std::min<int64_t>(state.scratch.threads, pieces);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t t = 0; t < threads; ++t) {
    const int64_t begin = pieces * t / threads * kColumns, end = std::min(n, pieces * (t + 1) / threads * kColumns);
    int64_t i = 0;  // each column adds its rows four by four, whoever computes it
    for (; i + 4 <= op.dy.rows; i += 4) AddToWeightGradient<4>(op, i, begin, end);
    for (; i < op.dy.rows; ++i) AddToWeightGradient<1>(op, i, begin, end);
  }
}

void HeadNormKernel(const CpuState& state, const HeadNorm& op) {
  const int64_t n = op.weight.cols, heads = op.x.cols / n;
  WithComputeType(op.x.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t t = 0; t < op.x.rows; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        NormRow(RawRow<const T>(op.x, t) + h * n, Raw<const float>(op.weight), op.eps, n, RawRow<T>(op.out, t) + h * n,
                op.rstd ? RawRow<float>(op.rstd, t) + h : nullptr);
      }
    }
  });
}

template <class T>
void HeadBackwardRow(T* dy, const T* x, const float* weight, float rstd, int64_t n) {
  const auto scaled = [&](auto d, int64_t i) HWY_ATTR { return hn::Mul(LoadAs(d, dy + i), hn::LoadU(d, weight + i)); };
  const float dot = SumOver(n, [&](auto d, int64_t i) HWY_ATTR { return hn::Mul(scaled(d, i), LoadAs(d, x + i)); });
  const float mean = dot * rstd * rstd / static_cast<float>(n);
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto gradient = hn::NegMulAdd(hn::Set(d, mean), LoadAs(d, x + i), scaled(d, i));
    StoreAs(hn::Mul(gradient, hn::Set(d, rstd)), d, dy + i);
  });
}

void HeadNormBackwardKernel(const CpuState& state, const HeadNormBackward& op) {
  const int64_t n = op.weight.cols, heads = op.x.cols / n;
  WithComputeType(op.x.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t t = 0; t < op.x.rows; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        HeadBackwardRow(RawRow<T>(op.dy, t) + h * n, RawRow<const T>(op.x, t) + h * n, Raw<const float>(op.weight),
                        RawRow<const float>(op.rstd, t)[h], n);
      }
    }
  });
}

// A vector of columns a thread, so that each column adds its rows in one order, whoever computes it.
void HeadNormWeightBackwardKernel(const CpuState& state, const HeadNormWeightBackward& op) {
  constexpr int64_t kColumns = 16;
  const int64_t n = op.dweight.cols, heads = op.x.cols / n;
  WithComputeType(op.x.dtype, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t first = 0; first < n; first += kColumns) {
      float* sums = Raw<float>(op.dweight) + first;
      for (int64_t t = 0; t < op.x.rows; ++t) {
        for (int64_t h = 0; h < heads; ++h) {
          const T *dy = RawRow<const T>(op.dy, t) + h * n + first, *x = RawRow<const T>(op.x, t) + h * n + first;
          const float rstd = RawRow<const float>(op.rstd, t)[h];
          ForEach(std::min(kColumns, n - first), [&](auto d, int64_t i) HWY_ATTR {
            const auto xhat = hn::Mul(LoadAs(d, x + i), hn::Set(d, rstd));
            hn::StoreU(hn::MulAdd(LoadAs(d, dy + i), xhat, hn::LoadU(d, sums + i)), d, sums + i);
          });
        }
      }
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(RmsNormKernel);
HWY_EXPORT(RmsNormBackwardKernel);
HWY_EXPORT(RmsNormWeightBackwardKernel);
HWY_EXPORT(HeadNormKernel);
HWY_EXPORT(HeadNormBackwardKernel);
HWY_EXPORT(HeadNormWeightBackwardKernel);

void CpuRmsNorm(void* state, const RmsNorm& op) {
  HWY_DYNAMIC_DISPATCH(RmsNormKernel)(*static_cast<CpuState*>(state), op);
}

void CpuRmsNormBackward(void* state, const RmsNormBackward& op) {
  HWY_DYNAMIC_DISPATCH(RmsNormBackwardKernel)(*static_cast<CpuState*>(state), op);
}

void CpuRmsNormWeightBackward(void* state, const RmsNormWeightBackward& op) {
  HWY_DYNAMIC_DISPATCH(RmsNormWeightBackwardKernel)(*static_cast<CpuState*>(state), op);
}

void CpuHeadNorm(void* state, const HeadNorm& op) {
  HWY_DYNAMIC_DISPATCH(HeadNormKernel)(*static_cast<CpuState*>(state), op);
}

void CpuHeadNormBackward(void* state, const HeadNormBackward& op) {
  HWY_DYNAMIC_DISPATCH(HeadNormBackwardKernel)(*static_cast<CpuState*>(state), op);
}

void CpuHeadNormWeightBackward(void* state, const HeadNormWeightBackward& op) {
  HWY_DYNAMIC_DISPATCH(HeadNormWeightBackwardKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
