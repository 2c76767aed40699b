#include "ops/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "ops/cpu/raw.h"
#include "quant/float16.h"
#include "quant/gguf_blocks.h"

namespace attune {
namespace {

// A matrix in double, without its stride.
struct Values {
  int64_t cols = 0;
  std::vector<double> data;

  Values(int64_t rows, int64_t columns) : cols(columns), data(static_cast<size_t>(rows * columns)) {}
  explicit Values(const Matrix& m) : Values(m.rows, m.cols) {
    for (int64_t r = 0; r < m.rows; ++r) {
      for (int64_t c = 0; c < m.cols; ++c) (*this)(r, c) = Get(m, r, c);
    }
  }
  double& operator()(int64_t r, int64_t c) { return data[static_cast<size_t>(r * cols + c)]; }
  double operator()(int64_t r, int64_t c) const { return data[static_cast<size_t>(r * cols + c)]; }

  void Store(const Matrix& to) const {
    for (int64_t r = 0; r < to.rows; ++r) {
      for (int64_t c = 0; c < to.cols; ++c) Put(to, r, c, (*this)(r, c));
    }
  }
};

// 1 / (1 - p) where element (r, c) is kept, else 0; 1 without a mask.
double KeepFactor(const KeepMask& mask, int64_t r, int64_t c) {
  if (!mask.bits) return 1;
  return (RawRow<const uint8_t>(mask.bits, r)[c / 8] >> (c % 8) & 1) != 0 ? static_cast<double>(mask.scale) : 0;
}

// An operand with its mask applied, turned so that it reads as (rows, cols) of the product.
Values MaskedOperand(const Matrix& matrix, bool transposed, const KeepMask& mask) {
  Values stored(matrix);
  for (int64_t r = 0; r < matrix.rows; ++r) {
    for (int64_t c = 0; c < matrix.cols; ++c) {
      stored(r, c) *= KeepFactor(mask, r, c);
    }
  }
  if (!transposed) return stored;
  Values turned(matrix.cols, matrix.rows);
  for (int64_t r = 0; r < matrix.rows; ++r) {
    for (int64_t c = 0; c < matrix.cols; ++c) turned(c, r) = stored(r, c);
  }
  return turned;
}

Values Multiply(const Values& a, const Values& b, int64_t rows) {
  Values product(rows, b.cols);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t u = 0; u < a.cols; ++u) {
      for (int64_t j = 0; j < b.cols; ++j) product(i, j) += a(i, u) * b(u, j);
    }
  }
  return product;
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

int64_t RowOf(const Matrix& rows, int64_t i) { return rows ? Raw<const int32_t>(rows)[i] : i; }

}  // namespace

double Get(const Matrix& matrix, int64_t r, int64_t c) {
  switch (matrix.dtype) {
    case DType::kF32:
      return RawRow<const float>(matrix, r)[c];
    case DType::kBF16:
      return Bf16ToFloat(RawRow<const uint16_t>(matrix, r)[c]);
    case DType::kF64:
      return RawRow<const double>(matrix, r)[c];
    case DType::kI32:
      return RawRow<const int32_t>(matrix, r)[c];
    default:
      Failed("the reference ops do not read {}", NameOf(matrix.dtype));
  }
}

void Put(const Matrix& matrix, int64_t r, int64_t c, double value) {
  switch (matrix.dtype) {
    case DType::kF32:
      RawRow<float>(matrix, r)[c] = static_cast<float>(value);
      return;
    case DType::kBF16:
      RawRow<uint16_t>(matrix, r)[c] = FloatToBf16(static_cast<float>(value));
      return;
    case DType::kF64:
      RawRow<double>(matrix, r)[c] = value;
      return;
    default:
      Failed("the reference ops do not write {}", NameOf(matrix.dtype));
  }
}

void Reference(const Gemm& op) {
  const Values a = MaskedOperand(op.a, op.a_transposed, op.a_mask);
  const Values b = MaskedOperand(op.b, op.b_transposed, op.b_mask);
  Values sum = Multiply(a, b, op.c.rows);
  if (op.low_a) {
    const Values low = Multiply(Values(op.low_a), MaskedOperand(op.low_b, op.low_b_transposed, KeepMask{}), op.c.rows);
    for (int64_t i = 0; i < op.c.rows; ++i) {
      for (int64_t j = 0; j < op.c.cols; ++j) sum(i, j) += low(i, j) * KeepFactor(op.low_mask, i, j);
    }
  }
  for (int64_t i = 0; i < op.c.rows; ++i) {
    for (int64_t j = 0; j < op.c.cols; ++j) {
      const double start = op.start ? Get(op.start, op.start.rows == 1 ? 0 : i, j) : 0;
      Put(op.c, i, j, op.alpha * sum(i, j) + start);
    }
  }
}

