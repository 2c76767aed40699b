// Blockwise attention on bf16 products, written once over a tiny vector type (see gemm_bf16-inl.h): included
// by exactly two files, everything here internal to them. A unit is two neighbouring bf16 of a reduction.
//
// All products have one form: rows of A broadcast, a block of 64 columns of B in the lanes. Scores are kept
// transposed, keys down and queries across. So the softmax runs down the columns without shuffles; two rows
// of probabilities zip into the units that the next product wants as B; and a row of them is, as it lies, a
// row of A for the product over queries. Keys and values are brought into these forms once for a block and
// serve several blocks of queries.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/cpu/attention_kernel.h"
#include "ops/cpu/attention_layout-inl.h"
#include "ops/cpu/coarse_exp2.h"
#include "ops/cpu/scratch.h"

namespace {

using attune::AttentionBackwardGroup;
using attune::AttentionForwardGroup;
using attune::AttentionGroup;
using attune::AttentionKernel;

constexpr int kTileRows = 14;      // 28 accumulators, two vectors of B and one of A: 31 of 32 registers
constexpr float kMasked = -1e30f;  // finite, so that what is masked becomes 0 and never NaN
constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;
constexpr int64_t kForwardItems = 8, kMaxBackwardItems = 8;
constexpr int64_t kBackwardItemBytes = 640 * 1024;  // of all items together: most of a second-level cache

// Which part of a product over a tile on the diagonal can be non-zero. Key i and query j are visible to each
// other when i <= j + shift.
enum class Causal {
  kDense,           // everything
  kScores,          // rows are keys, columns queries: tiles wholly above the diagonal are left unwritten
  kReducesKeys,     // columns are queries, the reduction runs over keys
  kReducesQueries,  // rows are keys, the reduction runs over queries
};

enum class Into {
  kWrite,    // c = alpha a b
  kAdd,      // c = c + alpha a b
  kRescale,  // c = c * factors (one a column) + alpha a b
};

struct Product {
  const uint32_t* a;
  int64_t a_stride;
  const uint32_t* b;
  int64_t b_stride;
  float* c;
  int64_t c_stride;
  int64_t m, n, units;  // n is a multiple of kTileCols
  Into into = Into::kWrite;
  float alpha = 1.0f;
  const float* factors = nullptr;
};

// kStride: that of a where it is known beforehand, so that rows need no registers for their places; else 0.
template <class Simd, int kRows, int kStride>
void ProductTile(const Product& p, const uint32_t* a, const uint32_t* b, int64_t units, float* c,
                 const float* factors) {
  typename Simd::Acc acc[kRows][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = Simd::Zero();
  const int64_t a_stride = kStride > 0 ? kStride : p.a_stride, b_stride = p.b_stride, c_stride = p.c_stride;
  for (int64_t u = 0; u < units; ++u, ++a, b += b_stride) {
    const typename Simd::Pairs b0 = Simd::LoadPairs(b), b1 = Simd::LoadPairs(b + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename Simd::Pairs x = Simd::Broadcast(a[r * a_stride]);
      acc[r][0] = Simd::Dot(acc[r][0], x, b0);
      acc[r][1] = Simd::Dot(acc[r][1], x, b1);
    }
  }
  const typename Simd::Acc alpha = Simd::Set(p.alpha);
  if (p.into == Into::kWrite) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r, c += c_stride) {
      Simd::Store(Simd::Mul(acc[r][0], alpha), c);
      Simd::Store(Simd::Mul(acc[r][1], alpha), c + kLanes);
    }
    return;
  }
  const bool rescales = p.into == Into::kRescale;
  const typename Simd::Acc first = rescales ? Simd::Load(factors) : Simd::Set(1.0f),
                           second = rescales ? Simd::Load(factors + kLanes) : first;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r, c += c_stride) {
    Simd::Store(Simd::MulAdd(acc[r][0], alpha, Simd::Mul(Simd::Load(c), first)), c);
    Simd::Store(Simd::MulAdd(acc[r][1], alpha, Simd::Mul(Simd::Load(c + kLanes), second)), c + kLanes);
  }
}

