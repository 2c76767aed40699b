// Adafactor. Every sum runs in an order that the shape alone decides: within a row, over the rows of a
// column, and over fixed groups of rows or blocks, whose parts wait in scratch.
// Compiled once for each Highway target, by small_kernels.cc.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

constexpr int64_t kParts = 4096;     // sums that wait in scratch
constexpr int64_t kRun = 4096;       // elements summed in f32 before f64 takes over
constexpr int64_t kColumns = 1024;   // columns whose sums a thread holds at once
constexpr int64_t kRowsAtOnce = 8;   // rows read side by side
constexpr int64_t kRowsInF32 = 256;  // rows of a column summed in f32 before f64 takes over

// What all passes need: the scaled numbers of the op in f32, and where the sums and the column factors wait.
struct Pass {
  explicit Pass(const CpuState& state, const Adafactor& o)
      : op(o),
        threads(state.scratch.threads),
        parts(reinterpret_cast<double*>(state.scratch.shared())),
        factors(reinterpret_cast<float*>(state.scratch.shared() + kParts * sizeof(double))),
        factor_room((kSharedScratchBytes - kParts * static_cast<int64_t>(sizeof(double))) / 4),
        beta2(1.0 - std::pow(static_cast<double>(o.step), o.decay_rate)) {}

  const Adafactor& op;
  int threads;
  double* parts;
  float* factors;
  int64_t factor_room;
  double beta2;
};

// Sum over [0, n) of body(d, i) in f64, runs of kRun in f32.
template <class Body>
HWY_INLINE double SumInRuns(int64_t n, const Body& body) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kRun) {
    const FullF32 d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), end = std::min(n, first + kRun);
    auto sum = hn::Zero(d);
    int64_t i = first;
    for (; i + lanes <= end; i += lanes) sum = hn::Add(sum, body(d, i));
    total += SumLanes(d, sum);
    const hn::CappedTag<float, 1> one;
    for (; i < end; ++i) total += hn::GetLane(body(one, i));
  }
  return total;
}

// A state moves towards the mean of `count` squares.
float Moved(const Pass& pass, float state, double sum, int64_t count) {
  const double mean = sum / static_cast<double>(count) + pass.op.eps;
  return static_cast<float>(pass.beta2 * static_cast<double>(state) + (1 - pass.beta2) * mean);
}

void UpdateRowStates(const Pass& pass) {
  const Adafactor& op = pass.op;
  float* row = Raw<float>(op.row);
#pragma omp parallel for num_threads(pass.threads) schedule(static)
  for (int64_t r = 0; r < op.weight.rows; ++r) {
    const float* g = RawRow<const float>(op.gradient, r);
    row[r] = Moved(pass, row[r],
                   SumInRuns(op.weight.cols,
                             [&](auto d, int64_t i) HWY_ATTR {
                               const auto v = hn::Mul(hn::LoadU(d, g + i), hn::Set(d, op.gradient_scale));
                               return hn::Mul(v, v);
                             }),
                   op.weight.cols);
  }
}

// Adds the squares of rows [first, first + count) to sums; count is at most kRowsAtOnce.
void AddSquares(const Adafactor& op, int64_t first, int64_t count, int64_t begin, int64_t columns, float* sums) {
  ForEach(columns, [&](auto d, int64_t j) HWY_ATTR {
    auto sum = hn::LoadU(d, sums + j);
    for (int64_t r = first; r < first + count; ++r) {
      const auto g = hn::LoadU(d, RawRow<const float>(op.gradient, r) + begin + j);
      const auto v = hn::Mul(g, hn::Set(d, op.gradient_scale));
      sum = hn::MulAdd(v, v, sum);
    }
    hn::StoreU(sum, d, sums + j);
  });
}

