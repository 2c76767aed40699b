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
#include "ops/cpu/transpose-inl.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

using V = hn::Vec<FullF32>;
constexpr int kLanes = hn::MaxLanes(FullF32());
constexpr int kNr = 2 * kLanes;
constexpr int kMr = kLanes >= 16 ? 14 : 6;
constexpr int kBlock = 64;  // queries and keys of one tile
// Finite, so that the exponential of what is far below any score is 0 and never NaN; a power of two, so that its
// product with a scale is exact and a tile without a visible key loses nothing against itself.
constexpr float kMasked = -0x1p100f;
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

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

// kRowStride: that of a where it is known beforehand, so that rows need no registers for their places; else 0.
template <int kRows, int kRowStride>
HWY_INLINE void ProductTile(const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride,
                            int64_t units, bool accumulate) {
  const FullF32 d;
  const int64_t row = kRowStride > 0 ? kRowStride : a.row;
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
      if (kRowStride > 0 && r % 2 == 0) {
        AddProduct(acc[r][0], x + r * row, b0);
        AddProduct(acc[r][1], x + r * row, b1);
        continue;
      }
      const V broadcast = hn::Set(d, x[r * row]);
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

template <int kRows, int kRowStride>
void ProductRows(int64_t rows, const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride,
                 int64_t units, bool accumulate) {
  if (rows == kRows) return ProductTile<kRows, kRowStride>(a, b, b_stride, c, c_stride, units, accumulate);
  if constexpr (kRows > 1) {
    ProductRows<kRows - 1, kRowStride>(rows, a, b, b_stride, c, c_stride, units, accumulate);
  }
}

void ProductRows(int64_t rows, const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride,
                 int64_t units, bool accumulate) {
  if (a.row == 1) return ProductRows<kMr, 1>(rows, a, b, b_stride, c, c_stride, units, accumulate);
  if (a.row == kBlock) return ProductRows<kMr, kBlock>(rows, a, b, b_stride, c, c_stride, units, accumulate);
  ProductRows<kMr, 0>(rows, a, b, b_stride, c, c_stride, units, accumulate);
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
      ProductRows(std::min<int64_t>(kMr, m - i), part, b + first * b_stride + j, b_stride, c + i * c_stride + j,
                  c_stride, last - first, accumulate);
    }
  }
}

void Transpose(const float* in, int64_t in_stride, int64_t rows, int64_t cols, float* out, int64_t out_stride) {
  TransposeUnits(reinterpret_cast<const uint32_t*>(in), in_stride, rows, cols, reinterpret_cast<uint32_t*>(out),
                 out_stride);
}

// Transposed queries, with zeros for those that a block lacks to n.
void TransposeQueries(const float* in, int64_t in_stride, int64_t nq, int64_t n, int64_t dim, float* out) {
  Transpose(in, in_stride, nq, dim, out, kBlock);
  for (int64_t i = 0; nq < n && i < dim; ++i) std::fill(out + i * kBlock + nq, out + i * kBlock + n, 0.0f);
}

// Rows of a head, dense or where they lie.
struct Rows {
  const float* data;
  int64_t stride;

  Rows From(int64_t row) const { return {data + row * stride, stride}; }
};

// Whether rows all meet in the same few sets of the L1 cache, which a stride of whole pages makes them do.
bool Collide(const Matrix& m) { return m.stride * static_cast<int64_t>(sizeof(float)) % 4096 == 0; }

// A dense copy in `room`, padded with zeros.
Rows CopyOf(const float* from, int64_t stride, int64_t rows, int64_t dim, int64_t padded, float* room) {
  const FullF32 d;
  for (int64_t r = 0; r < rows; ++r, from += stride) {
    float* to = room + r * padded;
    int64_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
    for (; i < dim; ++i) to[i] = from[i];
    for (; i < padded; ++i) to[i] = 0;
  }
  return {room, padded};
}