// Any number of rows, with any stride.
template <class Simd, int kRows>
void SomeRows(int64_t rows, const Product& p, const uint32_t* a, const uint32_t* b, int64_t units, float* c,
              const float* factors) {
  if (rows == kRows) return ProductTile<Simd, kRows, 0>(p, a, b, units, c, factors);
  if constexpr (kRows > 1) SomeRows<Simd, kRows - 1>(rows, p, a, b, units, c, factors);
}

// What whole blocks of heads of 64 are made of has kernels of its own.
template <class Simd>
void ProductRows(int64_t rows, const Product& p, const uint32_t* a, const uint32_t* b, int64_t units, float* c,
                 const float* factors) {
  constexpr int kTiles = (kBlock + kTileRows - 1) / kTileRows, kMost = (kBlock + kTiles - 1) / kTiles,
                kLast = kBlock - (kTiles - 1) * kMost;
  if (p.a_stride == kPairs && rows == kMost) return ProductTile<Simd, kMost, kPairs>(p, a, b, units, c, factors);
  if (p.a_stride == kPairs && rows == kLast) return ProductTile<Simd, kLast, kPairs>(p, a, b, units, c, factors);
  SomeRows<Simd, kTileRows>(rows, p, a, b, units, c, factors);
}

template <class Simd>
void Multiply(const Product& p, Causal causal, int64_t shift) {
  const int64_t tiles = (p.m + kTileRows - 1) / kTileRows;
  const int64_t rows = (p.m + tiles - 1) / tiles;  // even tiles: a short last one could not hide the latency
  for (int64_t j = 0; j < p.n; j += kTileCols) {
    for (int64_t i = 0; i < p.m; i += rows) {
      int64_t first = 0, last = p.units;
      if (causal == Causal::kScores && i > j + kTileCols - 1 + shift) break;
      if (causal == Causal::kReducesKeys) last = Clamp((j + kTileCols + shift + 1) / 2, 0, p.units);
      if (causal == Causal::kReducesQueries) first = Clamp((i - shift) / 2, 0, p.units);
      ProductRows<Simd>(Smaller(rows, p.m - i), p, p.a + i * p.a_stride + first, p.b + first * p.b_stride + j,
                        last - first, p.c + i * p.c_stride + j, p.factors + (p.factors != nullptr ? j : 0));
    }
  }
}

// 2^x for x <= 128, 0 where x is far below zero; relative error 3e-6, a hundredth of what bf16 keeps.
template <class Simd>
inline typename Simd::Acc Exp2(typename Simd::Acc x) {
  const typename Simd::Acc whole = Simd::Round(x), f = Simd::Sub(x, whole);
  typename Simd::Acc y = Simd::Set(attune::kCoarseExp2[0]);
  for (int i = 1; i < 5; ++i) y = Simd::MulAdd(y, f, Simd::Set(attune::kCoarseExp2[i]));
  return Simd::TimesPowerOfTwo(y, whole);
}

// A tile of scores: `nk` keys from k0 down, `nq` queries from q0 across, of which the vectors up to n are
// computed.
struct Sight {
  int64_t q0, nq, k0, nk, window;

  int64_t n() const { return (nq + kTileCols - 1) / kTileCols * kTileCols; }
  int64_t shift() const { return q0 - k0; }
  bool diagonal() const { return k0 + nk - 1 > q0; }
  bool masked() const { return diagonal() || (window > 0 && q0 + nq - 1 - k0 >= window); }
  Causal IfDiagonal(Causal part) const { return diagonal() ? part : Causal::kDense; }

  // Keys of the tile that can be visible to a query of lanes [j, j + kLanes).
  int64_t Rows(int64_t j) const { return Clamp(j + kLanes + shift(), 0, nk); }

  // Which of the queries [j, j + kLanes) see key i.
  uint16_t Bits(int64_t i, int64_t j) const {
    const int64_t distance = q0 + j - (k0 + i);  // of the first lane
    uint32_t bits = 0xffffu << Clamp(-distance, 0, kLanes);
    if (window > 0) bits &= (1u << Clamp(window - distance, 0, kLanes)) - 1;
    return static_cast<uint16_t>(bits);
  }
};

// Which items see a block of keys, and which blocks of keys a query sees.
struct Items {
  const AttentionGroup& g;

