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
#include "ops/matmul_limit.h"

namespace attune {

// One training step: its time, what its ops took, and what the machine could multiply at meanwhile.
struct MeasuredStep {
  double seconds = 0;
  double speed = 0;
  Profile profile;
};

// Steps with the machine's limit measured in turn with their ops, for other work on the same cores halves both for
// seconds at a time. Times are brought to one speed and added up. With turns of another bench the limit is measured
// after the first step only, and steps count as they are, those during which the other bench ran: what slows them slows
// it.
class StepClock : public TrainEvents {
 public:
  // `tokens` of a step; `profile` is the one that its ops are counted in. `turns` may be null, `progress` empty.
  StepClock(Device& device, DType compute, int64_t tokens, Profile* profile, Turns* turns, const OnProgress& progress);

  void OnStep(const StepMetrics& m) override;

  // After the last step. Errors: Error{kFailed}: the other bench ended before a step did.
  void Finish();

  double seconds() const { return seconds_; }  // of a step
  double speed() const { return speed_; }      // that oneDNN's products reached in turn with them, on average
  double limit() const { return limit_; }      // of the machine: the best of oneDNN's products
  double spread() const { return spread_; }    // of the times, as a part of their mean
  const Profile& sum() const { return sum_; }  // over the steps that are kept
  size_t steps() const { return steps_.size(); }
  int64_t peak() const { return peak_; }

 private:
  // Before each op: measures the limit where that was long ago.
  void MeasureBeside();
  void MeasureSpeed();

  Device& device_;
  DType compute_;
  double tokens_;
  Profile& profile_;  // of the step that is running
  Turns* turns_;
  const OnProgress& progress_;
  double waited_ = 0;                       // for turns, when the step began
  std::optional<MatmulLimit> meter_;        // from the end of the first step on
  MatmulLimit::Rate beside_;                // of the step that is running
  double measured_at_ = 0, measuring_ = 0;  // when last, and for how long during this step
  std::vector<MeasuredStep> steps_;
  Profile sum_;
  double seconds_ = 0, speed_ = 0, limit_ = 0, spread_ = 0;
  int64_t peak_ = 0;
};

}  // namespace attune
