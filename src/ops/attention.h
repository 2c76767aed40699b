// Causal attention over packed sequences, grouped-query heads, blockwise softmax (Dao et al. 2022: no (T, T) matrix
// ever exists). A token sees itself and earlier tokens of its own sequence, at most `window` of them when window > 0.
#pragma once

#include <cstdint>

#include "tensor/matrix.h"

namespace attune {

// How many pairs of a query and a key a batch has (CountPairs, ops/work.h).
struct AttentionPairs {
  int64_t seen = 0;  // of those that see each other
  double run = 0;    // of those that kernels compute, with what they take besides
};

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;  // head_dim is at most 1024
  int64_t window = 0;                             // 0: unlimited
  float scale = 1.0f;                             // of q k^T
  AttentionPairs pairs;                           // for who counts its work: kernels read the starts
};

struct Attention {
  static constexpr const char* kName = "attention";
  Matrix out;     // (T, heads * head_dim) C
  Matrix lse;     // (T, heads) f32: log of the softmax denominator, for the backward pass; may be empty
  Matrix q;       // (T, heads * head_dim) C
  Matrix k, v;    // (T, kv_heads * head_dim) C
  Matrix starts;  // (1, sequences + 1) I32: sequence s is tokens [starts[s], starts[s+1])
  AttentionShape shape;
  // Generation: rows of k and v before the first query, of the one sequence there is; starts count them in, q and out
  // do not have them.
  int64_t past = 0;
};

struct AttentionBackward {
  static constexpr const char* kName = "attention_backward";
  Matrix dq, dk, dv;      // as q, k, v, C
  Matrix dk_sum, dv_sum;  // (T, kv_heads * head_dim) f32 working sums; dk and dv themselves where C is f32
  Matrix out, dout, lse, q, k, v, starts;
  AttentionShape shape;
};

// One new token for each row against a cache of keys and values: q row i attends to the first `length` rows of the
// cache plus itself up to its own position (rows of a prompt piece follow each other).
struct AttentionCached {
  static constexpr const char* kName = "attention_cached";
  Matrix out, q;  // (m, heads * head_dim) f32; row i stands at position first + i
  Matrix k, v;    // (capacity, kv_heads * head_dim) f32, rows [0, first + m) filled, at most 2^20
  int64_t first = 0;
  AttentionShape shape;
};

}  // namespace attune
