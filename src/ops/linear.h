// A product with few rows against weights in whatever type they are stored: what generation does for every token.
#pragma once

#include "tensor/matrix.h"

namespace attune {

// y = x w^T (+ start), decoded block by block; bound by the bytes of w. Meant for few rows; k is at most 2^19.
struct StoredLinear {
  static constexpr const char* kName = "stored_linear";
  Matrix y;      // (m, n) f32
  Matrix x;      // (m, k) f32
  Matrix w;      // (n, k) any stored type (quant/stored_matrix.h); stride counts elements
  Matrix start;  // (m, n) f32; may be empty or y itself
};

}  // namespace attune
