#include "app/bench_clock.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clock.h"
#include "base/error.h"

namespace attune {
namespace {

constexpr double kPeriod = 0.2;        // seconds from one measurement of the limit to the next
constexpr double kSpeedSeconds = 0.5;  // for which it is measured at once

void AddScaled(const std::map<std::string, OpCost>& costs, double scale, std::map<std::string, OpCost>* sum) {
  for (const auto& [of, cost] : costs) {
    OpCost& total = (*sum)[of];
    total.calls += cost.calls;
    total.seconds += scale * cost.seconds;
    total.flops += cost.flops;
    total.bytes += cost.bytes;
    total.amount += cost.amount;
  }
}

}  // namespace

StepClock::StepClock(Device& device, DType compute, int64_t tokens, Profile* profile, Turns* turns,
                     const OnProgress& progress)
    : device_(device),
      compute_(compute),
      tokens_(static_cast<double>(tokens)),
      profile_(*profile),
      turns_(turns),
      progress_(progress) {
  if (turns_ != nullptr) profile_.before_op = [this] { turns_->Pass(); };
}

void StepClock::MeasureBeside() {
  const double begin = Now();
  if (begin - measured_at_ < kPeriod) return;
  MeasureSpeed();
  measured_at_ = Now();
  measuring_ += measured_at_ - begin;
}

void StepClock::MeasureSpeed() {
  const MatmulLimit::Rate rate = meter_->Next();
  beside_.flops += rate.flops;
  beside_.seconds += rate.seconds;
}

void StepClock::OnStep(const StepMetrics& m) {
  auto before_op = std::exchange(profile_.before_op, nullptr);
  if (progress_) progress_("steps", m.step, m.total_steps);
  const bool is_first = m.step == 1;  // it warms caches and pages
  if (is_first) {
    peak_ = m.peak_rss_bytes;  // every buffer has been touched; those of measuring have not come yet
    meter_.emplace(compute_, device_.threads());
    if (turns_ == nullptr) before_op = [this] { MeasureBeside(); };
  }
  if (is_first || m.step == m.total_steps) limit_ = std::max(limit_, meter_->Best());
  const double waited = turns_ != nullptr ? turns_->waited() : 0;
  if (turns_ != nullptr && is_first) {
    while (beside_.seconds < kSpeedSeconds) MeasureSpeed();
  }
  if (beside_.seconds == 0) MeasureSpeed();  // the step was shorter than the period
  if (!is_first && (turns_ == nullptr || !turns_->is_alone())) {
    steps_.push_back(
        {tokens_ / m.tokens_per_second - (waited - waited_) - measuring_, beside_.flops / beside_.seconds, profile_});
  }
  waited_ = waited;
  if (turns_ == nullptr) beside_ = {};
  measuring_ = 0;
  profile_ = {};
  profile_.before_op = before_op;
}

void StepClock::Finish() {
  if (steps_.empty()) Failed("bench: the other one that takes turns ended before a step was measured");
  const auto count = static_cast<double>(steps_.size());
  speed_ = 0;
  for (const MeasuredStep& step : steps_) speed_ += step.speed / count;
  double fastest = 0, slowest = 0;
  for (const MeasuredStep& step : steps_) {
    const double scale = step.speed / speed_, seconds = scale * step.seconds;
    seconds_ += seconds / count;
    fastest = fastest == 0 ? seconds : std::min(fastest, seconds);
    slowest = std::max(slowest, seconds);
    AddScaled(step.profile.by_kind, scale, &sum_.by_kind);
    AddScaled(step.profile.by_tag, scale, &sum_.by_tag);
  }
  spread_ = (slowest - fastest) / seconds_;
}

}  // namespace attune
