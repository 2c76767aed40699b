// A product with few rows against weights in whatever type they are stored: what generation does for every token.
#pragma once

#include "tensor/matrix.h"

namespace attune {

// y = x w^T (+ start), decoded block by block; bound by the bytes of w. Meant for few rows; k is at most 2^19.
struct StoredLinear {
  static constexpr const char* kName = "stored_linear";
  Matrix y;      // (m, n) f32
  Matrix x;      // (m, k) f32
  Matrix w;      // (n, k) any stored dtype; stride counts elements
  Matrix start;  // (m, n) f32; may be empty or y itself
};

// out = w, decoded: what a product with many rows multiplies by.
struct Dequantize {
  static constexpr const char* kName = "dequantize";
  Matrix out;  // (n, k) f32, dense
  Matrix w;    // (n, k) any stored dtype, dense
};

}  // namespace attune