  int64_t Count() const { return (g.length - g.past + kBlock - 1) / kBlock * g.group; }
  int64_t Query(int64_t item) const { return g.past + item / g.group * kBlock; }
  int64_t FirstBlock(int64_t item) const {
    return g.window > 0 ? Clamp(Query(item) - g.window + 1, 0, g.length) / kBlock * kBlock : 0;
  }
  int64_t EndOfQueries(int64_t item) const { return Smaller(Query(item) + kBlock, g.length); }
  Sight At(int64_t item, int64_t k0) const {
    return {Query(item), EndOfQueries(item) - Query(item), k0, Smaller(kBlock, g.length - k0), g.window};
  }
};

struct ForwardItem {
  uint32_t* query_t;  // (units, 64)
  float* out_t;       // (2 units, 64)
  float *max, *sum;   // of each query, in powers of two

  static int64_t Units(int64_t units) { return 3 * units * kBlock + 2 * kBlock; }
  ForwardItem(uint32_t* room, int64_t units)
      : query_t(room),
        out_t(reinterpret_cast<float*>(room + units * kBlock)),
        max(out_t + 2 * units * kBlock),
        sum(max + kBlock) {}
};

// Hides the scores of a vector of queries that must not be seen.
template <class Simd>
void MaskScores(const Sight& sight, int64_t j, float* scores) {
  for (int64_t i = 0; i < sight.Rows(j); ++i) {
    const uint16_t bits = sight.Bits(i, j);
    float* at = scores + i * kBlock + j;
    if (bits != 0xffff) Simd::Store(Simd::Select(bits, Simd::Load(at), Simd::Set(kMasked)), at);
  }
}

// Scores (scaled by log2 e) -> probabilities not yet divided by their sum, as units of two keys. Brings max
// and sum up to date; factors are what earlier sums have to be multiplied by.
template <class Simd>
void Softmax(const Sight& sight, bool fresh, float* scores, const ForwardItem& item, float* factors, uint32_t* p) {
  using Acc = typename Simd::Acc;
  const bool masked = sight.masked();
  for (int64_t j = 0; j < sight.n(); j += kLanes) {
    const int64_t rows = sight.Rows(j);
    const Acc before = fresh ? Simd::Set(kMasked) : Simd::Load(item.max + j);
    if (masked) MaskScores<Simd>(sight, j, scores);
    Acc even = before, odd = before;  // two chains, for each waits on itself
    for (int64_t i = 0; i + 1 < rows; i += 2) {
      even = Simd::Max(even, Simd::Load(scores + i * kBlock + j));
      odd = Simd::Max(odd, Simd::Load(scores + (i + 1) * kBlock + j));
    }
    if (rows % 2 != 0) even = Simd::Max(even, Simd::Load(scores + (rows - 1) * kBlock + j));
    const Acc top = Simd::Max(even, odd);
    Acc total = Simd::Zero();
    int64_t i = 0;
    for (; i + 1 < rows; i += 2) {
      const float* at = scores + i * kBlock + j;
      const Acc low = Exp2<Simd>(Simd::Sub(Simd::Load(at), top));
      const Acc high = Exp2<Simd>(Simd::Sub(Simd::Load(at + kBlock), top));
      total = Simd::Add(total, Simd::Add(low, high));
      Simd::StorePairs(Simd::Interleave(Simd::Narrow(low, high)), p + i / 2 * kBlock + j);
    }
    if (i < rows) {
      const Acc low = Exp2<Simd>(Simd::Sub(Simd::Load(scores + i * kBlock + j), top));
      total = Simd::Add(total, low);
      Simd::StorePairs(Simd::Interleave(Simd::Narrow(low, Simd::Zero())), p + i / 2 * kBlock + j);
      i += 2;
    }
    for (; i < sight.nk; i += 2) Simd::StorePairs(Simd::Broadcast(0), p + i / 2 * kBlock + j);
    const Acc factor = Exp2<Simd>(Simd::Sub(before, top));
    Simd::Store(factor, factors + j);
    Simd::Store(top, item.max + j);
    Simd::Store(fresh ? total : Simd::MulAdd(Simd::Load(item.sum + j), factor, total), item.sum + j);
  }
}