void Reference(const Embedding& op) {
  for (int64_t t = 0; t < op.out.rows; ++t) {
    for (int64_t c = 0; c < op.out.cols; ++c) Put(op.out, t, c, Get(op.table, RowOf(op.ids, t), c));
  }
}

void Reference(const EmbeddingBackward& op) {
  for (int64_t t = 0; t < op.dx.rows; ++t) {
    const int64_t id = RowOf(op.ids, t);
    if (id < 0) continue;
    for (int64_t c = 0; c < op.dx.cols; ++c) Put(op.dtable, id, c, Get(op.dtable, id, c) + Get(op.dx, t, c));
  }
}

void Reference(const GatherColumns& op) {
  for (int64_t t = 0; t < op.out.rows; ++t) {
    for (int64_t j = 0; j < op.out.cols; ++j) Put(op.out, t, j, Get(op.x, t, RowOf(op.columns, j)));
  }
}

void Reference(const RmsNorm& op) {
  for (int64_t i = 0; i < op.out.rows; ++i) {
    const int64_t r = RowOf(op.rows, i);
    double squares = 0;
    for (int64_t c = 0; c < op.x.cols; ++c) squares += Get(op.x, r, c) * Get(op.x, r, c);
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(op.x.cols) + op.eps);
    if (op.rstd) Put(op.rstd, 0, i, rstd);
    for (int64_t c = 0; c < op.x.cols; ++c) Put(op.out, i, c, Get(op.x, r, c) * rstd * Get(op.weight, 0, c));
  }
}

void Reference(const RmsNormBackward& op) {
  const int64_t n = op.x.cols;
  for (int64_t i = 0; i < op.dy.rows; ++i) {
    const int64_t r = RowOf(op.rows, i);
    const double rstd = Get(op.rstd, 0, i);
    double mean = 0;  // of w dy xhat
    for (int64_t c = 0; c < n; ++c) {
      mean += Get(op.weight, 0, c) * Get(op.dy, i, c) * Get(op.x, r, c) * rstd / static_cast<double>(n);
    }
    for (int64_t c = 0; c < n; ++c) {
      const double gradient = rstd * (Get(op.weight, 0, c) * Get(op.dy, i, c) - Get(op.x, r, c) * rstd * mean);
      Put(op.dx, r, c, Get(op.dx, r, c) + gradient);
      if (op.dx_copy) Put(op.dx_copy, r, c, Get(op.dx, r, c));
    }
  }
}

void Reference(const RmsNormWeightBackward& op) {
  for (int64_t c = 0; c < op.dy.cols; ++c) {
    double sum = Get(op.dweight, 0, c);
    for (int64_t i = 0; i < op.dy.rows; ++i) {
      sum += Get(op.dy, i, c) * Get(op.x, RowOf(op.rows, i), c) * Get(op.rstd, 0, i);
    }
    Put(op.dweight, 0, c, sum);
  }
}

void Reference(const HeadNorm& op) {
  const int64_t n = op.weight.cols;
  for (int64_t t = 0; t < op.x.rows; ++t) {
    for (int64_t h = 0; h < op.x.cols / n; ++h) {
      double squares = 0;
      for (int64_t c = h * n; c < (h + 1) * n; ++c) squares += Get(op.x, t, c) * Get(op.x, t, c);
      const double rstd = 1 / std::sqrt(squares / static_cast<double>(n) + op.eps);
      if (op.rstd) Put(op.rstd, t, h, rstd);
      for (int64_t c = h * n; c < (h + 1) * n; ++c)
        Put(op.out, t, c, Get(op.x, t, c) * rstd * Get(op.weight, 0, c - h * n));
    }
  }
}

void Reference(const HeadNormBackward& op) {
  const int64_t n = op.weight.cols;
  for (int64_t t = 0; t < op.x.rows; ++t) {
    for (int64_t h = 0; h < op.x.cols / n; ++h) {
      const double rstd = Get(op.rstd, t, h);
      const auto scaled = [&](int64_t c) { return Get(op.weight, 0, c) * Get(op.dy, t, h * n + c); };
      double mean = 0;  // of w dy xhat
      for (int64_t c = 0; c < n; ++c) mean += scaled(c) * Get(op.x, t, h * n + c) * rstd / static_cast<double>(n);
      for (int64_t c = 0; c < n; ++c)
        Put(op.dy, t, h * n + c, rstd * (scaled(c) - Get(op.x, t, h * n + c) * rstd * mean));
    }
  }
}

