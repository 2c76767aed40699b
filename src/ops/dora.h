// What weight-decomposed adapters (DoRA, Liu et al. 2024) need beside products: the norm of each row of W + s B A,
// outputs scaled column by column, and dropped inputs as operands. Neither BA nor a second W is ever formed. "C" is the
// compute dtype, f32 or bf16; sums are f32 or wider.
#pragma once

#include "tensor/matrix.h"

namespace attune {

// out[j] = sum of the squares of row j of w.
struct RowSquares {
  static constexpr const char* kName = "row_squares";
  Matrix out;  // (1, n) f32
  Matrix w;    // (n, k) any stored type (quant/stored_matrix.h), dense
};

// norm[j] = |W_j + s B_j A|, from |W_j|^2 + 2 s B_j (A W_j) + s^2 B_j (A A^T) B_j^T: W enters through products alone,
// so it may be of any type they read. factor[j] = magnitude[j] / norm[j]; 0 where the norm is 0 (PEFT gives NaN there).
struct DoraFactors {
  static constexpr const char* kName = "dora_factors";
  Matrix norm, factor;  // (1, n) f32, written
  Matrix magnitude;     // (1, n) f32
  Matrix squares;       // (1, n) f32: |W_j|^2
  Matrix cross;         // (r, n) f32: A W^T
  Matrix gram;          // (r, r) f32: A A^T
  Matrix b_transposed;  // (r, n) C
  float scale = 1.0f;
};

// out = factor x + bias + start: factor and bias are rows.
struct ScaleColumns {
  static constexpr const char* kName = "scale_columns";
  Matrix out;     // (T, n) f32 or C
  Matrix x;       // (T, n) f32 or C; may be out
  Matrix factor;  // (1, n) f32
  Matrix bias;    // (1, n) f32; may be empty
  Matrix start;   // (T, n) f32 or C; may be empty, or out
};

// out[j] += (sum over t of x[t, j] y[t, j]) / divisor[j], tokens in order; a divisor of 0 adds nothing.
struct ColumnProducts {
  static constexpr const char* kName = "column_products";
  Matrix out;      // (1, n) f32, added to
  Matrix x, y;     // (T, n) f32 or C
  Matrix divisor;  // (1, n) f32
};

// out = kept x where the bit of a dropout mask (KeepMask::bits) is 1, dropped x where it is 0, + start.
struct SelectScale {
  static constexpr const char* kName = "select_scale";
  Matrix out;   // (T, k) f32 or C
  Matrix x;     // (T, k) f32 or C; may be out
  Matrix bits;  // (T, MaskRowBytes(k)) U8
  float kept = 1.0f, dropped = 0.0f;
  Matrix start;  // (T, k) f32 or C; may be empty, or out
};

}  // namespace attune
