// Attention of single new tokens against a cache of keys and values: bound by reading the cache, so it has no blocks.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/attention_cached.cc"
#include <hwy/foreach_target.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>

#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

using V = hn::Vec<FullF32>;
constexpr int kLanes = hn::MaxLanes(FullF32());

// The cache comes from memory, a short row here and there, which the processor does not foresee by itself.
HWY_INLINE void Ahead(const float* row, int64_t stride, int64_t dim) {
  constexpr int64_t kRows = 12, kLine = 16;
  for (int64_t i = 0; i < dim; i += kLine) hwy::Prefetch(row + kRows * stride + i);
}

// One query row against the cache: scores, softmax, weighted sum.
void CachedRow(const AttentionCached& op, int64_t row, int64_t head, float* scores) {
  const AttentionShape& s = op.shape;
  const int64_t dim = s.head_dim, kv = head / (s.heads / s.kv_heads), position = op.first + row;
  const int64_t first = s.window > 0 ? std::max<int64_t>(0, position - s.window + 1) : 0;
  const float* q = RawRow<const float>(op.q, row) + head * dim;
  const FullF32 d;
  float max = -1e30f, sum = 0;
  for (int64_t t = first; t <= position; ++t) {
    const float* k = RawRow<const float>(op.k, t) + kv * dim;
    Ahead(k, op.k.stride, dim);
    V acc = hn::Zero(d);
    int64_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) acc = hn::MulAdd(hn::LoadU(d, q + i), hn::LoadU(d, k + i), acc);
    float x = SumLanes(d, acc);
    for (; i < dim; ++i) x += q[i] * k[i];
    scores[t - first] = x * s.scale;
    max = std::max(max, scores[t - first]);
  }
  ForEach(position + 1 - first, [&](auto tag, int64_t i) HWY_ATTR {
    hn::StoreU(FastExp(tag, hn::Sub(hn::LoadU(tag, scores + i), hn::Set(tag, max))), tag, scores + i);
  });
  for (int64_t t = first; t <= position; ++t) sum += scores[t - first];
  float* out = RawRow<float>(op.out, row) + head * dim;
  std::fill_n(out, dim, 0.0f);
  for (int64_t t = first; t <= position; ++t) {
    const float p = scores[t - first] / sum;
    const float* v = RawRow<const float>(op.v, t) + kv * dim;
    Ahead(v, op.v.stride, dim);
    ForEach(dim, [&](auto tag, int64_t i) HWY_ATTR {
      hn::StoreU(hn::MulAdd(hn::Set(tag, p), hn::LoadU(tag, v + i), hn::LoadU(tag, out + i)), tag, out + i);
    });
  }
}

void AttentionCachedKernel(const CpuState& state, const AttentionCached& op) {
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static) collapse(2)
  for (int64_t row = 0; row < op.q.rows; ++row) {
    for (int64_t head = 0; head < op.shape.heads; ++head) {
      CachedRow(op, row, head, reinterpret_cast<float*>(state.scratch.thread(ThreadIndex())));
    }
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