void Reference(const HeadNormWeightBackward& op) {
  const int64_t n = op.dweight.cols;
  for (int64_t c = 0; c < n; ++c) {
    double sum = Get(op.dweight, 0, c);
    for (int64_t t = 0; t < op.x.rows; ++t) {
      for (int64_t h = 0; h < op.x.cols / n; ++h)
        sum += Get(op.dy, t, h * n + c) * Get(op.x, t, h * n + c) * Get(op.rstd, t, h);
    }
    Put(op.dweight, 0, c, sum);
  }
}

void Reference(const Rope& op) {
  const int64_t half = op.head_dim / 2;
  for (int64_t t = 0; t < op.x.rows; ++t) {
    for (int64_t h = 0; h < op.x.cols; h += op.head_dim) {
      for (int64_t i = 0; i < half; ++i) {
        const double x = Get(op.x, t, h + i), y = Get(op.x, t, h + half + i);
        const double cos = Get(op.cos, RowOf(op.positions, t), i);
        const double sin = Get(op.sin, RowOf(op.positions, t), i) * (op.inverse ? -1 : 1);
        Put(op.x, t, h + i, x * cos - y * sin);
        Put(op.x, t, h + half + i, y * cos + x * sin);
      }
    }
  }
}

void Reference(const SwiGlu& op) {
  for (int64_t t = 0; t < op.out.rows; ++t) {
    for (int64_t c = 0; c < op.out.cols; ++c) {
      const double gate = Get(op.gate, t, c);
      Put(op.out, t, c, gate * Sigmoid(gate) * Get(op.up, t, c));
    }
  }
}

void Reference(const SwiGluBackward& op) {
  for (int64_t t = 0; t < op.gate.rows; ++t) {
    for (int64_t c = 0; c < op.gate.cols; ++c) {
      const double gate = Get(op.gate, t, c), up = Get(op.up, t, c), dout = Get(op.dout, t, c);
      const double sigmoid = Sigmoid(gate);
      if (op.out) Put(op.out, t, c, gate * sigmoid * up);
      Put(op.gate, t, c, dout * up * sigmoid * (1 + gate * (1 - sigmoid)));
      Put(op.up, t, c, dout * gate * sigmoid);
    }
  }
}

void Reference(const Copy& op) {
  for (int64_t r = 0; r < op.out.rows; ++r) {
    for (int64_t c = 0; c < op.out.cols; ++c) Put(op.out, r, c, Get(op.x, r, c) + (op.add ? Get(op.add, r, c) : 0));
  }
}

void Reference(const Fill& op) {
  for (int64_t r = 0; r < op.out.rows; ++r) {
    for (int64_t c = 0; c < op.out.cols; ++c) Put(op.out, r, c, op.value);
  }
}

void Reference(const AddBias& op) {
  for (int64_t r = 0; r < op.y.rows; ++r) {
    for (int64_t c = 0; c < op.y.cols; ++c) Put(op.y, r, c, Get(op.y, r, c) + op.scale * Get(op.bias, 0, c));
  }
}

void Reference(const SumRows& op) {
  for (int64_t c = 0; c < op.x.cols; ++c) {
    double sum = 0;
    for (int64_t r = 0; r < op.x.rows; ++r) sum += Get(op.x, r, c);
    Put(op.out, 0, c, Get(op.out, 0, c) + op.scale * sum);
  }
}

namespace {

// Which keys a query attends to, and with what weight: softmax(scale q k^T) over [first, last].
struct Probabilities {
  int64_t first;
  std::vector<double> p;
  double log_sum;
};

Probabilities SoftmaxOfScores(const AttentionShape& s, const Values& q, int64_t row, int64_t head, const Values& k,
                              int64_t first, int64_t last) {
  const int64_t kv = head / (s.heads / s.kv_heads);
  Probabilities result{first, {}, 0};
  double max = -INFINITY, sum = 0;
  for (int64_t t = first; t <= last; ++t) {
    double score = 0;
    for (int64_t i = 0; i < s.head_dim; ++i) score += q(row, head * s.head_dim + i) * k(t, kv * s.head_dim + i);
    result.p.push_back(score * s.scale);
    max = std::max(max, score * s.scale);
  }
  for (double& p : result.p) sum += p = std::exp(p - max);
  for (double& p : result.p) p /= sum;
  result.log_sum = max + std::log(sum);
  return result;
}

int64_t FirstVisible(const AttentionShape& s, int64_t begin, int64_t query) {
  return s.window > 0 ? std::max(begin, query - s.window + 1) : begin;
}

// out[row, head] = sum of p v.
void WeightedSum(const AttentionShape& s, const Probabilities& weights, const Values& v, int64_t row, int64_t head,
                 const Matrix& out) {
  const int64_t kv = head / (s.heads / s.kv_heads);
  for (int64_t i = 0; i < s.head_dim; ++i) {
    double sum = 0;
    for (size_t t = 0; t < weights.p.size(); ++t) {
      sum += weights.p[t] * v(weights.first + static_cast<int64_t>(t), kv * s.head_dim + i);
    }
    Put(out, row, head * s.head_dim + i, sum);
  }
}

// Calls body(first token of the sequence, query) for every token.
template <class Body>
void ForEachQuery(const Matrix& starts, const Body& body) {
  const int32_t* at = Raw<const int32_t>(starts);
  for (int64_t s = 0; s + 1 < starts.cols; ++s) {
    for (int64_t t = at[s]; t < at[s + 1]; ++t) body(int64_t{at[s]}, t);
  }
}

}  // namespace

