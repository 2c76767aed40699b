// Softmax cross-entropy over the vocabulary, one row at a time: a row is read for its maximum and its sum, then written
// once as its gradient.
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

HWY_INLINE float RowMax(const float* x, int64_t n) {
  const FullF32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  auto best = hn::Set(d, -INFINITY);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) best = hn::Max(best, hn::LoadU(d, x + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, best));
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

// sum exp(x - max); in f64 across blocks of 1024, so that a vocabulary of 150,000 loses nothing.
HWY_INLINE double RowSum(const float* x, int64_t n, float max) {
  const FullF32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  double total = 0;
  int64_t i = 0;
  while (i + lanes <= n) {
    const int64_t end = i + 1024 < n ? i + 1024 : n;
    auto sum = hn::Zero(d);
    for (; i + lanes <= end; i += lanes) sum = hn::Add(sum, FastExp(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, max))));
    total += SumLanes(d, sum);
    if (end == n) break;
  }
  const hn::CappedTag<float, 1> one;
  for (; i < n; ++i) total += hn::GetLane(FastExp(one, hn::Set(one, x[i] - max)));
  return total;
}

// The mean of x - max, in f64 across blocks of 1024.
HWY_INLINE double RowMeanBelow(const float* x, int64_t n, float max) {
  double total = 0;
  for (int64_t first = 0; first < n; first += 1024) {
    const FullF32 d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), end = std::min(n, first + 1024);
    auto sum = hn::Zero(d);
    int64_t i = first;
    for (; i + lanes <= end; i += lanes) sum = hn::Add(sum, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, max)));
    total += SumLanes(d, sum);
    for (; i < end; ++i) total += x[i] - max;
  }
  return total / static_cast<double>(n);
}

// scale * (p - (1 - smoothing) onehot - smoothing / n), p = exp(x - max) / sum; nll = -log p at the target.
template <class T>
void WriteGradient(const CrossEntropy& op, const float* x, float max, double sum, double nll, int64_t target, T* out) {
  const int64_t n = op.logits.cols;
  const float factor = static_cast<float>(op.scale / sum);
  const double uniform = op.label_smoothing / static_cast<double>(n);
  const float shift = static_cast<float>(op.scale * uniform);
  ForEach(n, [&](auto d, int64_t i) HWY_ATTR {
    const auto e = FastExp(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, max)));
    StoreAs(hn::MulSub(e, hn::Set(d, factor), hn::Set(d, shift)), d, out + i);
  });
  // p - 1 from the loss itself, exact also where p rounds to 1.
  const hn::CappedTag<float, 1> one;
  const double at_target = op.scale * (std::expm1(-nll) + op.label_smoothing - uniform);
  StoreAs(hn::Set(one, static_cast<float>(at_target)), one, out + target);
}

void CrossEntropyKernel(const CpuState& state, const CrossEntropy& op) {
  const int32_t* targets = Raw<const int32_t>(op.targets);
  WithComputeType(op.gradient ? op.gradient.dtype : DType::kF32, [&](auto type) {
    using T = decltype(type);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t r = 0; r < op.logits.rows; ++r) {
      const float* x = RawRow<const float>(op.logits, r);
      const int64_t n = op.logits.cols;
      const float max = RowMax(x, n);
      const double sum = RowSum(x, n, max);
      const float target = x[targets[r]];
      const double nll = std::log(sum) + max - target;
      double loss = nll;
      if (op.label_smoothing > 0) {
        loss += op.label_smoothing * (static_cast<double>(target) - max - RowMeanBelow(x, n, max));
      }
      Raw<float>(op.losses)[r] = static_cast<float>(loss);
      Raw<float>(op.correct)[r] = target >= max ? 1.0f : 0.0f;
      if (op.gradient) WriteGradient(op, x, max, sum, nll, targets[r], RawRow<T>(op.gradient, r));
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(CrossEntropyKernel);
void CpuCrossEntropy(void* state, const CrossEntropy& op) {
  HWY_DYNAMIC_DISPATCH(CrossEntropyKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
