// The backward pass of f32 attention: probabilities are made again from the scores and what the forward pass left of
// each row. Compiled once for each Highway target, by attention.cc.
#include "ops/cpu/attention_tile-inl.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/tickets.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

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
  constexpr int64_t kLine = 16;
  const int64_t dim = op.shape.head_dim;
  for (const Matrix& m : {op.q, op.out, op.dout}) {
    for (int64_t r = nq * index / tiles; r < nq * (index + 1) / tiles; ++r) {
      const float* from = RawRow<const float>(m, row + r) + head * dim;
      for (int64_t i = 0; i < dim; i += kLine) __builtin_prefetch(from + i, 0, 2);
    }
  }
}

// All queries of one key/value head of one sequence, backward.
void BackwardHead(const AttentionBackward& op, int64_t begin, int64_t length, int64_t kv, Room room) {
  const AttentionShape& s = op.shape;
  const int64_t dim = s.head_dim, padded = (dim + kNr - 1) / kNr * kNr, group = s.heads / s.kv_heads;
  const Visibility visibility{s.window};
  const float* const room_end = room.cursor + kRoomFloats;
  BackwardRoom r;
  for (float** piece : {&r.query, &r.dout, &r.tile}) *piece = room.Take(kBlock * padded);
  for (float** piece : {&r.query_t, &r.dout_t, &r.dquery_t}) *piece = room.Take(dim * kBlock);
  for (float** piece : {&r.scores, &r.dscores}) *piece = room.Take(kBlock * kBlock);
  for (float** piece : {&r.delta, &r.lse}) *piece = room.Take(kBlock);
  // Of a whole sequence where there is room, for each head and each block of queries passes by them.
  const bool at_once = 2 * KeyRoom(length, dim) <= room_end - room.cursor;
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
