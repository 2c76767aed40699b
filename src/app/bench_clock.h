// The times of a bench's training steps, of their ops by kind and by tag, and the machine's speed beside them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/bench_turns.h"
#include "app/train_events.h"
#include "base/progress.h"
#include "ops/device.h"

namespace attune {

// What a product of our own reaches just now, in operations a second, over about a second: less where other work shares
// the cores, which slows a training step alike.
class Speedometer {
 public:
  Speedometer(Device& device, DType compute);
  double Measure();

 private:
  Device& device_;
  Gemm product_;
};

// One training step: its time, what its ops took, and the speed right before and right after it.
struct MeasuredStep {
  double seconds = 0;
  double before = 0, after = 0;
  Profile profile;

  double Speed() const { return (before + after) / 2; }
  double Drift() const;
};

// Steps with the speed measured around each, for other work on the same cores halves it for seconds at a time. Of the
// calmer half, beside which it moved least, times are brought to one speed and added up. With turns all steps count as
// they are, those during which the other bench ran: what slows them slows it. The limit is the best of two
// measurements.
class StepClock : public TrainEvents {
 public:
  // `tokens` of a step; `profile` is the one that its ops are counted in. `turns` may be null, `progress` empty.
  StepClock(Device& device, DType compute, int64_t tokens, Profile* profile, Turns* turns, const OnProgress& progress);

  void OnStep(const StepMetrics& m) override;

  // After the last step. Errors: Error{kFailed}: the other bench ended before a step did.
  void Finish();

  double seconds() const { return seconds_; }  // of a step
  double speed() const { return speed_; }      // beside them, on average
  double limit() const { return limit_; }      // of the machine
  double spread() const { return spread_; }    // of the times, as a part of their mean
  const Profile& sum() const { return sum_; }  // over the steps that are kept
  size_t steps() const { return steps_.size(); }
  int64_t peak() const { return peak_; }

 private:
  void KeepCalmHalf();

  Device& device_;
  DType compute_;
  double tokens_;
  Profile& profile_;  // of the step that is running
  Turns* turns_;
  const OnProgress& progress_;
  double waited_ = 0;  // for turns, when the step began
  std::vector<MeasuredStep> steps_;
  std::optional<Speedometer> speedometer_;
  Profile sum_;
  double seconds_ = 0, speed_ = 0, limit_ = 0, spread_ = 0;
  int64_t peak_ = 0;
};

}  // namespace attune