// rows (nq of dim) <- the transpose of `columns` (2 units, 64), column j times factors[j].
template <class Simd>
void StoreTransposed(const float* columns, const float* factors, int64_t nq, int64_t dim, uint32_t* zipped,
                     uint32_t* dense, uint16_t* rows, int64_t stride) {
  const int64_t units = (dim + 1) / 2;
  for (int64_t j = 0; j < kBlock; j += kLanes) {
    const typename Simd::Acc factor = Simd::Load(factors + j);
    for (int64_t u = 0; u < units; ++u) {
      const float* at = columns + 2 * u * kBlock + j;
      const auto halves = Simd::Narrow(Simd::Mul(Simd::Load(at), factor), Simd::Mul(Simd::Load(at + kBlock), factor));
      Simd::StorePairs(Simd::Interleave(halves), zipped + u * kBlock + j);
    }
  }
  TransposeUnits(zipped, kBlock, units, kBlock, dense, units);
  for (int64_t j = 0; j < nq; ++j) {
    std::memcpy(rows + j * stride, dense + j * units, static_cast<size_t>(dim) * sizeof(uint16_t));
  }
}

template <class Simd>
void Forward(const AttentionForwardGroup& g, int64_t first_item, int64_t count, std::byte* scratch) {
  const int64_t dim = g.head_dim, units = (dim + 1) / 2;
  const Items items{g};
  Room room(scratch);
  uint32_t* dense = room.Units(kBlock * units);        // rows as units along the head
  uint32_t* zipped = room.Units(kBlock * units);       // (32, 2 units): units of two rows
  uint32_t* value_t = room.Units(2 * units * kPairs);  // (2 units, 32): V transposed, units of two keys
  uint32_t* p = room.Units(kPairs * kBlock);
  float* scores = room.Floats(kBlock * kBlock);
  float* factors = room.Floats(kBlock);
  uint32_t* states = room.Units(count * ForwardItem::Units(units));
  const auto state = [&](int64_t item) {
    return ForwardItem(states + (item - first_item) * ForwardItem::Units(units), units);
  };
  const int64_t end_item = first_item + count;
  for (int64_t item = first_item; item < end_item; ++item) {
    const int64_t q0 = items.Query(item), nq = items.EndOfQueries(item) - q0;
    CopyRows(g.q.data + (q0 - g.past) * g.q.stride + item % g.group * dim, g.q.stride, nq, dim, dense);
    TransposeUnits(dense, units, kBlock, units, state(item).query_t, kBlock);
  }
  const int64_t end_key = items.EndOfQueries(end_item - 1);
  for (int64_t k0 = items.FirstBlock(first_item); k0 < end_key; k0 += kBlock) {
    const int64_t nk = Smaller(kBlock, g.length - k0);
    CopyRows(g.v.data + k0 * g.v.stride, g.v.stride, nk, dim, dense);
    ZipRows<Simd>(dense, 2 * units, zipped, 2 * units);
    TransposeUnits(zipped, 2 * units, kPairs, 2 * units, value_t, kPairs);
    CopyRows(g.k.data + k0 * g.k.stride, g.k.stride, nk, dim, dense);
    for (int64_t item = first_item; item < end_item; ++item) {
      const int64_t first_block = items.FirstBlock(item);
      if (k0 < first_block || k0 >= items.EndOfQueries(item)) continue;
      const Sight sight = items.At(item, k0);
      const ForwardItem s = state(item);
      const bool fresh = k0 == first_block;
      Multiply<Simd>(
          {dense, units, s.query_t, kBlock, scores, kBlock, nk, sight.n(), units, Into::kWrite, g.scale * kLog2E},
          sight.IfDiagonal(Causal::kScores), sight.shift());
      Softmax<Simd>(sight, fresh, scores, s, factors, p);
      Multiply<Simd>({value_t, kPairs, p, kBlock, s.out_t, kBlock, 2 * units, sight.n(), (nk + 1) / 2,
                      fresh ? Into::kWrite : Into::kRescale, 1.0f, factors},
                     sight.IfDiagonal(Causal::kReducesKeys), sight.shift());
    }
  }
  for (int64_t item = first_item; item < end_item; ++item) {
    const ForwardItem s = state(item);
    const int64_t row = items.Query(item) - g.past, head = item % g.group;
    const int64_t nq = items.EndOfQueries(item) - items.Query(item);
    for (int64_t j = 0; j < nq; ++j) factors[j] = 1.0f / s.sum[j];
    for (int64_t j = nq; j < kBlock; ++j) factors[j] = 0;
    StoreTransposed<Simd>(s.out_t, factors, nq, dim, zipped, dense, g.out.data + row * g.out.stride + head * dim,
                          g.out.stride);
    if (g.lse.data == nullptr) continue;
    for (int64_t j = 0; j < nq; ++j) {
      g.lse.data[(row + j) * g.lse.stride + head] = s.max[j] * kLn2 + __builtin_logf(s.sum[j]);
    }
  }
}

