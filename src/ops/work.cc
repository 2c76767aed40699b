#include "ops/work.h"

#include <algorithm>

namespace attune {
namespace {

// Of a dense view; a stored type whose bytes are not in its units counts a byte an element.
double MatrixBytes(const Matrix& m) {
  if (!m) return 0;
  const DTypeLayout layout = LayoutOf(m.dtype);
  const double units = static_cast<double>(m.rows * m.cols) / static_cast<double>(layout.block_elements);
  return units * static_cast<double>(std::max<int64_t>(1, layout.block_bytes));
}

double BytesOfAll(std::initializer_list<Matrix> matrices) {
  double bytes = 0;
  for (const Matrix& m : matrices) bytes += MatrixBytes(m);
  return bytes;
}

OpWork ElementWise(std::initializer_list<Matrix> matrices) { return {"element-wise", 0, BytesOfAll(matrices)}; }
OpWork OfOptimizer(std::initializer_list<Matrix> matrices) { return {"optimiser", 0, BytesOfAll(matrices)}; }

// The float32 rows that a norm reads may be some of a larger matrix.
Matrix RowsLike(const Matrix& m, const Matrix& x) { return {x.data, x.dtype, m.rows, m.cols, x.stride}; }

// q k^T and p v; backward two and a half times as much: q k^T again, dv, dp, dq and dk.
double AttentionFlops(const AttentionShape& shape, double pairs) {
  return 4.0 * pairs * static_cast<double>(shape.heads * shape.head_dim);
}

}  // namespace

int64_t AttentionPairs(std::span<const int32_t> starts, int64_t window) {
  int64_t pairs = 0;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const int64_t length = starts[s + 1] - starts[s];
    const int64_t seen = window > 0 ? std::min(window, length) : length;
    pairs += seen * (seen + 1) / 2 + (length - seen) * seen;
  }
  return pairs;
}

OpWork WorkOf(const Gemm& op) {
  const int64_t m = op.c.rows, n = op.c.cols, k = op.a_transposed ? op.a.rows : op.a.cols;
  const int64_t low = op.low_a ? op.low_a.cols : 0;
  OpWork work{kProducts, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k + low), 0};
  if (std::min({m, n, k}) <= kThinSide) {
    work.kind = "thin products";
  } else if (op.b.dtype != op.a.dtype) {
    work.kind = kProductsBy + std::string(NameOf(op.b.dtype));
  }
  return work;
}

OpWork WorkOf(const StoredLinear& op) {
  return {"thin products",
          2.0 * static_cast<double>(op.y.rows) * static_cast<double>(op.w.rows) * static_cast<double>(op.w.cols), 0};
}

OpWork WorkOf(const Attention& op) {
  return {"attention", AttentionFlops(op.shape, static_cast<double>(op.shape.pairs)), 0};
}
OpWork WorkOf(const AttentionBackward& op) {
  return {"attention backward", 2.5 * AttentionFlops(op.shape, static_cast<double>(op.shape.pairs)), 0};
}
OpWork WorkOf(const AttentionCached& op) {
  const auto rows = static_cast<double>(op.q.rows);
  return {"attention", AttentionFlops(op.shape, rows * static_cast<double>(op.first) + rows * (rows + 1) / 2), 0};
}
OpWork WorkOf(const CrossEntropy& op) { return {"cross-entropy", 0, BytesOfAll({op.logits, op.gradient})}; }
OpWork WorkOf(const DropoutMask& op) { return {"dropout masks", 0, MatrixBytes(op.bits)}; }

OpWork WorkOf(const Embedding& op) { return ElementWise({op.out, op.out}); }
OpWork WorkOf(const EmbeddingBackward& op) { return ElementWise({op.dx, op.dx, op.dx}); }
OpWork WorkOf(const EmbeddingNoise& op) { return ElementWise({op.x, op.x}); }
OpWork WorkOf(const RmsNorm& op) { return ElementWise({op.out, RowsLike(op.out, op.x)}); }
OpWork WorkOf(const RmsNormBackward& op) { return ElementWise({op.dy, op.dy, op.dy, op.dy, op.dx_copy}); }
OpWork WorkOf(const RmsNormWeightBackward& op) { return ElementWise({op.dy, op.dy}); }
OpWork WorkOf(const HeadNorm& op) { return ElementWise({op.out, op.x}); }
OpWork WorkOf(const HeadNormBackward& op) { return ElementWise({op.dy, op.dy, op.x}); }
OpWork WorkOf(const HeadNormWeightBackward& op) { return ElementWise({op.dy, op.x}); }
OpWork WorkOf(const Rope& op) { return ElementWise({op.x, op.x}); }
OpWork WorkOf(const SwiGlu& op) { return ElementWise({op.out, op.gate, op.up}); }
OpWork WorkOf(const SwiGluBackward& op) { return ElementWise({op.gate, op.gate, op.up, op.up, op.dout, op.out}); }
OpWork WorkOf(const Copy& op) { return ElementWise({op.out, op.x, op.add}); }
OpWork WorkOf(const Fill& op) { return ElementWise({op.out}); }
OpWork WorkOf(const AddBias& op) { return ElementWise({op.y, op.y}); }
OpWork WorkOf(const SumRows& op) { return ElementWise({op.x}); }
OpWork WorkOf(const FindNonFinite& op) { return ElementWise({op.x}); }
OpWork WorkOf(const RowSquares& op) { return ElementWise({op.w}); }
OpWork WorkOf(const DoraFactors& op) { return ElementWise({op.cross, op.b_transposed}); }
OpWork WorkOf(const ScaleColumns& op) { return ElementWise({op.out, op.x, op.start}); }
OpWork WorkOf(const ColumnProducts& op) { return ElementWise({op.x, op.y}); }
OpWork WorkOf(const SelectScale& op) { return ElementWise({op.out, op.x, op.start}); }
OpWork WorkOf(const GatherColumns& op) { return ElementWise({op.out, op.out}); }

OpWork WorkOf(const SumSquares& op) { return OfOptimizer({op.x}); }
OpWork WorkOf(const AdamW& op) { return OfOptimizer({op.weight, op.weight, op.gradient, op.m, op.m, op.v, op.v}); }
OpWork WorkOf(const AdamW8bit& op) { return OfOptimizer({op.weight, op.weight, op.gradient, op.m, op.m, op.v, op.v}); }
OpWork WorkOf(const Sgd& op) { return OfOptimizer({op.weight, op.weight, op.gradient, op.m, op.m}); }
OpWork WorkOf(const Lion& op) { return OfOptimizer({op.weight, op.weight, op.gradient, op.m, op.m}); }
OpWork WorkOf(const Adafactor& op) { return OfOptimizer({op.weight, op.weight, op.gradient, op.gradient}); }

}  // namespace attune
