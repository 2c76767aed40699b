// Attention of single new tokens against a cache of keys and values: bound by reading the cache, so its rows are read
// once, in their order, for all heads. Threads take stretches of positions, each with a softmax of its own, and these
// are put together at the end. Where a row is cut depends on its length alone, so that the number of threads changes no
// bit.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/attention_cached.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

using V = hn::Vec<FullF32>;
constexpr int kLanes = hn::MaxLanes(FullF32());

// Positions [first, end) cut into `count` stretches of `length`, and their results: for each a weighted sum of values,
// the largest score and the sum of weights, for every head.
struct Stretches {
  int64_t first, end, length, count;
  float *sums, *largest, *weights;  // (count, heads * head_dim), (count, heads), (count, heads)

  Stretches(const AttentionCached& op, int64_t row, float* room) : end(op.first + row + 1) {
    constexpr int64_t kShortest = 64, kMost = 64;
    const AttentionShape& s = op.shape;
    first = s.window > 0 ? std::max<int64_t>(0, end - s.window) : 0;
    const int64_t most = std::min(kMost, kSharedScratchBytes / 4 / (s.heads * (s.head_dim + 2)));
    if (most < 1) Failed("attention: {} heads of {} are more than the kernel has room for", s.heads, s.head_dim);
    length = std::max(kShortest, ((end - first + most - 1) / most + kLanes - 1) / kLanes * kLanes);
    count = (end - first + length - 1) / length;
    if (length * s.heads > kThreadScratchBytes / 4)
      Failed("attention: {} positions are more than the kernel has room for", end);
    sums = room;
    largest = sums + count * s.heads * s.head_dim;
    weights = largest + count * s.heads;
  }
};

// A row some way ahead: the processor does not foresee the end of a page.
HWY_INLINE void Ahead(const float* row, const Matrix& cache) {
  constexpr int64_t kRows = 12, kLine = 16;
  for (int64_t i = 0; i < cache.cols; i += kLine) hwy::Prefetch(row + kRows * cache.stride + i);
}

HWY_INLINE float DotOf(const float* a, const float* b, int64_t n) {
  const FullF32 d;
  V sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) sum = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), sum);
  float dot = SumLanes(d, sum);
  for (; i < n; ++i) dot += a[i] * b[i];
  return dot;
}

// The sum of the parts of 128 bits.
template <class D>
HWY_INLINE hn::Vec<hn::Full128<float>> SumBlocks(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return SumBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// The sums of the lanes of four vectors.
HWY_INLINE hn::Vec<hn::Full128<float>> FourSums(V a, V b, V c, V e) {
  const FullF32 d;
  const hn::Repartition<double, FullF32> d64;
  const auto pairs = [&](V x, V y) HWY_ATTR {
    return hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, x, y), hn::InterleaveUpper(d, x, y)));
  };
  const auto ab = pairs(a, b), ce = pairs(c, e);
  const V fours =
      hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, ab, ce)), hn::BitCast(d, hn::InterleaveUpper(d64, ab, ce)));
  return SumBlocks(d, fours);
}

