// Learning-rate schedules by Hugging Face's names: a pure function of the update number, so that resuming
// needs only that number, and for reduce_lr_on_plateau of what evaluations have shown. Source:
// transformers.optimization (get_scheduler and its lambdas).
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "train/plateau.h"

namespace attune {

// Immutable; safe to use from several threads.
class Schedule {
 public:
  // `name`: lr_scheduler_type; `kwargs`: lr_scheduler_kwargs, an object or null, keys as in transformers.
  // Errors: Error{kBadInput} naming the key: an unknown schedule or keyword (the nearest known one is
  // suggested), a keyword of the wrong type or out of range, more warm-up and decay steps than there are
  // updates.
  Schedule(const std::string& name, const nlohmann::ordered_json& kwargs, double learning_rate, int64_t warmup_steps,
           int64_t total_updates);

  // The rate that update `update` (from 0) is made with. With warm-up, update 0 has rate 0 in most schedules.
  double LearningRate(int64_t update, const PlateauState& plateau = {}) const;

  // Told of every evaluation that eval_strategy asks for. Only reduce_lr_on_plateau takes note of it.
  void Observe(double metric, PlateauState* plateau) const;

 private:
  double learning_rate_;
  std::optional<Plateau> plateau_;
  std::function<double(double update)> factor_;  // what the base rate is multiplied with
};

}  // namespace attune