struct BackwardItem {
  uint32_t *query_t, *dout_t;  // (units, 64)
  uint32_t *query, *dout;      // (32, padded): units of two queries
  float* dquery_t;             // (2 units, 64)
  float *lse, *delta;          // of each query; lse in powers of two

  static int64_t Units(int64_t units, int64_t padded) { return 4 * units * kBlock + 2 * kPairs * padded + 2 * kBlock; }
  BackwardItem(uint32_t* room, int64_t units, int64_t padded)
      : query_t(room),
        dout_t(query_t + units * kBlock),
        query(dout_t + units * kBlock),
        dout(query + kPairs * padded),
        dquery_t(reinterpret_cast<float*>(dout + kPairs * padded)),
        lse(dquery_t + 2 * units * kBlock),
        delta(lse + kBlock) {}
};

// What the backward pass of a group works in.
struct BackwardRoom {
  uint32_t *keys, *values;  // (64, units)
  uint32_t* keys_t;         // (2 units, 32): units of two keys
  uint32_t* zipped;         // (32, 2 units), or (units, 64)
  uint32_t *p, *ds;         // (64, 32): probabilities and score gradients, units of two queries
  uint32_t* ds_pairs;       // (32, 64): score gradients, units of two keys
  float *scores, *dscores;  // (64, 64)
  float *dkey, *dvalue;     // (64, padded)
  float* factors;
  uint32_t* states;

  BackwardRoom(std::byte* scratch, int64_t units, int64_t padded) {
    Room room(scratch);
    keys = room.Units(kBlock * units);
    values = room.Units(kBlock * units);
    zipped = room.Units(kBlock * units);
    keys_t = room.Units(2 * units * kPairs);
    p = room.Units(kPairs * kBlock);
    ds = room.Units(kPairs * kBlock);
    ds_pairs = room.Units(kPairs * kBlock);
    scores = room.Floats(kBlock * kBlock);
    dscores = room.Floats(kBlock * kBlock);
    dkey = room.Floats(kBlock * padded);
    dvalue = room.Floats(kBlock * padded);
    factors = room.Floats(kBlock);
    states = room.Units(0);
  }
};

// Brings the queries of an item, their output and its gradient into the forms the products want.
template <class Simd>
void LoadItem(const AttentionBackwardGroup& g, int64_t item, const BackwardRoom& r, int64_t padded,
              const BackwardItem& s) {
  const Items items{g};
  const int64_t dim = g.head_dim, units = (dim + 1) / 2, row = items.Query(item), column = item % g.group * dim;
  const int64_t nq = items.EndOfQueries(item) - row;
  CopyRows(g.q.data + row * g.q.stride + column, g.q.stride, nq, dim, r.keys);
  TransposeUnits(r.keys, units, kBlock, units, s.query_t, kBlock);
  ZipRows<Simd>(r.keys, 2 * units, s.query, padded);
  CopyRows(g.dout.data + row * g.dout.stride + column, g.dout.stride, nq, dim, r.keys);
  TransposeUnits(r.keys, units, kBlock, units, s.dout_t, kBlock);
  ZipRows<Simd>(r.keys, 2 * units, s.dout, padded);
  CopyRows(g.out.data + row * g.out.stride + column, g.out.stride, nq, dim, r.keys);
  TransposeUnits(r.keys, units, kBlock, units, r.zipped, kBlock);
  for (int64_t j = 0; j < kBlock; j += kLanes) {
    typename Simd::Acc sum = Simd::Zero();
    for (int64_t u = 0; u < units; ++u) {
      sum = Simd::Dot(sum, Simd::LoadPairs(r.zipped + u * kBlock + j), Simd::LoadPairs(s.dout_t + u * kBlock + j));
    }
    Simd::Store(sum, s.delta + j);
  }
  for (int64_t j = 0; j < kBlock; ++j) {
    s.lse[j] = j < nq ? g.lse.data[(row + j) * g.lse.stride + item % g.group] * kLog2E : -kMasked;
  }
}

