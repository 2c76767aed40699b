// What f32 attention is made of, forward and backward: one small product, C = A B with rows of A broadcast and 64
// queries in the lanes, and the rows it reads. Scores are kept transposed, keys down and queries across: then the
// softmax runs down the columns without shuffles, and the probabilities are already in the layout the next product
// wants. Included once for each Highway target, so there is no ordinary include guard.
#if defined(ATTUNE_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_ATTENTION_TILE_INL_H_
#undef ATTUNE_ATTENTION_TILE_INL_H_
#else
#define ATTUNE_ATTENTION_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "ops/cpu/attention_kernel.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/scratch.h"
#include "ops/cpu/transpose-inl.h"
#include "ops/cpu/vector-inl.h"
#include "tensor/matrix.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

constexpr int kNr = 2 * kLanes;
constexpr int kMr = kLanes >= 16 ? 14 : 6;
constexpr int kBlock = 64;        // queries and keys of one tile
constexpr int kWideStride = 128;  // of rows of heads wider than a tile
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

// Any number of rows, with any stride.
template <int kRows>
void SomeRows(int64_t rows, const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride,
              int64_t units, bool accumulate) {
  if (rows == kRows) return ProductTile<kRows, 0>(a, b, b_stride, c, c_stride, units, accumulate);
  if constexpr (kRows > 1) SomeRows<kRows - 1>(rows, a, b, b_stride, c, c_stride, units, accumulate);
}

// What whole blocks are made of has kernels of its own.
template <int kRowStride>
void ProductRows(int64_t rows, const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride,
                 int64_t units, bool accumulate) {
  constexpr int kLast = kBlock % kMr;
  if (rows == kMr) return ProductTile<kMr, kRowStride>(a, b, b_stride, c, c_stride, units, accumulate);
  if (rows == kLast) return ProductTile<kLast, kRowStride>(a, b, b_stride, c, c_stride, units, accumulate);
  SomeRows<kMr>(rows, a, b, b_stride, c, c_stride, units, accumulate);
}

// c (m, n) = or += a (m, k) b (k, n); n is a multiple of kNr.
void Product(const Operand& a, const float* b, int64_t b_stride, float* c, int64_t c_stride, int64_t m, int64_t n,
             int64_t k, bool accumulate, Causal causal, int64_t shift) {
  const auto product = a.row == 1             ? ProductRows<1>
                       : a.row == kBlock      ? ProductRows<kBlock>
                       : a.row == kWideStride ? ProductRows<kWideStride>
                                              : ProductRows<0>;
  for (int64_t j = 0; j < n; j += kNr) {
    for (int64_t i = 0; i < m; i += kMr) {
      int64_t first = 0, last = k;
      if (causal == Causal::kScores && i > j + kNr - 1 + shift) break;
      if (causal == Causal::kReducesKeys) last = std::min(k, j + kNr + shift);
      if (causal == Causal::kReducesQueries) first = std::min(k, std::max<int64_t>(0, i - shift));
      const Operand part{a.data + i * a.row + first * a.unit, a.row, a.unit};
      product(std::min<int64_t>(kMr, m - i), part, b + first * b_stride + j, b_stride, c + i * c_stride + j, c_stride,
              last - first, accumulate);
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
  if (padded == dim && !RowsCollide(m.dtype, m.stride)) return {from, m.stride};
  return CopyOf(from, m.stride, rows, dim, padded, room);
}

// Keys and values are rows of a product: with one of the strides that it has kernels for.
int64_t KeyStride(int64_t dim) { return dim <= kBlock ? kBlock : std::max<int64_t>(dim, kWideStride); }
int64_t KeyRoom(int64_t rows, int64_t dim) { return rows * KeyStride(dim); }

Rows Keys(const Matrix& m, const float* from, int64_t rows, int64_t dim, float* room) {
  if (dim > kWideStride && !RowsCollide(m.dtype, m.stride)) return {from, m.stride};
  return CopyOf(from, m.stride, rows, dim, KeyStride(dim), room);
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

constexpr int64_t kRoomFloats = kThreadScratchBytes / static_cast<int64_t>(sizeof(float));
// A block of the widest head fits the room in both passes, keys and values included.
static_assert(8 * kBlock * kMaxHeadDim + 2 * kBlock * kBlock + 2 * kBlock <= kRoomFloats);

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

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#endif
