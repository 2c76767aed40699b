#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <vector>

#include "base/error.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;
using Factor = std::function<double(double)>;

constexpr double kPi = std::numbers::pi;

// What every schedule is made from. `warmup` and `total` count updates.
struct Run {
  const ScheduleKeywords& keywords;
  double learning_rate, warmup, total;

  double WarmupFactor(double t) const { return t / std::max(1.0, warmup); }
  double Progress(double t) const { return (t - warmup) / std::max(1.0, total - warmup); }  // 0 to 1 after warm-up
};

// The warm-up that most schedules share, then `after`.
template <class After>
Factor WarmedUp(const Run& run, After after) {
  return [run, after](double t) { return t < run.warmup ? run.WarmupFactor(t) : after(run, t); };
}

Factor Constant(const Run&) {
  return [](double) { return 1.0; };
}

Factor ConstantWithWarmup(const Run& run) {
  return WarmedUp(run, [](const Run&, double) { return 1.0; });
}

Factor Linear(const Run& run) {
  return WarmedUp(
      run, [](const Run& r, double t) { return std::max(0.0, (r.total - t) / std::max(1.0, r.total - r.warmup)); });
}

double Cosine(double cycles, double progress) { return 0.5 * (1.0 + std::cos(kPi * cycles * 2.0 * progress)); }

Factor CosineSchedule(const Run& run) {
  const double cycles = run.keywords.Number("num_cycles", 0).value_or(0.5);
  return WarmedUp(run, [cycles](const Run& r, double t) { return std::max(0.0, Cosine(cycles, r.Progress(t))); });
}

Factor CosineWithRestarts(const Run& run) {
  const double cycles = run.keywords.Number("num_cycles", 0).value_or(1);
  return WarmedUp(run, [cycles](const Run& r, double t) {
    const double progress = r.Progress(t);
    if (progress >= 1) return 0.0;
    return std::max(0.0, 0.5 * (1.0 + std::cos(kPi * std::fmod(cycles * progress, 1.0))));
  });
}

Factor Polynomial(const Run& run) {
  const double end = run.keywords.Number("lr_end", 0).value_or(1e-7);
  const double power = run.keywords.Number("power", 0).value_or(1);
  if (!(run.learning_rate > end))
    BadInput("lr_scheduler_kwargs.lr_end is {}: it must be below learning_rate {}", end, run.learning_rate);
  return WarmedUp(run, [end, power](const Run& r, double t) {
    if (t > r.total) return end / r.learning_rate;
    const double remaining = 1 - (t - r.warmup) / std::max(1.0, r.total - r.warmup);
    return ((r.learning_rate - end) * std::pow(remaining, power) + end) / r.learning_rate;
  });
}

Factor InverseSqrt(const Run& run) {
  const double otherwise = run.warmup > 0 ? run.warmup : 10000;
  const double timescale = run.keywords.Number("timescale", 1).value_or(otherwise);
  return WarmedUp(
      run, [timescale](const Run& r, double t) { return 1.0 / std::sqrt((t + timescale - r.warmup) / timescale); });
}

double LeastRate(const Run& run) {
  const auto rate = run.keywords.Number("min_lr", 0);
  const auto share = run.keywords.Number("min_lr_rate", 0);
  if (rate && share) BadInput("lr_scheduler_kwargs: set min_lr or min_lr_rate, not both");
  if (!rate && !share) BadInput("lr_scheduler_kwargs: this schedule needs min_lr or min_lr_rate");
  return share ? *share : *rate / run.learning_rate;
}

Factor CosineWithMinLr(const Run& run) {
  const double cycles = run.keywords.Number("num_cycles", 0).value_or(0.5);
  const double least = LeastRate(run);
  return WarmedUp(run, [cycles, least](const Run& r, double t) {
    return std::max(0.0, Cosine(cycles, r.Progress(t)) * (1 - least) + least);
  });
}

// Counts from 1 rather than 0: its first update already has a rate.
Factor CosineWarmupWithMinLr(const Run& run) {
  const double cycles = run.keywords.Number("num_cycles", 0).value_or(0.5);
  const double least = LeastRate(run);
  const std::optional<double> first = run.keywords.Number("warmup_lr_rate", 0);
  return [run, cycles, least, first](double t) {
    if (t < run.warmup) {
      if (!first) return run.WarmupFactor(t + 1);
      return *first + (1 - *first) * t / std::max(1.0, run.warmup - 1);
    }
    return std::max(0.0, Cosine(cycles, run.Progress(t + 1)) * (1 - least) + least);
  };
}

