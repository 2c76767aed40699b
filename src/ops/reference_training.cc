// Plain references of the loss and the optimisers.
#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "ops/cpu/raw.h"
#include "ops/reference.h"
#include "quant/adamw8bit.h"

namespace attune {

void Reference(const CrossEntropy& op) {
  for (int64_t r = 0; r < op.logits.rows; ++r) {
    const int64_t target = Raw<const int32_t>(op.targets)[r];
    double max = -INFINITY, sum = 0, others = 0;
    for (int64_t c = 0; c < op.logits.cols; ++c) max = std::max(max, Get(op.logits, r, c));
    for (int64_t c = 0; c < op.logits.cols; ++c) {
      const double e = std::exp(Get(op.logits, r, c) - max);
      sum += e;
      if (c != target) others += e;
    }
    const double at_target = Get(op.logits, r, target);
    const double classes = static_cast<double>(op.logits.cols), smoothing = op.label_smoothing;
    double mean = 0;
    for (int64_t c = 0; smoothing > 0 && c < op.logits.cols; ++c) mean += Get(op.logits, r, c) / classes;
    Put(op.losses, 0, r, std::log(sum) + max - (1 - smoothing) * at_target - (smoothing > 0 ? smoothing * mean : 0));
    Put(op.correct, 0, r, at_target >= max ? 1 : 0);
    if (!op.gradient) continue;
    for (int64_t c = 0; c < op.logits.cols; ++c) {
      // At the target p - 1 = -(the probability of everything else), which cannot cancel.
      const double slope = c == target ? -others / sum : std::exp(Get(op.logits, r, c) - max) / sum;
      Put(op.gradient, r, c, op.scale * (slope + (c == target ? smoothing : 0) - smoothing / classes));
    }
  }
}

void Reference(const SumSquares& op) {
  double sum = 0;
  for (int64_t i = 0; i < op.x.cols; ++i) sum += Get(op.x, 0, i) * Get(op.x, 0, i);
  Put(op.out, 0, 0, sum);
}

void Reference(const AdamW& op) {
  const double correction1 = 1 - std::pow(op.beta1, static_cast<double>(op.step));
  const double correction2 = 1 - std::pow(op.beta2, static_cast<double>(op.step));
  for (int64_t i = 0; i < op.weight.cols; ++i) {
    const double g = Get(op.gradient, 0, i) * op.gradient_scale;
    const double m = op.beta1 * Get(op.m, 0, i) + (1 - op.beta1) * g;
    const double v = op.beta2 * Get(op.v, 0, i) + (1 - op.beta2) * g * g;
    const double decayed = Get(op.weight, 0, i) * (1 - op.learning_rate * op.weight_decay);
    const double denominator = std::sqrt(v) / std::sqrt(correction2) + op.eps;
    Put(op.weight, 0, i, decayed - op.learning_rate / correction1 * m / denominator);
    Put(op.m, 0, i, m);
    Put(op.v, 0, i, v);
  }
}

void Reference(const AdamW8bit& op) {
  const auto span = [](const Matrix& m, auto* data) { return std::span(data, static_cast<size_t>(m.cols)); };
  const AdamW8bitSettings settings = {op.learning_rate, op.beta1, op.beta2, op.eps, op.weight_decay, op.gradient_scale};
  StepAdamW8bit(settings, op.step,
                {span(op.weight, Raw<float>(op.weight)), span(op.gradient, Raw<const float>(op.gradient)),
                 span(op.m, Raw<uint8_t>(op.m)), span(op.v, Raw<uint8_t>(op.v)),
                 span(op.absmax_m, Raw<float>(op.absmax_m)), span(op.absmax_v, Raw<float>(op.absmax_v))});
}

void Reference(const FindNonFinite& op) {
  int64_t* out = Raw<int64_t>(op.out);
  *out = -1;
  for (int64_t i = op.x.cols - 1; i >= 0; --i) {
    if (!std::isfinite(Get(op.x, 0, i))) *out = i;
  }
}

void Reference(const Sgd& op) {
  for (int64_t i = 0; i < op.weight.cols; ++i) {
    const double w = Get(op.weight, 0, i);
    double g = Get(op.gradient, 0, i) * op.gradient_scale + op.weight_decay * w;
    if (op.m) {
      const double m = op.momentum * Get(op.m, 0, i) + (op.step == 1 ? 1 : 1 - op.dampening) * g;
      Put(op.m, 0, i, m);
      g = op.nesterov ? g + op.momentum * m : m;
    }
    Put(op.weight, 0, i, w - op.learning_rate * g);
  }
}

void Reference(const Lion& op) {
  for (int64_t i = 0; i < op.weight.cols; ++i) {
    const double g = Get(op.gradient, 0, i) * op.gradient_scale, m = Get(op.m, 0, i);
    const double direction = op.beta1 * m + (1 - op.beta1) * g;
    const double sign = direction > 0 ? 1 : direction < 0 ? -1 : 0;
    const double decayed = Get(op.weight, 0, i) * (1 - op.learning_rate * op.weight_decay);
    Put(op.weight, 0, i, decayed - op.learning_rate * sign);
    Put(op.m, 0, i, op.beta2 * m + (1 - op.beta2) * g);
  }
}

// With V the estimate of the squares: row r and column c give V = row[r] col[c] / mean(row); a vector keeps V
// itself. u = g / sqrt(V), made smaller where its root mean square exceeds the threshold.
void Reference(const Adafactor& op) {
  const int64_t rows = op.weight.rows, cols = op.weight.cols;
  const double beta2 = 1 - std::pow(static_cast<double>(op.step), op.decay_rate);
  const auto gradient = [&](int64_t r, int64_t c) { return Get(op.gradient, r, c) * op.gradient_scale; };
  const auto move = [&](const Matrix& state, int64_t i, double squares) {
    Put(state, 0, i, beta2 * Get(state, 0, i) + (1 - beta2) * (squares + op.eps));
  };
  double row_mean = 0;
  for (int64_t r = 0; op.row && r < rows; ++r) {
    double sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += gradient(r, c) * gradient(r, c);
    move(op.row, r, sum / static_cast<double>(cols));
    row_mean += Get(op.row, 0, r) / static_cast<double>(rows);
  }
  for (int64_t c = 0; c < cols; ++c) {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += gradient(r, c) * gradient(r, c);
    move(op.row ? op.col : op.full, c, sum / static_cast<double>(rows));
  }
  std::vector<double> update;
  double squares = 0;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const double v = op.row ? Get(op.row, 0, r) / row_mean * Get(op.col, 0, c) : Get(op.full, 0, c);
      update.push_back(gradient(r, c) / std::sqrt(v));
      squares += update.back() * update.back();
    }
  }
  const double rms = std::sqrt(squares / static_cast<double>(rows * cols));
  const double rate = op.learning_rate / std::max(1.0, rms / op.clip_threshold);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      const double decayed = Get(op.weight, r, c) * (1 - op.learning_rate * op.weight_decay);
      Put(op.weight, r, c, decayed - rate * update[static_cast<size_t>(r * cols + c)]);
    }
  }
}

}  // namespace attune
