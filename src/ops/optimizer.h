// Updates of the trained weights. Trained weights, their gradients and states are flat f32 vectors (1, n),
// except where an optimiser knows rows and columns (Adafactor). `gradient_scale` multiplies every gradient
// first: clipping.
#pragma once

#include "tensor/matrix.h"

namespace attune {

// out[0] = sum of squares of x, accumulated in f64 in a fixed order.
struct SumSquares {
  static constexpr const char* kName = "sum_squares";
  Matrix x;    // (1, n) f32
  Matrix out;  // (1, 1) F64
};

// out[0] = the index of the first element of x that is infinite or not a number, -1 if all are finite.
struct FindNonFinite {
  static constexpr const char* kName = "find_non_finite";
  Matrix x;    // (1, n) f32
  Matrix out;  // (1, 1) I64
};

// Loshchilov & Hutter 2019, as torch.optim.AdamW: decay before the update.
struct AdamW {
  static constexpr const char* kName = "adamw";
  Matrix weight, gradient, m, v;  // (1, n) f32
  float gradient_scale = 1.0f;    // clipping
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  int64_t step = 1;  // counts from 1
};

// AdamW with its states in 8 bits, to the bit what quant/adamw8bit.h defines. m and v: (1, n) U8 codes; absmax_m and
// absmax_v: (1, ceil(n / 256)) f32. The op may be a stretch of a tensor that starts at a block of 256.
struct AdamW8bit {
  static constexpr const char* kName = "adamw_8bit";
  Matrix weight, gradient;  // (1, n) f32
  Matrix m, v, absmax_m, absmax_v;
  float gradient_scale = 1.0f;
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  int64_t step = 1;  // counts from 1
};

// As torch.optim.SGD: decay is added to the gradient. With a buffer m = momentum m + (1 - dampening) g, where the first
// step takes g whole, and the weight follows m, or g + momentum m with nesterov.
struct Sgd {
  static constexpr const char* kName = "sgd";
  Matrix weight, gradient;  // (1, n) f32
  Matrix m;                 // (1, n) f32, zeros before the first step; empty: no momentum
  float gradient_scale = 1.0f;
  double learning_rate = 0, weight_decay = 0, momentum = 0, dampening = 0;
  bool nesterov = false;
  int64_t step = 1;  // counts from 1
};

// Chen et al. 2023, as bitsandbytes' Lion in 32 bits: decay, then the sign of beta1 m + (1 - beta1) g, then m
// moves by beta2. There is no step count. (transformers passes adam_beta1 and adam_beta2: 0.9 and 0.999
// unless set.)
struct Lion {
  static constexpr const char* kName = "lion";
  Matrix weight, gradient, m;  // (1, n) f32
  float gradient_scale = 1.0f;
  double learning_rate = 0, beta1 = 0.9, beta2 = 0.999, weight_decay = 0;
};

// Shazeer & Stern 2018, as transformers' Adafactor with scale_parameter and relative_step off and no first
// moment (what `optim: adafactor` sets up). A matrix keeps one number for each row and each column; a vector,
// one for each element. Rows and columns play the same part, so a matrix that is stored transposed keeps the
// same numbers, swapped.
struct Adafactor {
  static constexpr const char* kName = "adafactor";
  Matrix weight, gradient;  // (r, c) f32
  Matrix row, col;          // (1, r), (1, c) f32: states of a matrix; empty: a vector
  Matrix full;              // (1, c) f32: the state of a vector, r = 1
  float gradient_scale = 1.0f;
  double learning_rate = 0, weight_decay = 0;
  double eps = 1e-30, clip_threshold = 1.0, decay_rate = -0.8;
  int64_t step = 1;  // counts from 1
};

}  // namespace attune
