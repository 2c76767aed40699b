// Attention in f32: the forward pass; the tiles of both passes are attention_tile-inl.h's.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/cpu/attention_backward-inl.h"
#include "ops/cpu/attention_bf16.h"
#include "ops/cpu/attention_tile-inl.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/tickets.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

// scores <- 2^(factor (score - max)) in kVectors vectors of columns, whose maxima and sums grow by these keys; rescale:
// by what was there before is to be multiplied. Returns whether that is other than 1.
template <int kVectors, bool kIsMasked>
HWY_INLINE bool SoftmaxColumns(const ScoreTile& t, int64_t column, float* max, float* sum, float* rescale) {
  const FullF32 d;
  const V factor = hn::Set(d, t.factor);
  V top[kVectors], before[kVectors], shift[kVectors], total[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) top[v] = before[v] = hn::Load(d, max + column + v * kLanes);
  for (int64_t i = 0; i < t.keys; ++i) {
    float* row = t.scores + i * kBlock + column;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      V x = hn::Load(d, row + v * kLanes);
      if constexpr (kIsMasked) {
        x = hn::IfThenElse(Sees(t.key + i, t.query + column + v * kLanes, t.window), x, hn::Set(d, kMasked));
        hn::Store(x, d, row + v * kLanes);
      }
      top[v] = hn::Max(top[v], x);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    shift[v] = hn::Mul(top[v], factor);
    total[v] = hn::Zero(d);
  }
  for (int64_t i = 0; i < t.keys; ++i) {
    float* row = t.scores + i * kBlock + column;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const V p = FastExp2(d, hn::MulSub(hn::Load(d, row + v * kLanes), factor, shift[v]));
      hn::Store(p, d, row + v * kLanes);
      total[v] = hn::Add(total[v], p);
    }
  }
  bool changed = false;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = column + v * kLanes;
    const V scale = FastExp2(d, hn::MulSub(before[v], factor, shift[v]));
    changed = changed || !hn::AllTrue(d, hn::Eq(before[v], top[v]));
    hn::Store(scale, d, rescale + at);
    hn::Store(top[v], d, max + at);
    hn::Store(hn::MulAdd(hn::Load(d, sum + at), scale, total[v]), d, sum + at);
  }
  return changed;
}

template <bool kIsMasked>
bool Softmax(const ScoreTile& t, int64_t n, float* max, float* sum, float* rescale) {
  bool changed = false;
  int64_t j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) changed |= SoftmaxColumns<4, kIsMasked>(t, j, max, sum, rescale);
  for (; j < n; j += kNr) changed |= SoftmaxColumns<2, kIsMasked>(t, j, max, sum, rescale);
  return changed;
}

// What a head's queries of one block gather while keys pass by.
struct QueryState {
  float *query_t, *out_t, *max, *sum;
};

QueryState BeginQueries(const Attention& op, int64_t row, int64_t head, int64_t nq, int64_t n, Room* room) {
  const int64_t dim = op.shape.head_dim;
  const QueryState q = {room->Take(dim * kBlock), room->Take(dim * kBlock), room->Take(kBlock), room->Take(kBlock)};
  TransposeQueries(RawRow<const float>(op.q, row) + head * dim, op.q.stride, nq, n, dim, q.query_t);
  std::fill(q.out_t, q.out_t + dim * kBlock, 0.0f);
  std::fill(q.max, q.max + kBlock, kMasked);
  std::fill(q.sum, q.sum + kBlock, 0.0f);
  return q;
}

// rows of x (dim, n) *= factors, column by column.
void MultiplyColumns(float* x, int64_t dim, int64_t n, const float* factors) {
  const FullF32 d;
  for (int64_t i = 0; i < dim; ++i) {
    for (int64_t j = 0; j < n; j += kLanes) {
      float* at = x + i * kBlock + j;
      hn::Store(hn::Mul(hn::Load(d, at), hn::Load(d, factors + j)), d, at);
    }
  }
}

void EndQueries(const Attention& op, int64_t row, int64_t head, int64_t nq, int64_t n, float factor,
                const QueryState& q, float* inverse) {
  const int64_t dim = op.shape.head_dim;
  for (int64_t j = 0; j < n; ++j) inverse[j] = 1.0f / q.sum[j];
  MultiplyColumns(q.out_t, dim, n, inverse);
  Transpose(q.out_t, kBlock, dim, nq, RawRow<float>(op.out, row) + head * dim, op.out.stride);
  for (int64_t j = 0; op.lse && j < nq; ++j) {
    RawRow<float>(op.lse, row + j)[head] = q.max[j] * factor * kLn2 + std::log(q.sum[j]);
  }
}

// Heads whose queries one task takes: they read the same keys and values. Fewer where heads are very wide.
constexpr int64_t kHeadsAtOnce = 4;

int64_t HeadsAtOnce(int64_t dim) {
  const int64_t shared = kBlock * kBlock + kBlock + 2 * KeyRoom(kBlock, dim);
  return std::clamp<int64_t>((kRoomFloats - shared) / (2 * (dim * kBlock + kBlock)), 1, kHeadsAtOnce);
}