void UpdateColumnStates(const Pass& pass) {
  const Adafactor& op = pass.op;
  const int64_t rows = op.weight.rows, cols = op.weight.cols;
  // Narrow pieces where there are few columns, so that every thread has some; a column's sum does not notice.
  const int64_t share = (cols + pass.threads - 1) / pass.threads;
  const int64_t width = std::clamp<int64_t>((share + 15) / 16 * 16, 16, kColumns);
#pragma omp parallel for num_threads(pass.threads) schedule(static)
  for (int64_t piece = 0; piece < (cols + width - 1) / width; ++piece) {
    const int64_t begin = piece * width, columns = std::min(width, cols - begin);
    double totals[kColumns] = {};
    float sums[kColumns] = {};
    for (int64_t r = 0; r < rows; r += kRowsAtOnce) {
      AddSquares(op, r, std::min(kRowsAtOnce, rows - r), begin, columns, sums);
      if ((r + kRowsAtOnce) % kRowsInF32 != 0 && r + kRowsAtOnce < rows) continue;
      for (int64_t j = 0; j < columns; ++j) totals[j] += sums[j];
      std::fill_n(sums, columns, 0.0f);
    }
    float* col = Raw<float>(op.col) + begin;
    for (int64_t j = 0; j < columns; ++j) col[j] = Moved(pass, col[j], totals[j], rows);
  }
}

// Calls body(part, first row, end row) for at most kParts groups of rows, on all threads.
template <class Body>
void ForEachGroup(const Pass& pass, int64_t rows, const Body& body) {
  const int64_t group = (rows + kParts - 1) / kParts, groups = (rows + group - 1) / group;
#pragma omp parallel for num_threads(pass.threads) schedule(static)
  for (int64_t p = 0; p < groups; ++p) body(p, p * group, std::min(rows, (p + 1) * group));
}

// Calls body(first column, end column) with 1/sqrt of those columns' states in pass.factors.
template <class Body>
void ForEachColumnPiece(const Pass& pass, const Body& body) {
  const int64_t cols = pass.op.weight.cols;
  for (int64_t first = 0; first < cols; first += pass.factor_room) {
    const int64_t end = std::min(cols, first + pass.factor_room);
    const float* col = Raw<const float>(pass.op.col);
#pragma omp parallel for num_threads(pass.threads) schedule(static)
    for (int64_t j = first; j < end; ++j) pass.factors[j - first] = 1.0f / std::sqrt(col[j]);
    body(first, end);
  }
}

// The learning rate over what the root mean square of the update exceeds the threshold by.
float ClippedRate(const Adafactor& op, double squares) {
  const double rms = std::sqrt(squares / static_cast<double>(op.weight.rows * op.weight.cols));
  // A NaN stays one.
  const double excess = rms <= op.clip_threshold ? 1.0 : rms / op.clip_threshold;
  return static_cast<float>(op.learning_rate / excess);
}

void UpdateMatrix(const Pass& pass) {
  const Adafactor& op = pass.op;
  const int64_t rows = op.weight.rows;
  UpdateRowStates(pass);
  UpdateColumnStates(pass);
  const float* row = Raw<const float>(op.row);
  double row_sum = 0;
  for (int64_t r = 0; r < rows; ++r) row_sum += row[r];
  const double row_mean = row_sum / static_cast<double>(rows);
  const auto row_factor = [&](int64_t r) {
    return static_cast<float>(op.gradient_scale / std::sqrt(row[r] / row_mean));
  };

  double squares = 0;  // of the update
  ForEachColumnPiece(pass, [&](int64_t first, int64_t end) HWY_ATTR {
    const int64_t group = (rows + kParts - 1) / kParts;
    ForEachGroup(pass, rows, [&](int64_t part, int64_t begin_row, int64_t end_row) HWY_ATTR {
      double sum = 0;
      for (int64_t r = begin_row; r < end_row; ++r) {
        const float* g = RawRow<const float>(op.gradient, r) + first;
        const float factor = row_factor(r);
        sum += SumInRuns(end - first, [&](auto d, int64_t j) HWY_ATTR {
          const auto u = hn::Mul(hn::Mul(hn::LoadU(d, g + j), hn::Set(d, factor)), hn::LoadU(d, pass.factors + j));
          return hn::Mul(u, u);
        });
      }
      pass.parts[part] = sum;
    });
    for (int64_t part = 0; part < (rows + group - 1) / group; ++part) squares += pass.parts[part];
  });

  const float rate = ClippedRate(op, squares), decay = static_cast<float>(1 - op.learning_rate * op.weight_decay);
  ForEachColumnPiece(pass, [&](int64_t first, int64_t end) HWY_ATTR {
    ForEachGroup(pass, rows, [&](int64_t, int64_t begin_row, int64_t end_row) HWY_ATTR {
      for (int64_t r = begin_row; r < end_row; ++r) {
        float* w = RawRow<float>(op.weight, r) + first;
        const float* g = RawRow<const float>(op.gradient, r) + first;
        const float factor = row_factor(r);
        ForEach(end - first, [&](auto d, int64_t j) HWY_ATTR {
          const auto u = hn::Mul(hn::Mul(hn::LoadU(d, g + j), hn::Set(d, factor)), hn::LoadU(d, pass.factors + j));
          const auto decayed = hn::Mul(hn::LoadU(d, w + j), hn::Set(d, decay));
          hn::StoreU(hn::NegMulAdd(u, hn::Set(d, rate), decayed), d, w + j);
        });
      }
    });
  });
}