// Queries are panels of a product: in place where they are whole panels.
Rows Queries(const Matrix& m, const float* from, int64_t rows, int64_t dim, int64_t padded, float* room) {
  if (padded == dim && !Collide(m)) return {from, m.stride};
  return CopyOf(from, m.stride, rows, dim, padded, room);
}

// Keys and values are rows of a product: with a stride that is known beforehand where it serves, see ProductTile.
int64_t KeyStride(int64_t dim) { return std::max<int64_t>(dim, kBlock); }
int64_t KeyRoom(int64_t rows, int64_t dim) { return rows * KeyStride(dim); }

Rows Keys(const Matrix& m, const float* from, int64_t rows, int64_t dim, float* room) {
  if (dim > kBlock && !Collide(m)) return {from, m.stride};
  return CopyOf(from, m.stride, rows, dim, KeyStride(dim), room);
}

// Asks for rows [r0, r1) that are wanted soon.
void Prefetch(const float* data, int64_t stride, int64_t r0, int64_t r1, int64_t dim) {
  constexpr int64_t kLine = 16;
  for (int64_t r = r0; r < r1; ++r) {
    for (int64_t i = 0; i < dim; i += kLine) __builtin_prefetch(data + r * stride + i, 0, 2);
  }
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

// How the scores of a tile become probabilities: of key `key` at the first row, query `query` at the first column.
struct ScoreTile {
  float* scores;
  int64_t keys;
  int64_t key, query, window;
  float factor;  // from a product to an exponent of two
};

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

// Heads whose queries one task takes: they read the same keys and values.
constexpr int64_t kHeadsAtOnce = 4;

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
  Tickets tickets;
#pragma omp parallel num_threads(state.scratch.threads)
  {
    const Room room{reinterpret_cast<float*>(state.scratch.thread(ThreadIndex()))};
    int64_t index = 0, mine = -1;
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t length = starts[s + 1] - starts[s], blocks = (length - op.past + kBlock - 1) / kBlock;
      for (int64_t block = blocks - 1; block >= 0; --block) {  // the longest first
        for (int64_t h = 0, heads = 0; h < op.shape.heads; h += heads) {
          heads = std::min(kHeadsAtOnce, group - h % group);
          if (tickets.Mine(index++, &mine)) {
            ForwardBlock(op, starts[s], length, h, heads, op.past + block * kBlock, room);
          }
        }
      }
    }
  }
}

// The pieces a block of queries needs in the backward pass.
struct BackwardRoom {
  float *query, *query_t, *dout, *dout_t, *scores, *dscores, *dquery_t, *delta, *lse, *tile, *key, *value;
};

struct QueryBlock {
  Rows query, dout;
};

// delta = scale dout . out, and lse, of queries; lse as an exponent of two.
void LoadRowValues(const AttentionBackward& op, int64_t row, int64_t head, int64_t nq, const BackwardRoom& r) {
  const FullF32 d;
  const int64_t dim = op.shape.head_dim;
  for (int64_t j = 0; j < kBlock; j += 4) {
    const float *out[4], *dout[4];
    V sums[4];
    for (int64_t q = 0; q < 4; ++q) {
      const int64_t at = row + std::min(j + q, nq - 1);
      r.lse[j + q] = j + q < nq ? RawRow<const float>(op.lse, at)[head] * kLog2E : -kMasked;  // 2^(x + kMasked) is 0
      out[q] = RawRow<const float>(op.out, at) + head * dim;
      dout[q] = RawRow<const float>(op.dout, at) + head * dim;
      sums[q] = hn::Zero(d);
    }
    int64_t i = 0;
    for (; i + kLanes <= dim; i += kLanes) {
      for (int64_t q = 0; q < 4; ++q)
        sums[q] = hn::MulAdd(hn::LoadU(d, out[q] + i), hn::LoadU(d, dout[q] + i), sums[q]);
    }
    HWY_ALIGN float delta[4];
    hn::Store(FourSums(sums), hn::Full128<float>(), delta);
    for (; i < dim; ++i) {
      for (int64_t q = 0; q < 4; ++q) delta[q] += out[q][i] * dout[q][i];
    }
    for (int64_t q = 0; q < 4; ++q) r.delta[j + q] = op.shape.scale * delta[q];
  }
}