// The dot products of q with four rows of keys, times scale.
HWY_INLINE void FourScores(const float* q, const float* k, int64_t stride, int64_t dim, float scale, float* scores) {
  const FullF32 d;
  const hn::Full128<float> d4;
  V sum[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (int64_t i = 0; i < dim; i += kLanes) {
    const V of_q = hn::LoadU(d, q + i);
    for (int r = 0; r < 4; ++r) sum[r] = hn::MulAdd(of_q, hn::LoadU(d, k + r * stride + i), sum[r]);
  }
  hn::StoreU(hn::Mul(FourSums(sum[0], sum[1], sum[2], sum[3]), hn::Set(d4, scale)), d4, scores);
}

// scores (heads, stride) of `count` keys from `first`; what is left of a row is masked.
void Scores(const AttentionCached& op, const float* q, int64_t first, int64_t count, float* scores, int64_t stride) {
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, dim = s.head_dim;
  int64_t t = 0;
  for (; t + 4 <= count && dim % kLanes == 0; t += 4) {
    const float* k = RawRow<const float>(op.k, first + t);
    for (int64_t r = 0; r < 4; ++r) Ahead(k + r * op.k.stride, op.k);
    for (int64_t h = 0; h < s.heads; ++h) {
      FourScores(q + h * dim, k + h / group * dim, op.k.stride, dim, s.scale, scores + h * stride + t);
    }
  }
  for (; t < count; ++t) {
    const float* k = RawRow<const float>(op.k, first + t);
    for (int64_t h = 0; h < s.heads; ++h)
      scores[h * stride + t] = DotOf(q + h * dim, k + h / group * dim, dim) * s.scale;
  }
  for (int64_t h = 0; h < s.heads; ++h) std::fill(scores + h * stride + count, scores + (h + 1) * stride, -1e30f);
}

// Scores become weights, whole vectors of them; gives the largest and the sum.
void Softmax(int64_t count, float* scores, float* largest, float* sum) {
  const FullF32 d;
  V top = hn::Load(d, scores);
  for (int64_t i = kLanes; i < count; i += kLanes) top = hn::Max(top, hn::Load(d, scores + i));
  *largest = hn::GetLane(hn::MaxOfLanes(d, top));
  top = hn::Set(d, *largest);
  V total = hn::Zero(d);
  for (int64_t i = 0; i < count; i += kLanes) {
    const V weight = FastExp(d, hn::Sub(hn::Load(d, scores + i), top));
    hn::Store(weight, d, scores + i);
    total = hn::Add(total, weight);
  }
  *sum = SumLanes(d, total);
}

// out += the weighted values of kTogether rows in a row.
template <int kTogether>
HWY_INLINE void AddValues(const float* v, int64_t stride, const float* weights, int64_t dim, float* out) {
  ForEach(dim, [&](auto d, int64_t i) HWY_ATTR {
    auto sum = hn::LoadU(d, out + i);
    for (int r = 0; r < kTogether; ++r) sum = hn::MulAdd(hn::Set(d, weights[r]), hn::LoadU(d, v + r * stride + i), sum);
    hn::StoreU(sum, d, out + i);
  });
}

void RunStretch(const AttentionCached& op, int64_t row, const Stretches& all, int64_t index, float* scores) {
  const AttentionShape& s = op.shape;
  const int64_t dim = s.head_dim, group = s.heads / s.kv_heads;
  const int64_t first = all.first + index * all.length, count = std::min(all.length, all.end - first);
  const int64_t stride = (count + kLanes - 1) / kLanes * kLanes;
  Scores(op, RawRow<const float>(op.q, row), first, count, scores, stride);
  for (int64_t h = 0; h < s.heads; ++h) {
    Softmax(stride, scores + h * stride, all.largest + index * s.heads + h, all.weights + index * s.heads + h);
  }
  float* out = all.sums + index * s.heads * dim;
  std::fill_n(out, s.heads * dim, 0.0f);
  constexpr int kTogether = 4;
  for (int64_t t = 0; t < count; t += kTogether) {
    const float* v = RawRow<const float>(op.v, first + t);
    for (int64_t r = 0; r < kTogether; ++r) Ahead(v + r * op.v.stride, op.v);
    const int64_t here = std::min<int64_t>(kTogether, count - t);
    for (int64_t h = 0; h < s.heads; ++h) {
      const float* weights = scores + h * stride + t;
      const float* of_head = v + h / group * dim;
      if (here == kTogether) {
        AddValues<kTogether>(of_head, op.v.stride, weights, dim, out + h * dim);
      } else {
        for (int64_t r = 0; r < here; ++r)
          AddValues<1>(of_head + r * op.v.stride, op.v.stride, weights + r, dim, out + h * dim);
      }
    }
  }
}

// A row's output from its stretches: next to nothing beside them, so it is not worth another meeting of the threads.
void Combine(const AttentionCached& op, int64_t row, const Stretches& all) {
  const int64_t heads = op.shape.heads, dim = op.shape.head_dim;
  for (int64_t head = 0; head < heads; ++head) {
    float largest = all.largest[head], total = 0;
    for (int64_t i = 1; i < all.count; ++i) largest = std::max(largest, all.largest[i * heads + head]);
    const auto factor = [&](int64_t i) { return std::exp(all.largest[i * heads + head] - largest); };
    for (int64_t i = 0; i < all.count; ++i) total += all.weights[i * heads + head] * factor(i);
    float* out = RawRow<float>(op.out, row) + head * dim;
    std::fill_n(out, dim, 0.0f);
    for (int64_t i = 0; i < all.count; ++i) {
      const float share = factor(i) / total;
      AddValues<1>(all.sums + (i * heads + head) * dim, dim, &share, dim, out);
    }
  }
}

void AttentionCachedKernel(const CpuState& state, const AttentionCached& op) {
  for (int64_t row = 0; row < op.q.rows; ++row) {
    const Stretches all(op, row, reinterpret_cast<float*>(state.scratch.shared()));
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static) if (all.count > 1)
    for (int64_t i = 0; i < all.count; ++i) {
      RunStretch(op, row, all, i, reinterpret_cast<float*>(state.scratch.thread(ThreadIndex())));
    }
    Combine(op, row, all);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(AttentionCachedKernel);

void CpuAttentionCached(void* state, const AttentionCached& op) {
  HWY_DYNAMIC_DISPATCH(AttentionCachedKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
