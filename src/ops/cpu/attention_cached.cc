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
#include <type_traits>

#include "base/error.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

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

// Four rows of keys and the heads that read them; scores (heads, scores_stride).
struct FourKeys {
  const float *q, *k;
  int64_t stride, dim;
  float scale;
  float* scores;
  int64_t scores_stride;
};

// The dot products of kHeads heads of q with four keys, times scale: each part of a key is read once.
template <int kHeads>
HWY_INLINE void FourScores(const FourKeys& in) {
  const FullF32 d;
  const hn::Full128<float> d4;
  V sum[kHeads][4];
  for (auto& of_head : sum) {
    for (V& of_key : of_head) of_key = hn::Zero(d);
  }
  for (int64_t i = 0; i < in.dim; i += kLanes) {
    V k[4];
    for (int r = 0; r < 4; ++r) k[r] = hn::LoadU(d, in.k + r * in.stride + i);
    for (int h = 0; h < kHeads; ++h) {
      const V q = hn::LoadU(d, in.q + h * in.dim + i);
      for (int r = 0; r < 4; ++r) sum[h][r] = hn::MulAdd(q, k[r], sum[h][r]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    hn::StoreU(hn::Mul(FourSums(sum[h]), hn::Set(d4, in.scale)), d4, in.scores + h * in.scores_stride);
  }
}

constexpr int kHeadsTogether = kLanes == 16 ? 4 : 2;  // whose sums registers hold

// Calls body(std::integral_constant<int, n>(), first of n heads) for `heads` heads, as many at a time as registers
// hold.
template <class Body>
HWY_INLINE void ForHeadsTogether(int64_t heads, const Body& body) {
  int64_t h = 0;
  for (; h + kHeadsTogether <= heads; h += kHeadsTogether) body(std::integral_constant<int, kHeadsTogether>(), h);
  if (heads - h == 3) return body(std::integral_constant<int, 3>(), h);
  if (heads - h == 2) return body(std::integral_constant<int, 2>(), h);
  if (heads - h == 1) body(std::integral_constant<int, 1>(), h);
}

// scores (heads, stride) of `count` keys from `first`; what is left of a row is masked.
void Scores(const AttentionCached& op, const float* q, int64_t first, int64_t count, float* scores, int64_t stride) {
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, dim = s.head_dim;
  int64_t t = 0;
  for (; t + 4 <= count && dim % kLanes == 0; t += 4) {
    const float* k = RawRow<const float>(op.k, first + t);
    for (int64_t r = 0; r < 4; ++r) Ahead(k + r * op.k.stride, op.k);
    for (int64_t kv = 0; kv < s.kv_heads; ++kv) {
      ForHeadsTogether(group, [&](auto together, int64_t h) HWY_ATTR {
        const int64_t head = kv * group + h;
        FourScores<together>(
            {q + head * dim, k + kv * dim, op.k.stride, dim, s.scale, scores + head * stride + t, stride});
      });
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

// out += factor * v.
HWY_INLINE void AddScaled(const float* v, float factor, int64_t dim, float* out) {
  ForEach(dim, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(d, factor), hn::LoadU(d, v + i), hn::LoadU(d, out + i)), d, out + i);
  });
}

// Heads that read the same values; weights (heads, weights_stride), out (heads, dim).
struct HeadsOfValues {
  const float* v;
  int64_t stride;
  const float* weights;
  int64_t weights_stride, dim;
  float* out;
};

// out += the weighted values of `count` rows, for kHeads heads: each part of a row is read once, the sums stay in
// registers.
template <int kHeads>
HWY_INLINE void AddValues(const HeadsOfValues& in, int64_t count) {
  constexpr int kVectors = 4;
  const FullF32 d;
  int64_t i = 0;
  for (; i + kVectors * kLanes <= in.dim; i += kVectors * kLanes) {
    V sum[kHeads][kVectors];
    for (int h = 0; h < kHeads; ++h) {
      for (int j = 0; j < kVectors; ++j) sum[h][j] = hn::LoadU(d, in.out + h * in.dim + i + j * kLanes);
    }
    for (int64_t t = 0; t < count; ++t) {
      V v[kVectors];
      for (int j = 0; j < kVectors; ++j) v[j] = hn::LoadU(d, in.v + t * in.stride + i + j * kLanes);
      for (int h = 0; h < kHeads; ++h) {
        const V weight = hn::Set(d, in.weights[h * in.weights_stride + t]);
        for (int j = 0; j < kVectors; ++j) sum[h][j] = hn::MulAdd(weight, v[j], sum[h][j]);
      }
    }
    for (int h = 0; h < kHeads; ++h) {
      for (int j = 0; j < kVectors; ++j) hn::StoreU(sum[h][j], d, in.out + h * in.dim + i + j * kLanes);
    }
  }
  for (int h = 0; i < in.dim && h < kHeads; ++h) {
    for (int64_t t = 0; t < count; ++t) {
      AddScaled(in.v + t * in.stride + i, in.weights[h * in.weights_stride + t], in.dim - i, in.out + h * in.dim + i);
    }
  }
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
  constexpr int64_t kTogether = 16;  // rows: still in the nearest cache when the next heads read them
  for (int64_t t = 0; t < count; t += kTogether) {
    const float* v = RawRow<const float>(op.v, first + t);
    const int64_t here = std::min(kTogether, count - t);
    for (int64_t r = 0; r < here; ++r) Ahead(v + r * op.v.stride, op.v);
    for (int64_t kv = 0; kv < s.kv_heads; ++kv) {
      ForHeadsTogether(group, [&](auto together, int64_t h) HWY_ATTR {
        const int64_t head = kv * group + h;
        AddValues<together>({v + kv * dim, op.v.stride, scores + head * stride + t, stride, dim, out + head * dim},
                            here);
      });
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
      AddScaled(all.sums + (i * heads + head) * dim, factor(i) / total, dim, out);
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