QueryBlock LoadQueries(const AttentionBackward& op, int64_t row, int64_t head, int64_t nq, int64_t n,
                       int64_t padded_dim, const BackwardRoom& r) {
  const int64_t dim = op.shape.head_dim;
  const QueryBlock block = {
      Queries(op.q, RawRow<const float>(op.q, row) + head * dim, nq, dim, padded_dim, r.query),
      Queries(op.dout, RawRow<const float>(op.dout, row) + head * dim, nq, dim, padded_dim, r.dout)};
  TransposeQueries(block.query.data, block.query.stride, nq, n, dim, r.query_t);
  TransposeQueries(block.dout.data, block.dout.stride, nq, n, dim, r.dout_t);
  std::fill(r.dquery_t, r.dquery_t + dim * kBlock, 0.0f);
  LoadRowValues(op, row, head, nq, r);
  return block;
}

// scores <- P, dscores <- scale P (dP - delta): the gradients of the products q k.
template <bool kIsMasked>
void ScoresToGradients(const BackwardRoom& r, const ScoreTile& t, int64_t n, float scale) {
  const FullF32 d;
  const V factor = hn::Set(d, t.factor), dscale = hn::Set(d, scale);
  for (int64_t j = 0; j < n; j += kNr) {
    const V lse[2] = {hn::Load(d, r.lse + j), hn::Load(d, r.lse + j + kLanes)};
    const V delta[2] = {hn::Load(d, r.delta + j), hn::Load(d, r.delta + j + kLanes)};
    for (int64_t i = 0; i < t.keys; ++i) {
      float* score = t.scores + i * kBlock + j;
      float* dscore = r.dscores + i * kBlock + j;
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        V p = FastExp2(d, hn::MulSub(hn::Load(d, score + v * kLanes), factor, lse[v]));
        V ds = hn::Mul(p, hn::MulSub(hn::Load(d, dscore + v * kLanes), dscale, delta[v]));
        if constexpr (kIsMasked) {
          const auto sees = Sees(t.key + i, t.query + j + v * kLanes, t.window);
          p = hn::IfThenElseZero(sees, p);
          ds = hn::IfThenElseZero(sees, ds);
        }
        hn::Store(p, d, score + v * kLanes);
        hn::Store(ds, d, dscore + v * kLanes);
      }
    }
  }
}

// sums (nk rows of dim) += a b, through a padded tile where the head dimension is not whole vectors.
void AddToSums(const Operand& a, const Rows& b, int64_t padded_dim, float* sums, int64_t stride, int64_t nk,
               int64_t dim, int64_t units, Causal causal, int64_t shift, float* tile) {
  if (padded_dim == dim) {
    return Product(a, b.data, b.stride, sums, stride, nk, dim, units, true, causal, shift);
  }
  Product(a, b.data, b.stride, tile, padded_dim, nk, padded_dim, units, false, causal, shift);
  for (int64_t i = 0; i < nk; ++i) {
    for (int64_t j = 0; j < dim; ++j) sums[i * stride + j] += tile[i * padded_dim + j];
  }
}

// Asks for a share of the rows of a block of queries that comes next: those of tile `index` of `tiles`.
void PrefetchQueries(const AttentionBackward& op, int64_t row, int64_t head, int64_t nq, int64_t index, int64_t tiles) {
  const int64_t r0 = nq * index / tiles, r1 = nq * (index + 1) / tiles;
  for (const Matrix& m : {op.q, op.out, op.dout}) {
    Prefetch(RawRow<const float>(m, row) + head * op.shape.head_dim, m.stride, r0, r1, op.shape.head_dim);
  }
}

