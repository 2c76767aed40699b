// Attention in f32, forward and backward, from one small product, C = A B with rows of A broadcast and 64 queries in
// the lanes. Scores are kept transposed, keys down and queries across: then the softmax runs down the columns without
// shuffles, and the probabilities are already in the layout the next product wants.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/cpu/attention_bf16.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/tickets.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

using V = hn::Vec<FullF32>;
constexpr int kLanes = hn::MaxLanes(FullF32());
constexpr int kNr = 2 * kLanes;
constexpr int kMr = kLanes >= 16 ? 14 : 6;
constexpr int kBlock = 64;         // queries and keys of one tile
constexpr float kMasked = -1e30f;  // finite, so that exp(kMasked - max) is 0 and never NaN

// Which part of a product over a causal tile can be non-zero. Key i (row) and query j (column) of a tile are visible to
// each other when i <= j + shift.
enum class Causal {
  kDense,           // everything
  kScores,          // rows are keys, columns queries: tiles wholly above the diagonal are left unwritten
  kReducesKeys,     // columns are queries, the reduction runs over keys
  kReducesQueries,  // rows are keys, the reduction runs over queries
};

struct Operand {
  const float* data;
  int64_t row, unit;  // strides: element (i, u) is data[i * row + u * unit]
};

template <int kRows>
HWY_INLINE void ProductTile(const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride,
                            int64_t units, bool accumulate) {
  const FullF32 d;
  V acc[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    acc[r][0] = accumulate ? hn::LoadU(d, c + r * c_stride) : hn::Zero(d);
    acc[r][1] = accumulate ? hn::LoadU(d, c + r * c_stride + kLanes) : hn::Zero(d);
  }
  const float* x = a.data;
  for (int64_t u = 0; u < units; ++u, x += a.unit, b += b_stride) {
    const V b0 = hn::LoadU(d, b), b1 = hn::LoadU(d, b + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const V broadcast = hn::Set(d, x[r * a.row]);
      acc[r][0] = hn::MulAdd(broadcast, b0, acc[r][0]);
      acc[r][1] = hn::MulAdd(broadcast, b1, acc[r][1]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    hn::StoreU(acc[r][0], d, c + r * c_stride);
    hn::StoreU(acc[r][1], d, c + r * c_stride + kLanes);
  }
}

template <int kRows>
void ProductRows(int64_t rows, const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride,
                 int64_t units, bool accumulate) {
  if (rows == kRows) return ProductTile<kRows>(a, b, b_stride, c, c_stride, units, accumulate);
  if constexpr (kRows > 1) ProductRows<kRows - 1>(rows, a, b, b_stride, c, c_stride, units, accumulate);
}

// c (m, n) = or += a (m, k) b (k, n); n is a multiple of kNr.
void Product(const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride, int64_t m, int64_t n,
             int64_t k, bool accumulate, Causal causal, int64_t shift) {
  for (int64_t j = 0; j < n; j += kNr) {
    for (int64_t i = 0; i < m; i += kMr) {
      int64_t first = 0, last = k;
      if (causal == Causal::kScores && i > j + kNr - 1 + shift) break;
      if (causal == Causal::kReducesKeys) last = std::min(k, j + kNr + shift);
      if (causal == Causal::kReducesQueries) first = std::min(k, std::max<int64_t>(0, i - shift));
      const Operand part{a.data + i * a.row + first * a.unit, a.row, a.unit};
      ProductRows<kMr>(std::min<int64_t>(kMr, m - i), part, b + first * b_stride + j, b_stride, c + i * c_stride + j,
                       c_stride, last - first, accumulate);
    }
  }
}

// Transpose, element by element.
void TransposeRest(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float scale, float* out,
                   int64_t out_stride) {
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) out[c * out_stride + r] = in[r * in_stride + c] * scale;
  }
}

