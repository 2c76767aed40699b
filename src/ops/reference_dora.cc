// Plain references of the ops of weight-decomposed adapters.
#include <cmath>
#include <vector>

#include "ops/cpu/raw.h"
#include "ops/reference.h"
#include "quant/gguf_blocks.h"

namespace attune {

void Reference(const RowSquares& op) {
  std::vector<float> row(static_cast<size_t>(op.w.cols));
  for (int64_t j = 0; j < op.w.rows; ++j) {
    DecodeBlocks(op.w.dtype, Raw<const std::byte>(op.w.Rows(j, 1)), op.w.cols, row.data());
    double sum = 0;
    for (const float value : row) sum += static_cast<double>(value) * value;
    Put(op.out, 0, j, sum);
  }
}

void Reference(const DoraFactors& op) {
  const double s = op.scale;
  for (int64_t j = 0; j < op.norm.cols; ++j) {
    double square = Get(op.squares, 0, j);
    for (int64_t r = 0; r < op.b_transposed.rows; ++r) {
      const double b = Get(op.b_transposed, r, j);
      square += 2 * s * b * Get(op.cross, r, j);
      for (int64_t q = 0; q < op.b_transposed.rows; ++q) {
        square += s * s * b * Get(op.gram, r, q) * Get(op.b_transposed, q, j);
      }
    }
    const double norm = square > 0 ? std::sqrt(square) : 0;
    Put(op.norm, 0, j, norm);
    Put(op.factor, 0, j, norm > 0 ? Get(op.magnitude, 0, j) / norm : 0);
  }
}

void Reference(const ScaleColumns& op) {
  for (int64_t t = 0; t < op.out.rows; ++t) {
    for (int64_t j = 0; j < op.out.cols; ++j) {
      const double bias = op.bias ? Get(op.bias, 0, j) : 0, start = op.start ? Get(op.start, t, j) : 0;
      Put(op.out, t, j, Get(op.factor, 0, j) * Get(op.x, t, j) + bias + start);
    }
  }
}

void Reference(const ColumnProducts& op) {
  for (int64_t j = 0; j < op.out.cols; ++j) {
    double sum = 0;
    for (int64_t t = 0; t < op.x.rows; ++t) sum += Get(op.x, t, j) * Get(op.y, t, j);
    const double divisor = Get(op.divisor, 0, j);
    if (divisor != 0) Put(op.out, 0, j, Get(op.out, 0, j) + sum / divisor);
  }
}

void Reference(const SelectScale& op) {
  for (int64_t t = 0; t < op.out.rows; ++t) {
    for (int64_t j = 0; j < op.out.cols; ++j) {
      const bool keep = (RawRow<const uint8_t>(op.bits, t)[j / 8] >> (j % 8) & 1) != 0;
      const double start = op.start ? Get(op.start, t, j) : 0;
      Put(op.out, t, j, (keep ? op.kept : op.dropped) * Get(op.x, t, j) + start);
    }
  }
}

}  // namespace attune
