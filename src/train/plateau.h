// reduce_lr_on_plateau: the rate falls when a metric of the held-out rows has stopped getting better. Unlike every
// other schedule it depends on what has been seen, which a checkpoint therefore keeps. Source: torch's
// ReduceLROnPlateau, which transformers' Trainer steps at each evaluation.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "train/schedule_keywords.h"

namespace attune {

struct PlateauState {
  std::optional<double> best;   // metric
  int64_t bad_evaluations = 0;  // in a row, without a better metric
  int64_t cooldown = 0;         // evaluations during which none counts as bad
  int64_t reductions = 0;       // of the rate
};

// Immutable.
class Plateau {
 public:
  static constexpr const char* kName = "reduce_lr_on_plateau";
  static const std::vector<std::string>& Keywords();

  // Errors: Error{kBadInput} naming the key.
  explicit Plateau(const ScheduleKeywords& keywords);

  void Observe(double metric, PlateauState* state) const;

  // What the rate that a run began with has become.
  double LearningRate(double first, const PlateauState& state) const;

 private:
  bool IsBetter(double metric, double best) const;

  bool greater_, absolute_;
  double factor_, threshold_, min_lr_, eps_;
  int64_t patience_, cooldown_;
};

}  // namespace attune