// out (cols, rows) = the transpose of in (rows, cols), times scale.
void Transpose(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float scale, float* out,
               int64_t out_stride) {
  const hn::Full128<float> d;
  const hn::Full128<double> d64;
  const auto factor = hn::Set(d, scale);
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    int64_t c = 0;
    for (; c + 4 <= cols; c += 4) {
      const float* x = in + r * in_stride + c;
      const auto r0 = hn::LoadU(d, x), r1 = hn::LoadU(d, x + in_stride);
      const auto r2 = hn::LoadU(d, x + 2 * in_stride), r3 = hn::LoadU(d, x + 3 * in_stride);
      const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
      const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
      const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
      const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
      float* y = out + c * out_stride + r;
      hn::StoreU(hn::Mul(factor, hn::BitCast(d, hn::InterleaveLower(d64, low01, low23))), d, y);
      hn::StoreU(hn::Mul(factor, hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23))), d, y + out_stride);
      hn::StoreU(hn::Mul(factor, hn::BitCast(d, hn::InterleaveLower(d64, high01, high23))), d, y + 2 * out_stride);
      hn::StoreU(hn::Mul(factor, hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23))), d, y + 3 * out_stride);
    }
    TransposeRest(in + r * in_stride + c, in_stride, 4, cols - c, scale, out + c * out_stride + r, out_stride);
  }
  TransposeRest(in + r * in_stride, in_stride, rows - r, cols, scale, out + r, out_stride);
}

// A dense zero-padded copy of `rows` rows, times scale.
void CopyPadded(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float scale, float* out,
                int64_t out_stride, int64_t out_rows) {
  for (int64_t r = 0; r < rows; ++r) {
    ForEach(cols, [&](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Mul(hn::LoadU(d, in + r * in_stride + i), hn::Set(d, scale)), d, out + r * out_stride + i);
    });
    std::fill(out + r * out_stride + cols, out + (r + 1) * out_stride, 0.0f);
  }
  std::fill(out + rows * out_stride, out + out_rows * out_stride, 0.0f);
}

// Which keys a block of queries sees, and how the visible part of a tile is described.
struct Visibility {
  int64_t window;

  int64_t FirstKey(int64_t query) const { return window > 0 ? std::max<int64_t>(0, query - window + 1) : 0; }
  bool NeedsMask(int64_t q0, int64_t nq, int64_t k0, int64_t nk) const {
    return k0 + nk - 1 > q0 || (window > 0 && q0 + nq - 1 - k0 >= window);
  }
};

// Mask of the queries [q, q + lanes) that see `key`.
HWY_INLINE hn::Mask<FullF32> Sees(int64_t key, int64_t query, int64_t window) {
  const FullF32 d;
  const hn::RebindToSigned<FullF32> di;
  const auto distance = hn::Add(hn::Iota(di, 0), hn::Set(di, static_cast<int32_t>(query - key)));
  auto visible = hn::Gt(distance, hn::Set(di, -1));
  if (window > 0) visible = hn::And(visible, hn::Lt(distance, hn::Set(di, static_cast<int32_t>(window))));
  return hn::RebindMask(d, visible);
}

// The room of one thread, carved from its scratch; every piece is aligned to a cache line.
struct Room {
  float* cursor;

  float* Take(int64_t floats) {
    float* here = cursor;
    cursor += (floats + 15) / 16 * 16;
    return here;
  }
};