// From scores and dP: P, and dS = P (dP - delta), in the forms the products want.
template <class Simd>
void ScoresToGradients(const Sight& sight, float scale, const BackwardRoom& r, const BackwardItem& s) {
  using Acc = typename Simd::Acc;
  const bool masked = sight.masked();
  const Acc factor = Simd::Set(scale * kLog2E);
  for (int64_t j = 0; j < sight.n(); j += kLanes) {
    const int64_t rows = sight.Rows(j);
    const Acc lse = Simd::Load(s.lse + j), delta = Simd::Load(s.delta + j);
    uint32_t* p = r.p + j / 2;
    uint32_t* ds = r.ds + j / 2;
    for (int64_t i = 0; i < sight.nk; i += 2) {
      Acc probability[2] = {Simd::Zero(), Simd::Zero()}, gradient[2] = {Simd::Zero(), Simd::Zero()};
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        if (i + h >= rows) break;
        const int64_t at = (i + h) * kBlock + j;
        const uint16_t bits = masked ? sight.Bits(i + h, j) : 0xffff;
        const Acc x = Exp2<Simd>(Simd::MulSub(Simd::Load(r.scores + at), factor, lse));
        const Acc dx = Simd::Mul(x, Simd::Sub(Simd::Load(r.dscores + at), delta));
        probability[h] = Simd::Select(bits, x, Simd::Zero());
        gradient[h] = Simd::Select(bits, dx, Simd::Zero());
      }
      const auto narrow_p = Simd::Narrow(probability[0], probability[1]);
      const auto narrow_ds = Simd::Narrow(gradient[0], gradient[1]);
      Simd::StoreHalves(narrow_p, p + i * kPairs, p + (i + 1) * kPairs);
      Simd::StoreHalves(narrow_ds, ds + i * kPairs, ds + (i + 1) * kPairs);
      Simd::StorePairs(Simd::Interleave(narrow_ds), r.ds_pairs + i / 2 * kBlock + j);
    }
  }
}

// One item against one block of keys. `first` of the block's items: the sums of keys and values start here.
template <class Simd>
void BackwardTile(const Sight& sight, float scale, int64_t units, int64_t padded, bool fresh, bool first,
                  const BackwardRoom& r, const BackwardItem& s) {
  const int64_t n = sight.n(), nk = sight.nk, shift = sight.shift();
  const Causal scores = sight.IfDiagonal(Causal::kScores), queries = sight.IfDiagonal(Causal::kReducesQueries);
  Multiply<Simd>({r.keys, units, s.query_t, kBlock, r.scores, kBlock, nk, n, units}, scores, shift);
  Multiply<Simd>({r.values, units, s.dout_t, kBlock, r.dscores, kBlock, nk, n, units}, scores, shift);
  ScoresToGradients<Simd>(sight, scale, r, s);
  const Into into = first ? Into::kWrite : Into::kAdd;
  Multiply<Simd>({r.p, kPairs, s.dout, padded, r.dvalue, padded, nk, padded, n / 2, into}, queries, shift);
  Multiply<Simd>({r.ds, kPairs, s.query, padded, r.dkey, padded, nk, padded, n / 2, into, scale}, queries, shift);
  Multiply<Simd>({r.keys_t, kPairs, r.ds_pairs, kBlock, s.dquery_t, kBlock, 2 * units, n, (nk + 1) / 2,
                  fresh ? Into::kWrite : Into::kAdd},
                 sight.IfDiagonal(Causal::kReducesKeys), shift);
}