void UpdateVector(const Pass& pass) {
  const Adafactor& op = pass.op;
  const int64_t n = op.weight.cols, block = std::max(kRun, (n + kParts - 1) / kParts), blocks = (n + block - 1) / block;
  float* w = Raw<float>(op.weight);
  float* state = Raw<float>(op.full);
  const float* g = Raw<const float>(op.gradient);
  const float beta2 = static_cast<float>(pass.beta2), rest = static_cast<float>(1 - pass.beta2);
  const auto update = [&](auto d, int64_t i) HWY_ATTR {
    const auto v = hn::Mul(hn::LoadU(d, g + i), hn::Set(d, op.gradient_scale));
    return hn::Div(v, hn::Sqrt(hn::LoadU(d, state + i)));
  };
#pragma omp parallel for num_threads(pass.threads) schedule(static)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t first = b * block, count = std::min(block, n - first);
    pass.parts[b] = SumInRuns(count, [&](auto d, int64_t j) HWY_ATTR {
      const int64_t i = first + j;
      const auto v = hn::Mul(hn::LoadU(d, g + i), hn::Set(d, op.gradient_scale));
      const auto square = hn::MulAdd(v, v, hn::Set(d, static_cast<float>(op.eps)));
      const auto moved = hn::MulAdd(hn::Set(d, rest), square, hn::Mul(hn::Set(d, beta2), hn::LoadU(d, state + i)));
      hn::StoreU(moved, d, state + i);
      const auto u = update(d, i);
      return hn::Mul(u, u);
    });
  }
  double squares = 0;
  for (int64_t b = 0; b < blocks; ++b) squares += pass.parts[b];
  const float rate = ClippedRate(op, squares), decay = static_cast<float>(1 - op.learning_rate * op.weight_decay);
#pragma omp parallel for num_threads(pass.threads) schedule(static)
  for (int64_t b = 0; b < blocks; ++b) {
    ForEach(std::min(block, n - b * block), [&](auto d, int64_t j) HWY_ATTR {
      const int64_t i = b * block + j;
      const auto decayed = hn::Mul(hn::LoadU(d, w + i), hn::Set(d, decay));
      hn::StoreU(hn::NegMulAdd(update(d, i), hn::Set(d, rate), decayed), d, w + i);
    });
  }
}

void AdafactorKernel(const CpuState& state, const Adafactor& op) {
  if (op.weight.rows == 0 || op.weight.cols == 0) return;
  const Pass pass(state, op);
  if (op.row) {
    UpdateMatrix(pass);
  } else {
    UpdateVector(pass);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(AdafactorKernel);

void CpuAdafactor(void* state, const Adafactor& op) {
  HWY_DYNAMIC_DISPATCH(AdafactorKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