// One block of queries of one head, forward.
void ForwardBlock(const Attention& op, int64_t begin, int64_t length, int64_t head, int64_t q0, Room room) {
  const AttentionShape& s = op.shape;
  const FullF32 d;
  const int64_t dim = s.head_dim, kv = head / (s.heads / s.kv_heads);
  const int64_t nq = std::min<int64_t>(kBlock, length - q0), n = (nq + kNr - 1) / kNr * kNr;
  const Visibility visibility{s.window};
  float* query_t = room.Take(dim * kBlock);
  float* scores = room.Take(kBlock * kBlock);
  float* out_t = room.Take(dim * kBlock);
  float* max = room.Take(kBlock);
  float* sum = room.Take(kBlock);

  const int64_t row = begin + q0 - op.past;  // of q and out
  Transpose(RawRow<const float>(op.q, row) + head * dim, op.q.stride, nq, dim, s.scale, query_t, kBlock);
  for (int64_t i = 0; nq < n && i < dim; ++i) std::fill(query_t + i * kBlock + nq, query_t + i * kBlock + n, 0.0f);
  std::fill(out_t, out_t + dim * kBlock, 0.0f);
  std::fill(max, max + kBlock, kMasked);
  std::fill(sum, sum + kBlock, 0.0f);

  for (int64_t k0 = visibility.FirstKey(q0) / kBlock * kBlock; k0 < q0 + nq; k0 += kBlock) {
    const int64_t nk = std::min<int64_t>(kBlock, length - k0), shift = q0 - k0;
    const bool diagonal = k0 + nk - 1 > q0, masked = visibility.NeedsMask(q0, nq, k0, nk);
    const float* k = RawRow<const float>(op.k, begin + k0) + kv * dim;
    const float* v = RawRow<const float>(op.v, begin + k0) + kv * dim;
    Product({k, op.k.stride, 1}, query_t, kBlock, scores, kBlock, nk, n, dim, false,
            diagonal ? Causal::kScores : Causal::kDense, shift);
    bool rescale = false;
    HWY_ALIGN float factors[kBlock];
    for (int64_t j = 0; j < n; j += kLanes) {
      V top = hn::Load(d, max + j);
      const V before = top;
      for (int64_t i = 0; i < nk; ++i) {
        float* at = scores + i * kBlock + j;
        V x = hn::LoadU(d, at);
        if (masked) {
          x = hn::IfThenElse(Sees(k0 + i, q0 + j, s.window), x, hn::Set(d, kMasked));
          hn::StoreU(x, d, at);
        }
        top = hn::Max(top, x);
      }
      V total = hn::Zero(d);
      for (int64_t i = 0; i < nk; ++i) {
        float* at = scores + i * kBlock + j;
        const V p = FastExp(d, hn::Sub(hn::LoadU(d, at), top));
        hn::StoreU(p, d, at);
        total = hn::Add(total, p);
      }
      const V factor = FastExp(d, hn::Sub(before, top));
      rescale = rescale || !hn::AllTrue(d, hn::Eq(before, top));
      hn::Store(factor, d, factors + j);
      hn::Store(top, d, max + j);
      hn::Store(hn::MulAdd(hn::Load(d, sum + j), factor, total), d, sum + j);
    }
    if (rescale) {
      for (int64_t i = 0; i < dim; ++i) {
        for (int64_t j = 0; j < n; j += kLanes) {
          float* at = out_t + i * kBlock + j;
          hn::Store(hn::Mul(hn::Load(d, at), hn::Load(d, factors + j)), d, at);
        }
      }
    }
    Product({v, 1, op.v.stride}, scores, kBlock, out_t, kBlock, dim, n, nk, true,
            diagonal ? Causal::kReducesKeys : Causal::kDense, shift);
  }
  for (int64_t j = 0; j < n; j += kLanes) {
    const V inverse = hn::Div(hn::Set(d, 1.0f), hn::Load(d, sum + j));
    for (int64_t i = 0; i < dim; ++i) {
      float* at = out_t + i * kBlock + j;
      hn::Store(hn::Mul(hn::Load(d, at), inverse), d, at);
    }
  }
  Transpose(out_t, kBlock, dim, nq, 1.0f, RawRow<float>(op.out, row) + head * dim, op.out.stride);
  if (op.lse) {
    for (int64_t j = 0; j < nq; ++j) RawRow<float>(op.lse, row + j)[head] = max[j] + std::log(sum[j]);
  }
}

void AttentionKernelF32(const CpuState& state, const Attention& op) {
  const int32_t* starts = Raw<const int32_t>(op.starts);
  const int64_t sequences = op.starts.cols - 1;
  Tickets tickets;
#pragma omp parallel num_threads(state.scratch.threads)
  {
    const Room room{reinterpret_cast<float*>(state.scratch.thread(ThreadIndex()))};
    int64_t index = 0, mine = -1;
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t length = starts[s + 1] - starts[s], blocks = (length - op.past + kBlock - 1) / kBlock;
      for (int64_t block = blocks - 1; block >= 0; --block) {  // the longest first
        for (int64_t h = 0; h < op.shape.heads; ++h) {
          if (tickets.Mine(index++, &mine)) ForwardBlock(op, starts[s], length, h, op.past + block * kBlock, room);
        }
      }
    }
  }
}