// Items [first_item, end_item) against all the keys they see.
template <class Simd>
void BackwardItems(const AttentionBackwardGroup& g, int64_t first_item, int64_t end_item, int64_t padded,
                   const BackwardRoom& r) {
  const int64_t dim = g.head_dim, units = (dim + 1) / 2;
  const Items items{g};
  const auto state = [&](int64_t item) {
    return BackwardItem(r.states + (item - first_item) * BackwardItem::Units(units, padded), units, padded);
  };
  for (int64_t item = first_item; item < end_item; ++item) LoadItem<Simd>(g, item, r, padded, state(item));
  const int64_t end_key = items.EndOfQueries(end_item - 1);
  for (int64_t k0 = items.FirstBlock(first_item); k0 < end_key; k0 += kBlock) {
    const int64_t nk = Smaller(kBlock, g.length - k0);
    CopyRows(g.k.data + k0 * g.k.stride, g.k.stride, nk, dim, r.keys);
    ZipRows<Simd>(r.keys, 2 * units, r.zipped, 2 * units);
    TransposeUnits(r.zipped, 2 * units, kPairs, 2 * units, r.keys_t, kPairs);
    CopyRows(g.v.data + k0 * g.v.stride, g.v.stride, nk, dim, r.values);
    bool first = true;
    for (int64_t item = first_item; item < end_item; ++item) {
      const int64_t first_block = items.FirstBlock(item);
      if (k0 < first_block || k0 >= items.EndOfQueries(item)) continue;
      BackwardTile<Simd>(items.At(item, k0), g.scale, units, padded, k0 == first_block, first, r, state(item));
      first = false;
    }
    if (first) continue;
    AddRows<Simd>(r.dkey, padded, nk, dim, g.dk_sum.data + k0 * g.dk_sum.stride, g.dk_sum.stride);
    AddRows<Simd>(r.dvalue, padded, nk, dim, g.dv_sum.data + k0 * g.dv_sum.stride, g.dv_sum.stride);
  }
  for (int64_t j = 0; j < kBlock; ++j) r.factors[j] = g.scale;
  for (int64_t item = first_item; item < end_item; ++item) {
    const int64_t row = items.Query(item), nq = items.EndOfQueries(item) - row;
    StoreTransposed<Simd>(state(item).dquery_t, r.factors, nq, dim, r.zipped, r.keys,
                          g.dq.data + row * g.dq.stride + item % g.group * dim, g.dq.stride);
  }
}

template <class Simd>
void Backward(const AttentionBackwardGroup& g, std::byte* scratch) {
  const int64_t dim = g.head_dim, units = (dim + 1) / 2, padded = (dim + kTileCols - 1) / kTileCols * kTileCols;
  const BackwardRoom room(scratch, units, padded);
  for (int64_t t = 0; t < g.length; ++t) {
    std::memset(g.dk_sum.data + t * g.dk_sum.stride, 0, static_cast<size_t>(dim) * sizeof(float));
    std::memset(g.dv_sum.data + t * g.dv_sum.stride, 0, static_cast<size_t>(dim) * sizeof(float));
  }
  const int64_t fitting = kBackwardItemBytes / (BackwardItem::Units(units, padded) * 4);
  const int64_t together = Clamp(fitting, 1, kMaxBackwardItems), count = Items{g}.Count();
  for (int64_t item = 0; item < count; item += together) {
    BackwardItems<Simd>(g, item, Smaller(item + together, count), padded, room);
  }
}

// The largest head fits a thread's scratch.
constexpr int64_t kMaxUnits = attune::kMaxHeadDim / 2, kTileUnits = kBlock * kBlock;
static_assert((2 * kBlock * kMaxUnits + 2 * kMaxUnits * kPairs + 2 * kTileUnits + kBlock +
               kForwardItems * (3 * kMaxUnits * kBlock + 2 * kBlock)) *
                  4 <=
              attune::kThreadScratchBytes);
static_assert((3 * kBlock * kMaxUnits + 2 * kMaxUnits * kPairs + 4 * kTileUnits + 2 * kBlock * attune::kMaxHeadDim +
               kBlock + 4 * kMaxUnits * kBlock + 2 * kPairs * attune::kMaxHeadDim + 2 * kBlock) *
                      4 +
                  kBackwardItemBytes <=
              attune::kThreadScratchBytes);

template <class Simd>
const AttentionKernel* AttentionKernelOf() {
  static const AttentionKernel kernel = {kBlock, kForwardItems, Forward<Simd>, Backward<Simd>};
  return &kernel;
}

}  // namespace
