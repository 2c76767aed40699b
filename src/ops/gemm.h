// The matrix product every linear layer is made of, forward and backward, with what surrounds it in one pass: a
// residual or a bias to start from, the adapter's low-rank term with its dropout mask, an output in f32 or bf16.
#pragma once

#include "tensor/matrix.h"

namespace attune {

// A dropout mask over a (rows, cols) matrix: U8 rows of bits, bit j%8 of byte j/8 is column j (1: kept), and the factor
// 1/(1-p) of what is kept. The factor of an operand's mask multiplies the finished sum, so that nothing is rounded
// twice. Empty: no dropout.
struct KeepMask {
  Matrix bits;
  float scale = 1.0f;
};

// c = alpha * ( mask ∘ (low_a low_b) + a b ) + start
//
//   c      (m, n) f32 or the compute dtype
//   a      (m, k) compute dtype; stored (k, m) when a_transposed. a_mask: of a (not when transposed)
//   b      (k, n) compute dtype; stored (n, k) when b_transposed. b_mask: of b (not when transposed).
//          Or in any type that weights are stored in (quant/stored_matrix.h), then whole, dense and unmasked: it is
//          decoded to the compute dtype, rounded, while it is packed, and never stands in memory decoded
//   low_a  (m, r), r <= 4096; in bf16 with an even stride, at an address that is a multiple of 4, and where r is odd
//   with
//          zero after each row; low_b (r, n) or stored (n, r) when low_b_transposed. Empty: no low-rank term
//   start  (m, n) f32 added to the product: a residual, c itself (accumulate), or one row (1, n): a bias; may be empty
//
// Compute dtype: f32, or bf16 with f32 accumulation. Sums run in an order fixed by the shapes alone, so the result does
// not depend on the number of threads. k may be 0. A masked operand and a low-rank term do not go together.
struct Gemm {
  static constexpr const char* kName = "gemm";
  Matrix c, a, b;
  bool a_transposed = false, b_transposed = false;
  KeepMask a_mask, b_mask;
  float alpha = 1.0f;
  Matrix start;
  Matrix low_a, low_b;
  bool low_b_transposed = false;
  KeepMask low_mask;
};

}  // namespace attune