// The pieces a block of queries needs in the backward pass.
struct BackwardRoom {
  float *query, *query_t, *dout, *dout_t, *scores, *dscores, *dquery_t, *delta, *lse, *tile;
};

void LoadQueries(const AttentionBackward& op, int64_t row, int64_t head, int64_t nq, int64_t padded_dim,
                 const BackwardRoom& r) {
  const int64_t dim = op.shape.head_dim;
  CopyPadded(RawRow<const float>(op.q, row) + head * dim, op.q.stride, nq, dim, op.shape.scale, r.query, padded_dim,
             kBlock);
  CopyPadded(RawRow<const float>(op.dout, row) + head * dim, op.dout.stride, nq, dim, 1.0f, r.dout, padded_dim, kBlock);
  Transpose(r.query, padded_dim, kBlock, dim, 1.0f, r.query_t, kBlock);
  Transpose(r.dout, padded_dim, kBlock, dim, 1.0f, r.dout_t, kBlock);
  std::fill(r.dquery_t, r.dquery_t + dim * kBlock, 0.0f);
  for (int64_t j = 0; j < kBlock; ++j) {
    r.lse[j] = j < nq ? RawRow<const float>(op.lse, row + j)[head] : -kMasked;  // exp(x + kMasked) is 0
    const float* out = RawRow<const float>(op.out, row + std::min(j, nq - 1)) + head * dim;
    float delta = 0;
    const FullF32 d;
    V sum = hn::Zero(d);
    int64_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) {
      sum = hn::MulAdd(hn::LoadU(d, out + i), hn::LoadU(d, r.dout + j * padded_dim + i), sum);
    }
    delta = SumLanes(d, sum);
    for (; i < dim; ++i) delta += out[i] * r.dout[j * padded_dim + i];
    r.delta[j] = delta;
  }
}

// scores <- P, dscores <- P (dP - delta).
void ScoresToGradients(const BackwardRoom& r, int64_t nk, int64_t n, bool masked, int64_t k0, int64_t q0,
                       int64_t window) {
  const FullF32 d;
  for (int64_t j = 0; j < n; j += kLanes) {
    const V lse = hn::Load(d, r.lse + j), delta = hn::Load(d, r.delta + j);
    for (int64_t i = 0; i < nk; ++i) {
      float* score = r.scores + i * kBlock + j;
      float* dscore = r.dscores + i * kBlock + j;
      V p = FastExp(d, hn::Sub(hn::Load(d, score), lse));
      V ds = hn::Mul(p, hn::Sub(hn::Load(d, dscore), delta));
      if (masked) {
        const auto sees = Sees(k0 + i, q0 + j, window);
        p = hn::IfThenElseZero(sees, p);
        ds = hn::IfThenElseZero(sees, ds);
      }
      hn::Store(p, d, score);
      hn::Store(ds, d, dscore);
    }
  }
}

// sums (nk rows of dim) += a b, through a padded tile where the head dimension is not whole vectors.
void AddProduct(const Operand& a, const float* b, int64_t padded_dim, float* sums, int64_t stride, int64_t nk,
                int64_t dim, int64_t units, Causal causal, int64_t shift, float* tile) {
  if (padded_dim == dim) {
    return Product(a, b, padded_dim, sums, stride, nk, dim, units, true, causal, shift);
  }
  Product(a, b, padded_dim, tile, padded_dim, nk, padded_dim, units, false, causal, shift);
  for (int64_t i = 0; i < nk; ++i) {
    for (int64_t j = 0; j < dim; ++j) sums[i * stride + j] += tile[i * padded_dim + j];
  }
}