enum class Shape { kLinear, kCosine, kOneMinusSqrt };  // by the names in ShapeOf

Shape ShapeOf(const Run& run, const char* key, Shape otherwise) {
  return static_cast<Shape>(run.keywords.OneOf(key, {"linear", "cosine", "1-sqrt"}, static_cast<size_t>(otherwise)));
}

Factor WarmupStableDecay(const Run& run) {
  const auto decay = run.keywords.Count("num_decay_steps");
  if (!decay) BadInput("lr_scheduler_kwargs.num_decay_steps: the schedule \"warmup_stable_decay\" needs it");
  const auto given = run.keywords.Count("num_stable_steps");
  const double stable = given.value_or(run.total - run.warmup - *decay);
  if (stable < 0) {
    BadInput(
        "lr_scheduler_kwargs.num_decay_steps is {}: with {} warm-up steps that is more than the {} updates "
        "of this "
        "run",
        *decay, run.warmup, run.total);
  }
  const double cycles = run.keywords.Number("num_cycles", 0).value_or(0.5);
  const double least = run.keywords.Number("min_lr_ratio", 0).value_or(0);
  const Shape up = ShapeOf(run, "warmup_type", Shape::kLinear);
  const Shape down = ShapeOf(run, "decay_type", Shape::kCosine);
  const double decay_start = run.warmup + stable, decay_steps = *decay;
  const double warmup = run.warmup;
  return [=](double t) {
    double factor = 1;
    if (t < warmup) {
      const double p = t / std::max(1.0, warmup);
      factor = up == Shape::kLinear ? p : up == Shape::kCosine ? 0.5 * (1 - std::cos(kPi * p)) : 1 - std::sqrt(1 - p);
    } else if (t < decay_start) {
      return 1.0;
    } else if (t < decay_start + decay_steps) {
      const double p = (t - decay_start) / std::max(1.0, decay_steps);
      factor = down == Shape::kLinear ? 1 - p : down == Shape::kCosine ? Cosine(cycles, p) : 1 - std::sqrt(p);
    } else {
      return least;
    }
    return std::max(0.0, factor * (1 - least) + least);
  };
}

struct Kind {
  const char* name;
  Factor (*make)(const Run&);
  std::vector<std::string> keywords;
};

const std::vector<Kind>& Kinds() {
  static const std::vector<Kind> kinds = {
      {"linear", Linear, {}},
      {"cosine", CosineSchedule, {"num_cycles"}},
      {"cosine_with_restarts", CosineWithRestarts, {"num_cycles"}},
      {"polynomial", Polynomial, {"lr_end", "power"}},
      {"constant", Constant, {}},
      {"constant_with_warmup", ConstantWithWarmup, {}},
      {"inverse_sqrt", InverseSqrt, {"timescale"}},
      {"cosine_with_min_lr", CosineWithMinLr, {"num_cycles", "min_lr", "min_lr_rate"}},
      {"cosine_warmup_with_min_lr", CosineWarmupWithMinLr, {"num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"}},
      {"warmup_stable_decay",
       WarmupStableDecay,
       {"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"}},
      {Plateau::kName, Constant, Plateau::Keywords()},
  };
  return kinds;
}

}  // namespace

Schedule::Schedule(const std::string& name, const Json& kwargs, double learning_rate, int64_t warmup_steps,
                   int64_t total_updates)
    : learning_rate_(learning_rate) {
  if (!(learning_rate > 0) || !std::isfinite(learning_rate))
    BadInput("learning_rate is {}: it must be above 0", learning_rate);
  const ScheduleKeywords keywords(kwargs);
  std::vector<std::string> names;
  for (const Kind& kind : Kinds()) {
    names.push_back(kind.name);
    if (name != kind.name) continue;
    keywords.RefuseUnknown(name, kind.keywords);
    factor_ =
        kind.make({keywords, learning_rate, static_cast<double>(warmup_steps), static_cast<double>(total_updates)});
    if (name == Plateau::kName) plateau_.emplace(keywords);
    return;
  }
  BadInput("lr_scheduler_type \"{}\" is not known; {}", name, SuggestionFor(name, names));
}

double Schedule::LearningRate(int64_t update, const PlateauState& plateau) const {
  return plateau_ ? plateau_->LearningRate(learning_rate_, plateau)
                  : learning_rate_ * factor_(static_cast<double>(update));
}

void Schedule::Observe(double metric, PlateauState* plateau) const {
  if (plateau_) plateau_->Observe(metric, plateau);
}

}  // namespace attune
