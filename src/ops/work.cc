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

OpWork ByBytes(const char* kind, double bytes) { return {kind, 0, bytes, bytes}; }
OpWork ElementWise(std::initializer_list<Matrix> matrices) { return ByBytes("element-wise", BytesOfAll(matrices)); }
OpWork OfOptimizer(std::initializer_list<Matrix> matrices) { return ByBytes("optimiser", BytesOfAll(matrices)); }

// A product packs its second operand, which takes as long as so many rows more of the first: half a row for each of a
// panel's 32 columns, three times that where it is decoded on the way (the costs that ops/cpu/gemm.cc chooses its tasks
// by). Few tokens at once pay for it dearly.
constexpr double kPackingRows = 16, kDecodingRows = 48;

// The float32 rows that a norm reads may be some of a larger matrix.
Matrix RowsLike(const Matrix& m, const Matrix& x) { return {x.data, x.dtype, m.rows, m.cols, x.stride}; }

// q k^T and p v are 4 operations a pair and element; backward two and a half times as many: q k^T again, dv, dp, dq,
// dk.
OpWork OfAttention(const char* kind, double operations, const AttentionShape& shape, double seen, double run) {
  const double each = operations * static_cast<double>(shape.heads * shape.head_dim);
  return {kind, each * seen, 0, each * run};
}

}  // namespace

AttentionPairs CountPairs(std::span<const int32_t> starts, int64_t window) {
  constexpr int64_t kTile = 64;
  AttentionPairs pairs;
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    const int64_t length = starts[s + 1] - starts[s];
    const int64_t seen = window > 0 ? std::min(window, length) : length;
    pairs.seen += seen * (seen + 1) / 2 + (length - seen) * seen;
    for (int64_t query = 0; query < length; query += kTile) {
      const int64_t first = window > 0 ? std::max<int64_t>(0, query - window + 1) / kTile : 0;
      const int64_t tiles = query / kTile + 1 - first;
      pairs.run += static_cast<double>(kTile * kTile) * (static_cast<double>(tiles) + 0.5);
    }
  }
  return pairs;
}

OpWork WorkOf(const Gemm& op) {
  const int64_t m = op.c.rows, n = op.c.cols, k = op.a_transposed ? op.a.rows : op.a.cols;
  const int64_t low = op.low_a ? op.low_a.cols : 0, side = std::min({m, n, k});
  const double flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k + low);
  if (side <= kThinSide) {
    return {"thin products", flops, 0, flops * (1 + kReadingSide / static_cast<double>(std::max<int64_t>(1, side)))};
  }
  const bool is_decoded = op.b.dtype != op.a.dtype;
  const double packing = (is_decoded ? kDecodingRows : kPackingRows) / static_cast<double>(m);
  return {is_decoded ? kProductsBy + std::string(NameOf(op.b.dtype)) : kProducts, flops, 0, flops * (1 + packing)};
}

OpWork WorkOf(const StoredLinear& op) {
  const double flops =
      2.0 * static_cast<double>(op.y.rows) * static_cast<double>(op.w.rows) * static_cast<double>(op.w.cols);
  return {"thin products", flops, 0, flops};
}

OpWork WorkOf(const Attention& op) {
  const AttentionPairs& pairs = op.shape.pairs;
  return OfAttention("attention", 4, op.shape, static_cast<double>(pairs.seen), pairs.run);
}
OpWork WorkOf(const AttentionBackward& op) {
  const AttentionPairs& pairs = op.shape.pairs;
  return OfAttention("attention backward", 10, op.shape, static_cast<double>(pairs.seen), pairs.run);
}
OpWork WorkOf(const AttentionCached& op) {
  const auto rows = static_cast<double>(op.q.rows);
  const double pairs = rows * static_cast<double>(op.first) + rows * (rows + 1) / 2;
  return OfAttention("attention", 4, op.shape, pairs, pairs);
}
OpWork WorkOf(const CrossEntropy& op) { return ByBytes("cross-entropy", BytesOfAll({op.logits, op.gradient})); }
OpWork WorkOf(const DropoutMask& op) { return ByBytes("dropout masks", MatrixBytes(op.bits)); }

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
