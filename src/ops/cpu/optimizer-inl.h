// Norms and updates of flat parameter vectors, element by element.
// Compiled once for each Highway target, by small_kernels.cc.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

constexpr int64_t kBlock = 4096;  // elements summed in f32 before f64 takes over; also the unit of work of a thread

void SumSquaresKernel(const CpuState& state, const SumSquares& op) {
  const float* x = Raw<const float>(op.x);
  const int64_t n = op.x.cols, blocks = (n + kBlock - 1) / kBlock;
  // Partial sums wait in scratch and are added in order, so the result does not depend on the number of threads.
  double* partial = reinterpret_cast<double*>(state.scratch.shared());
  const int64_t room = kSharedScratchBytes / static_cast<int64_t>(sizeof(double));
  double total = 0;
  for (int64_t first = 0; first < blocks; first += room) {
    const int64_t count = std::min(room, blocks - first);
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
    for (int64_t b = 0; b < count; ++b) {
      const int64_t begin = (first + b) * kBlock, end = std::min(n, begin + kBlock);
      const FullF32 d;
      const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
      auto sum = hn::Zero(d);
      int64_t i = begin;
      for (; i + lanes <= end; i += lanes) {
        const auto v = hn::LoadU(d, x + i);
        sum = hn::MulAdd(v, v, sum);
      }
      double block_sum = SumLanes(d, sum);
      for (; i < end; ++i) block_sum += static_cast<double>(x[i]) * x[i];
      partial[b] = block_sum;
    }
    for (int64_t b = 0; b < count; ++b) total += partial[b];
  }
  *Raw<double>(op.out) = total;
}

// Calls body(d, i) for every vector of [0, n), blocks shared among the threads.
template <class Body>
HWY_INLINE void ForEachParallel(const CpuState& state, int64_t n, const Body& body) {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = b * kBlock;
    ForEach(std::min(n, begin + kBlock) - begin, [&](auto d, int64_t j) HWY_ATTR { body(d, begin + j); });
  }
}

// The order of operations of torch's single-tensor AdamW: decay, moments, denominator, step.
void AdamWKernel(const CpuState& state, const AdamW& op) {
  float* weight = Raw<float>(op.weight);
  const float* gradient = Raw<const float>(op.gradient);
  float* m = Raw<float>(op.m);
  float* v = Raw<float>(op.v);
  const double correction1 = 1 - std::pow(op.beta1, static_cast<double>(op.step));
  const double correction2 = 1 - std::pow(op.beta2, static_cast<double>(op.step));
  const float decay = static_cast<float>(1 - op.learning_rate * op.weight_decay);
  const float step_size = static_cast<float>(op.learning_rate / correction1);
  const float root2 = static_cast<float>(1.0 / std::sqrt(correction2));
  const float beta1 = static_cast<float>(op.beta1), beta2 = static_cast<float>(op.beta2);
  const float rest1 = static_cast<float>(1 - op.beta1), rest2 = static_cast<float>(1 - op.beta2);
  const float eps = static_cast<float>(op.eps);
  ForEachParallel(state, op.weight.cols, [&](auto d, int64_t i) HWY_ATTR {
    const auto g = hn::Mul(hn::LoadU(d, gradient + i), hn::Set(d, op.gradient_scale));
    const auto m1 = hn::MulAdd(hn::Set(d, rest1), g, hn::Mul(hn::Set(d, beta1), hn::LoadU(d, m + i)));
    const auto v1 = hn::MulAdd(hn::Mul(hn::Set(d, rest2), g), g, hn::Mul(hn::Set(d, beta2), hn::LoadU(d, v + i)));
    const auto denominator = hn::MulAdd(hn::Sqrt(v1), hn::Set(d, root2), hn::Set(d, eps));
    const auto w = hn::Mul(hn::LoadU(d, weight + i), hn::Set(d, decay));
    hn::StoreU(hn::NegMulAdd(hn::Set(d, step_size), hn::Div(m1, denominator), w), d, weight + i);
    hn::StoreU(m1, d, m + i);
    hn::StoreU(v1, d, v + i);
  });
}