// All queries of one key/value head of one sequence, backward.
void BackwardHead(const AttentionBackward& op, int64_t begin, int64_t length, int64_t kv, Room room) {
  const AttentionShape& s = op.shape;
  const int64_t dim = s.head_dim, padded = (dim + kNr - 1) / kNr * kNr, group = s.heads / s.kv_heads;
  const Visibility visibility{s.window};
  BackwardRoom r;
  for (float** piece : {&r.query, &r.dout, &r.tile}) *piece = room.Take(kBlock * padded);
  for (float** piece : {&r.query_t, &r.dout_t, &r.dquery_t}) *piece = room.Take(dim * kBlock);
  for (float** piece : {&r.scores, &r.dscores}) *piece = room.Take(kBlock * kBlock);
  for (float** piece : {&r.delta, &r.lse}) *piece = room.Take(kBlock);
  for (int64_t t = 0; t < length; ++t) {
    std::fill_n(RawRow<float>(op.dk_sum, begin + t) + kv * dim, dim, 0.0f);
    std::fill_n(RawRow<float>(op.dv_sum, begin + t) + kv * dim, dim, 0.0f);
  }
  for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
    for (int64_t q0 = 0; q0 < length; q0 += kBlock) {
      const int64_t nq = std::min<int64_t>(kBlock, length - q0), n = (nq + kNr - 1) / kNr * kNr;
      LoadQueries(op, begin + q0, head, nq, padded, r);
      for (int64_t k0 = visibility.FirstKey(q0) / kBlock * kBlock; k0 < q0 + nq; k0 += kBlock) {
        const int64_t nk = std::min<int64_t>(kBlock, length - k0), shift = q0 - k0;
        const bool diagonal = k0 + nk - 1 > q0, masked = visibility.NeedsMask(q0, nq, k0, nk);
        const auto scores_part = diagonal ? Causal::kScores : Causal::kDense;
        const auto query_part = diagonal ? Causal::kReducesQueries : Causal::kDense;
        const float* k = RawRow<const float>(op.k, begin + k0) + kv * dim;
        const float* v = RawRow<const float>(op.v, begin + k0) + kv * dim;
        Product({k, op.k.stride, 1}, r.query_t, kBlock, r.scores, kBlock, nk, n, dim, false, scores_part, shift);
        Product({v, op.v.stride, 1}, r.dout_t, kBlock, r.dscores, kBlock, nk, n, dim, false, scores_part, shift);
        ScoresToGradients(r, nk, n, masked, k0, q0, s.window);
        AddProduct({r.scores, kBlock, 1}, r.dout, padded, RawRow<float>(op.dv_sum, begin + k0) + kv * dim,
                   op.dv_sum.stride, nk, dim, nq, query_part, shift, r.tile);
        AddProduct({r.dscores, kBlock, 1}, r.query, padded, RawRow<float>(op.dk_sum, begin + k0) + kv * dim,
                   op.dk_sum.stride, nk, dim, nq, query_part, shift, r.tile);
        Product({k, 1, op.k.stride}, r.dscores, kBlock, r.dquery_t, kBlock, dim, n, nk, true,
                diagonal ? Causal::kReducesKeys : Causal::kDense, shift);
      }
      Transpose(r.dquery_t, kBlock, dim, nq, s.scale, RawRow<float>(op.dq, begin + q0) + head * dim, op.dq.stride);
    }
  }
}

void AttentionBackwardKernelF32(const CpuState& state, const AttentionBackward& op) {
  const int32_t* starts = Raw<const int32_t>(op.starts);
  const int64_t sequences = op.starts.cols - 1;
  Tickets tickets;
#pragma omp parallel num_threads(state.scratch.threads)
  {
    const Room room{reinterpret_cast<float*>(state.scratch.thread(ThreadIndex()))};
    int64_t index = 0, mine = -1;
    for (int64_t s = 0; s < sequences; ++s) {
      for (int64_t kv = 0; kv < op.shape.kv_heads; ++kv) {
        if (tickets.Mine(index++, &mine)) BackwardHead(op, starts[s], starts[s + 1] - starts[s], kv, room);
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