// One block of queries of heads [head, head + heads), which share keys and values, forward.
void ForwardBlock(const Attention& op, int64_t begin, int64_t length, int64_t head, int64_t heads, int64_t q0,
                  Room room) {
  const AttentionShape& s = op.shape;
  const int64_t dim = s.head_dim, kv = head / (s.heads / s.kv_heads);
  const int64_t nq = std::min<int64_t>(kBlock, length - q0), n = (nq + kNr - 1) / kNr * kNr;
  const Visibility visibility{s.window};
  const float factor = s.scale * kLog2E;
  float* scores = room.Take(kBlock * kBlock);
  float* factors = room.Take(kBlock);
  float* key_room = room.Take(KeyRoom(kBlock, dim));
  float* value_room = room.Take(KeyRoom(kBlock, dim));
  const int64_t row = begin + q0 - op.past;  // of q and out
  QueryState queries[kHeadsAtOnce];
  for (int64_t h = 0; h < heads; ++h) queries[h] = BeginQueries(op, row, head + h, nq, n, &room);

  for (int64_t k0 = visibility.FirstKey(q0) / kBlock * kBlock; k0 < q0 + nq; k0 += kBlock) {
    const int64_t nk = std::min<int64_t>(kBlock, length - k0), shift = q0 - k0;
    const bool diagonal = k0 + nk - 1 > q0, masked = visibility.NeedsMask(q0, nq, k0, nk);
    const Rows k = Keys(op.k, RawRow<const float>(op.k, begin + k0) + kv * dim, nk, dim, key_room);
    const Rows v = Keys(op.v, RawRow<const float>(op.v, begin + k0) + kv * dim, nk, dim, value_room);
    const ScoreTile tile{scores, nk, k0, q0, s.window, factor};
    for (int64_t h = 0; h < heads; ++h) {
      const QueryState& q = queries[h];
      Product({k.data, k.stride, 1}, q.query_t, kBlock, scores, kBlock, nk, n, dim, false,
              diagonal ? Causal::kScores : Causal::kDense, shift);
      if (masked ? Softmax<true>(tile, n, q.max, q.sum, factors) : Softmax<false>(tile, n, q.max, q.sum, factors)) {
        MultiplyColumns(q.out_t, dim, n, factors);
      }
      Product({v.data, 1, v.stride}, scores, kBlock, q.out_t, kBlock, dim, n, nk, true,
              diagonal ? Causal::kReducesKeys : Causal::kDense, shift);
    }
  }
  for (int64_t h = 0; h < heads; ++h) EndQueries(op, row, head + h, nq, n, factor, queries[h], factors);
}

void AttentionKernelF32(const CpuState& state, const Attention& op) {
  const int32_t* starts = Raw<const int32_t>(op.starts);
  const int64_t sequences = op.starts.cols - 1, group = op.shape.heads / op.shape.kv_heads;
  const int64_t at_once = HeadsAtOnce(op.shape.head_dim);
  Tickets tickets;
#pragma omp parallel num_threads(state.scratch.threads)
  {
    const Room room{reinterpret_cast<float*>(state.scratch.thread(ThreadIndex()))};
    int64_t index = 0, mine = -1;
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t length = starts[s + 1] - starts[s], blocks = (length - op.past + kBlock - 1) / kBlock;
      for (int64_t block = blocks - 1; block >= 0; --block) {  // the longest first
        for (int64_t h = 0, heads = 0; h < op.shape.heads; h += heads) {
          heads = std::min(at_once, group - h % group);
          if (tickets.Mine(index++, &mine)) {
            ForwardBlock(op, starts[s], length, h, heads, op.past + block * kBlock, room);
          }
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(AttentionKernelF32);
HWY_EXPORT(AttentionBackwardKernelF32);

namespace {

// The bf16 kernel for bf16 operands, null for f32.
const AttentionKernel* Bf16KernelFor(const CpuState& cpu, DType type) {
  if (type == DType::kF32) return nullptr;
  if (type != DType::kBF16) Failed("attention computes in F32 or BF16, not {}", NameOf(type));
  if (cpu.bf16_attention == nullptr) Failed("attention: this machine has no bf16 products; compute in f32");
  return cpu.bf16_attention;
}

}  // namespace

void CpuAttention(void* state, const Attention& op) {
  const CpuState& cpu = *static_cast<CpuState*>(state);
  if (const auto* kernel = Bf16KernelFor(cpu, op.q.dtype)) return RunAttention(*kernel, cpu.scratch, op);
  HWY_DYNAMIC_DISPATCH(AttentionKernelF32)(cpu, op);
}
void CpuAttentionBackward(void* state, const AttentionBackward& op) {
  const CpuState& cpu = *static_cast<CpuState*>(state);
  if (const auto* kernel = Bf16KernelFor(cpu, op.q.dtype)) return RunAttention(*kernel, cpu.scratch, op);
  HWY_DYNAMIC_DISPATCH(AttentionBackwardKernelF32)(cpu, op);
}
}  // namespace attune
#endif