void SgdKernel(const CpuState& state, const Sgd& op) {
  float* weight = Raw<float>(op.weight);
  const float* gradient = Raw<const float>(op.gradient);
  float* m = op.m ? Raw<float>(op.m) : nullptr;
  const float decay = static_cast<float>(op.weight_decay), rate = static_cast<float>(op.learning_rate);
  const float momentum = static_cast<float>(op.momentum),
              fresh = op.step == 1 ? 1.0f : static_cast<float>(1 - op.dampening);
  ForEachParallel(state, op.weight.cols, [&](auto d, int64_t i) HWY_ATTR {
    const auto w = hn::LoadU(d, weight + i);
    auto g = hn::MulAdd(w, hn::Set(d, decay), hn::Mul(hn::LoadU(d, gradient + i), hn::Set(d, op.gradient_scale)));
    if (m != nullptr) {
      const auto moved = hn::MulAdd(hn::Set(d, fresh), g, hn::Mul(hn::Set(d, momentum), hn::LoadU(d, m + i)));
      hn::StoreU(moved, d, m + i);
      g = op.nesterov ? hn::MulAdd(hn::Set(d, momentum), moved, g) : moved;
    }
    hn::StoreU(hn::NegMulAdd(g, hn::Set(d, rate), w), d, weight + i);
  });
}

void LionKernel(const CpuState& state, const Lion& op) {
  float* weight = Raw<float>(op.weight);
  const float* gradient = Raw<const float>(op.gradient);
  float* m = Raw<float>(op.m);
  const float decay = static_cast<float>(1 - op.learning_rate * op.weight_decay);
  const float rate = static_cast<float>(op.learning_rate);
  const float beta1 = static_cast<float>(op.beta1), beta2 = static_cast<float>(op.beta2);
  const float rest1 = static_cast<float>(1 - op.beta1), rest2 = static_cast<float>(1 - op.beta2);
  ForEachParallel(state, op.weight.cols, [&](auto d, int64_t i) HWY_ATTR {
    const auto g = hn::Mul(hn::LoadU(d, gradient + i), hn::Set(d, op.gradient_scale));
    const auto before = hn::LoadU(d, m + i);
    const auto direction = hn::MulAdd(hn::Set(d, rest1), g, hn::Mul(hn::Set(d, beta1), before));
    const auto step = hn::IfThenElseZero(hn::Ne(direction, hn::Zero(d)), hn::CopySign(hn::Set(d, rate), direction));
    hn::StoreU(hn::Sub(hn::Mul(hn::LoadU(d, weight + i), hn::Set(d, decay)), step), d, weight + i);
    hn::StoreU(hn::MulAdd(hn::Set(d, rest2), g, hn::Mul(hn::Set(d, beta2), before)), d, m + i);
  });
}

void FindNonFiniteKernel(const CpuState& state, const FindNonFinite& op) {
  const float* x = Raw<const float>(op.x);
  const int64_t n = op.x.cols, blocks = (n + kBlock - 1) / kBlock;
  int64_t first = n;
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static) reduction(min : first)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = b * kBlock, end = std::min(n, begin + kBlock);
    if (begin >= first) continue;
    // x - x is 0 for whatever is finite and not a number for the rest.
    const FullF32 d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    auto sum = hn::Zero(d);
    int64_t i = begin;
    for (; i + lanes <= end; i += lanes) {
      const auto v = hn::LoadU(d, x + i);
      sum = hn::Add(sum, hn::Sub(v, v));
    }
    if (hn::AllTrue(d, hn::Eq(sum, sum)) && i == end) continue;
    for (int64_t j = begin; j < end && first > j; ++j) {
      if (!std::isfinite(x[j])) first = j;
    }
  }
  *Raw<int64_t>(op.out) = first == n ? -1 : first;
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(SumSquaresKernel);
HWY_EXPORT(AdamWKernel);
HWY_EXPORT(SgdKernel);
HWY_EXPORT(LionKernel);
HWY_EXPORT(FindNonFiniteKernel);

void CpuSumSquares(void* state, const SumSquares& op) {
  HWY_DYNAMIC_DISPATCH(SumSquaresKernel)(*static_cast<CpuState*>(state), op);
}

void CpuAdamW(void* state, const AdamW& op) { HWY_DYNAMIC_DISPATCH(AdamWKernel)(*static_cast<CpuState*>(state), op); }

void CpuSgd(void* state, const Sgd& op) { HWY_DYNAMIC_DISPATCH(SgdKernel)(*static_cast<CpuState*>(state), op); }

void CpuLion(void* state, const Lion& op) { HWY_DYNAMIC_DISPATCH(LionKernel)(*static_cast<CpuState*>(state), op); }

void CpuFindNonFinite(void* state, const FindNonFinite& op) {
  HWY_DYNAMIC_DISPATCH(FindNonFiniteKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