void Reference(const Attention& op) {
  const Values q(op.q), k(op.k), v(op.v);
  ForEachQuery(op.starts, [&](int64_t begin, int64_t t) {
    for (int64_t head = 0; head < op.shape.heads; ++head) {
      const auto weights = SoftmaxOfScores(op.shape, q, t, head, k, FirstVisible(op.shape, begin, t), t);
      WeightedSum(op.shape, weights, v, t, head, op.out);
      if (op.lse) Put(op.lse, t, head, weights.log_sum);
    }
  });
}

// dV = P^T dO;  dS = P (dO V^T - rowsum(dO O)), with O as it was stored;  dQ = scale dS K;  dK = scale dS^T
// Q.
void Reference(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t dim = s.head_dim;
  const Values q(op.q), k(op.k), v(op.v), out(op.out), dout(op.dout);
  Values dq(op.q.rows, op.q.cols), dk(op.k.rows, op.k.cols), dv(op.v.rows, op.v.cols);
  ForEachQuery(op.starts, [&](int64_t begin, int64_t t) {
    for (int64_t head = 0; head < s.heads; ++head) {
      const int64_t kv = head / (s.heads / s.kv_heads);
      const auto weights = SoftmaxOfScores(s, q, t, head, k, FirstVisible(s, begin, t), t);
      std::vector<double> dp(weights.p.size());
      double delta = 0;
      for (int64_t i = head * dim; i < (head + 1) * dim; ++i) delta += dout(t, i) * out(t, i);
      for (size_t u = 0; u < dp.size(); ++u) {
        const int64_t key = weights.first + static_cast<int64_t>(u);
        for (int64_t i = 0; i < dim; ++i) dp[u] += dout(t, head * dim + i) * v(key, kv * dim + i);
      }
      for (size_t u = 0; u < dp.size(); ++u) {
        const int64_t key = weights.first + static_cast<int64_t>(u);
        const double ds = s.scale * weights.p[u] * (dp[u] - delta);
        for (int64_t i = 0; i < dim; ++i) {
          dq(t, head * dim + i) += ds * k(key, kv * dim + i);
          dk(key, kv * dim + i) += ds * q(t, head * dim + i);
          dv(key, kv * dim + i) += weights.p[u] * dout(t, head * dim + i);
        }
      }
    }
  });
  dq.Store(op.dq);
  dk.Store(op.dk);
  dv.Store(op.dv);
}

void Reference(const AttentionCached& op) {
  const Values q(op.q), k(op.k.Rows(0, op.first + op.q.rows)), v(op.v.Rows(0, op.first + op.q.rows));
  for (int64_t row = 0; row < op.q.rows; ++row) {
    const int64_t position = op.first + row;
    for (int64_t head = 0; head < op.shape.heads; ++head) {
      const auto weights = SoftmaxOfScores(op.shape, q, row, head, k, FirstVisible(op.shape, 0, position), position);
      WeightedSum(op.shape, weights, v, row, head, op.out);
    }
  }
}

void Reference(const StoredLinear& op) {
  std::vector<float> row(static_cast<size_t>(op.w.cols));
  for (int64_t n = 0; n < op.w.rows; ++n) {
    DecodeBlocks(op.w.dtype, Raw<const std::byte>(op.w) + n * BytesOf(op.w.dtype, op.w.stride), op.w.cols, row.data());
    for (int64_t m = 0; m < op.x.rows; ++m) {
      double sum = op.start ? Get(op.start, m, n) : 0;
      for (int64_t u = 0; u < op.w.cols; ++u) sum += Get(op.x, m, u) * row[static_cast<size_t>(u)];
      Put(op.y, m, n, sum);
    }
  }
}

}  // namespace attune
