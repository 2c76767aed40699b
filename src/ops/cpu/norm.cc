// RMSNorm forward and backward.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/norm.cc"
#include <hwy/foreach_target.h>
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

template <class T>
void NormRow(const float* x, const float* weight, float eps, int64_t n, T* out, float* rstd_out) {
  const float squares = SumOver(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto v = hn::LoadU(d, x + i);
    return hn::Mul(v, v);
  });
  const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
  if (rstd_out != nullptr) *rstd_out = rstd;
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto v = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, rstd));
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
    const auto gradient = hn::NegMulAdd(hn::Set(d, mean), hn::LoadU(d, x + i),
                                        hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i)));
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

constexpr int64_t kRowsAtOnce = 8;  // rows of dy and x that are read side by side

// Columns [begin, end) of the weight's gradient: each column adds its rows eight by eight, whoever computes it.
void WeightColumns(const RmsNormWeightBackward& op, int64_t begin, int64_t end) {
  const int32_t* rows = op.rows ? Raw<const int32_t>(op.rows) : nullptr;
  const float* rstd = Raw<const float>(op.rstd);
  float* dweight = Raw<float>(op.dweight) + begin;
  for (int64_t first = 0; first < op.dy.rows; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, op.dy.rows - first);
    const float *dy[kRowsAtOnce], *x[kRowsAtOnce];
    for (int64_t i = 0; i < count; ++i) {
      dy[i] = RawRow<const float>(op.dy, first + i) + begin;
      x[i] = RawRow<const float>(op.x, rows != nullptr ? rows[first + i] : first + i) + begin;
    }
    ForEach(end - begin, [&](auto d, int64_t j) HWY_ATTR {
      auto sum = hn::Zero(d);
      for (int64_t i = 0; i < count; ++i) {
        const auto xhat = hn::Mul(hn::LoadU(d, x[i] + j), hn::Set(d, rstd[first + i]));
        sum = hn::MulAdd(hn::LoadU(d, dy[i] + j), xhat, sum);
      }
      hn::StoreU(hn::Add(hn::LoadU(d, dweight + j), sum), d, dweight + j);
    });
  }
}

void RmsNormWeightBackwardKernel(const CpuState& state, const RmsNormWeightBackward& op) {
  constexpr int64_t kColumns = 64;  // the least a thread takes: whole cache lines of every row
  const int64_t n = op.dy.cols, pieces = (n + kColumns - 1) / kColumns;
  const int64_t threads = std::min<int64_t>(state.scratch.threads, pieces);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t t = 0; t < threads; ++t) {
    WeightColumns(op, pieces * t / threads * kColumns, std::min(n, pieces * (t + 1) / threads * kColumns));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(RmsNormKernel);
HWY_EXPORT(RmsNormBackwardKernel);
HWY_EXPORT(RmsNormWeightBackwardKernel);

void CpuRmsNorm(void* state, const RmsNorm& op) {
  HWY_DYNAMIC_DISPATCH(RmsNormKernel)(*static_cast<CpuState*>(state), op);
}

void CpuRmsNormBackward(void* state, const RmsNormBackward& op) {
  HWY_DYNAMIC_DISPATCH(RmsNormBackwardKernel)(*static_cast<CpuState*>(state), op);
}

void CpuRmsNormWeightBackward(void* state, const RmsNormWeightBackward& op) {
  HWY_DYNAMIC_DISPATCH(RmsNormWeightBackwardKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
