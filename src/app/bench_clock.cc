#include "app/bench_clock.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "ops/matmul_limit.h"

namespace attune {
namespace {

constexpr int64_t kSide = 1024;  // of the product that measures the speed

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

Speedometer::Speedometer(Device& device, DType compute) : device_(device) {
  const auto matrix = [&](DType dtype) {
    return DenseMatrix(device.Allocate(BytesOf(dtype, kSide * kSide), "bench"), dtype, kSide, kSide);
  };
  product_.c = matrix(DType::kF32);
  product_.a = matrix(compute);
  product_.b = matrix(compute);
}

double Speedometer::Measure() {
  constexpr double kSeconds = 1;
  const double begin = Now();
  double operations = 0;
  do {
    device_.Run(product_);
    operations += WorkOf(product_).flops;
  } while (Now() - begin < kSeconds);
  return operations / (Now() - begin);
}

double MeasuredStep::Drift() const { return std::abs(before / after - 1); }

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

void StepClock::OnStep(const StepMetrics& m) {
  const auto before_op = std::exchange(profile_.before_op, nullptr);  // what is measured here takes no turns
  if (progress_) progress_("steps", m.step, m.total_steps);
  const bool is_first = m.step == 1;  // it warms caches and pages
  if (is_first) {
    peak_ = m.peak_rss_bytes;  // every buffer has been touched; that of measuring has not come yet
    speedometer_.emplace(device_, compute_);
  }
  if (is_first || m.step == m.total_steps) limit_ = std::max(limit_, MeasureMatmulLimit(compute_, device_.threads()));
  const double waited = turns_ != nullptr ? turns_->waited() : 0;
  const bool counts = !is_first && (turns_ == nullptr || !turns_->is_alone());
  const double before = speed_;
  if (turns_ == nullptr || is_first) speed_ = speedometer_->Measure();
  if (counts) steps_.push_back({tokens_ / m.tokens_per_second - (waited - waited_), before, speed_, profile_});
  waited_ = waited;
  profile_ = {};
  profile_.before_op = before_op;
}

void StepClock::KeepCalmHalf() {
  std::sort(steps_.begin(), steps_.end(), [](const auto& a, const auto& b) { return a.Drift() < b.Drift(); });
  steps_.resize((steps_.size() + 1) / 2);
}

void StepClock::Finish() {
  if (steps_.empty()) Failed("bench: the other one that takes turns ended before a step was measured");
  if (turns_ == nullptr) KeepCalmHalf();
  const auto count = static_cast<double>(steps_.size());
  speed_ = 0;
  for (const MeasuredStep& step : steps_) speed_ += step.Speed() / count;
  double fastest = 0, slowest = 0;
  for (const MeasuredStep& step : steps_) {
    const double scale = step.Speed() / speed_, seconds = scale * step.seconds;
    seconds_ += seconds / count;
    fastest = fastest == 0 ? seconds : std::min(fastest, seconds);
    slowest = std::max(slowest, seconds);
    AddScaled(step.profile.by_kind, scale, &sum_.by_kind);
    AddScaled(step.profile.by_tag, scale, &sum_.by_tag);
  }
  spread_ = (slowest - fastest) / seconds_;
}

}  // namespace attune