constexpr int64_t kMostKeys = 320 << 10;  // floats of keys, and as many of values, that a thread's room takes at once

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
  // Of a whole sequence where there is room, for each head and each block of queries passes by them.
  const bool at_once = KeyRoom(length, dim) <= kMostKeys;
  for (float** piece : {&r.key, &r.value}) *piece = room.Take(KeyRoom(at_once ? length : kBlock, dim));
  const auto keys = [&](const Matrix& m, int64_t first, int64_t rows, float* piece) {
    return Keys(m, RawRow<const float>(m, begin + first) + kv * dim, rows, dim, piece);
  };
  Rows all_k{}, all_v{};
  if (at_once) {
    all_k = keys(op.k, 0, length, r.key);
    all_v = keys(op.v, 0, length, r.value);
  }
  for (int64_t t = 0; t < length; ++t) {
    std::fill_n(RawRow<float>(op.dk_sum, begin + t) + kv * dim, dim, 0.0f);
    std::fill_n(RawRow<float>(op.dv_sum, begin + t) + kv * dim, dim, 0.0f);
  }
  for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
    for (int64_t q0 = 0; q0 < length; q0 += kBlock) {
      const int64_t nq = std::min<int64_t>(kBlock, length - q0), n = (nq + kNr - 1) / kNr * kNr;
      const QueryBlock block = LoadQueries(op, begin + q0, head, nq, n, padded, r);
      const bool ends = q0 + kBlock >= length;
      const int64_t next_q0 = ends ? 0 : q0 + kBlock, next_head = ends ? head + 1 : head;
      const int64_t first = visibility.FirstKey(q0) / kBlock, last = (q0 + nq + kBlock - 1) / kBlock;  // tiles
      for (int64_t k_tile = first; k_tile < last; ++k_tile) {
        if (next_head < (kv + 1) * group) {
          PrefetchQueries(op, begin + next_q0, next_head, std::min<int64_t>(kBlock, length - next_q0), k_tile - first,
                          last - first);
        }
        const int64_t k0 = k_tile * kBlock, nk = std::min<int64_t>(kBlock, length - k0), shift = q0 - k0;
        const bool diagonal = k0 + nk - 1 > q0;
        const auto scores_part = diagonal ? Causal::kScores : Causal::kDense;
        const auto query_part = diagonal ? Causal::kReducesQueries : Causal::kDense;
        const Rows k = at_once ? all_k.From(k0) : keys(op.k, k0, nk, r.key);
        const Rows v = at_once ? all_v.From(k0) : keys(op.v, k0, nk, r.value);
        Product({k.data, k.stride, 1}, r.query_t, kBlock, r.scores, kBlock, nk, n, dim, false, scores_part, shift);
        Product({v.data, v.stride, 1}, r.dout_t, kBlock, r.dscores, kBlock, nk, n, dim, false, scores_part, shift);
        const ScoreTile tile{r.scores, nk, k0, q0, s.window, s.scale * kLog2E};
        visibility.NeedsMask(q0, nq, k0, nk) ? ScoresToGradients<true>(r, tile, n, s.scale)
                                             : ScoresToGradients<false>(r, tile, n, s.scale);
        AddToSums({r.scores, kBlock, 1}, block.dout, padded, RawRow<float>(op.dv_sum, begin + k0) + kv * dim,
                  op.dv_sum.stride, nk, dim, nq, query_part, shift, r.tile);
        AddToSums({r.dscores, kBlock, 1}, block.query, padded, RawRow<float>(op.dk_sum, begin + k0) + kv * dim,
                  op.dk_sum.stride, nk, dim, nq, query_part, shift, r.tile);
        Product({k.data, 1, k.stride}, r.dscores, kBlock, r.dquery_t, kBlock, dim, n, nk, true,
                diagonal ? Causal::kReducesKeys : Causal::kDense, shift);
      }
      Transpose(r.dquery_t, kBlock, dim, nq, RawRow<float>(op.dq, begin + q0) + head * dim, op.dq.stride);
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
