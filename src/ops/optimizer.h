// Updates of the trained weights. Trained weights, their gradients and states are flat f32 vectors (1, n).
#pragma once

#include "tensor/matrix.h"

namespace attune {

// out[0] = sum of squares of x, accumulated in f64 in a fixed order.
struct SumSquares {
  static constexpr const char* kName = "sum_squares";
  Matrix x;    // (1, n) f32
  Matrix out;  // (1, 1) F64
};

// Loshchilov & Hutter 2019, as torch.optim.AdamW: decay before the update.
struct AdamW {
  static constexpr const char* kName = "adamw";
  Matrix weight, gradient, m, v;  // (1, n) f32
  float gradient_scale = 1.0f;    // clipping
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  int64_t step = 1;  // counts from 1
};

}  // namespace attune
