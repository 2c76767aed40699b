#include "train/plateau.h"

#include <algorithm>

#include "base/error.h"

namespace attune {

const std::vector<std::string>& Plateau::Keywords() {
  static const std::vector<std::string> keywords = {"mode",           "factor",   "patience", "threshold",
                                                    "threshold_mode", "cooldown", "min_lr",   "eps"};
  return keywords;
}

Plateau::Plateau(const ScheduleKeywords& keywords)
    : greater_(keywords.OneOf("mode", {"min", "max"}) == 1),
      absolute_(keywords.OneOf("threshold_mode", {"rel", "abs"}) == 1),
      factor_(keywords.Number("factor", 0).value_or(0.1)),
      threshold_(keywords.Number("threshold", 0).value_or(1e-4)),
      min_lr_(keywords.Number("min_lr", 0).value_or(0)),
      eps_(keywords.Number("eps", 0).value_or(1e-8)),
      patience_(static_cast<int64_t>(keywords.Count("patience").value_or(10))),
      cooldown_(static_cast<int64_t>(keywords.Count("cooldown").value_or(0))) {
  if (!(factor_ < 1))
    BadInput("lr_scheduler_kwargs.factor is {}: it must be below 1, or the rate would not fall", factor_);
}

bool Plateau::IsBetter(double metric, double best) const {
  if (absolute_) return greater_ ? metric > best + threshold_ : metric < best - threshold_;
  return greater_ ? metric > best * (threshold_ + 1.0) : metric < best * (1.0 - threshold_);
}

void Plateau::Observe(double metric, PlateauState* state) const {
  if (!state->best || IsBetter(metric, *state->best)) {
    state->best = metric;
    state->bad_evaluations = 0;
  } else {
    state->bad_evaluations += 1;
  }
  if (state->cooldown > 0) {
    state->cooldown -= 1;
    state->bad_evaluations = 0;
  }
  if (state->bad_evaluations <= patience_) return;
  state->reductions += 1;
  state->cooldown = cooldown_;
  state->bad_evaluations = 0;
}

// Step by step, so that the result has the bits of torch's.
double Plateau::LearningRate(double first, const PlateauState& state) const {
  double rate = first;
  for (int64_t i = 0; i < state.reductions; ++i) {
    const double lower = std::max(rate * factor_, min_lr_);
    if (!(rate - lower > eps_)) break;
    rate = lower;
  }
  return rate;
}

}  // namespace attune
