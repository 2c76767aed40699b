#include "train/step_count.h"

#include <cmath>

#include "base/error.h"

namespace attune {
namespace {

constexpr double kLargestCount = 9007199254740992.0;  // 2^53: beyond it doubles skip integers

int64_t CeilDivide(int64_t a, int64_t b) { return a / b + (a % b != 0); }

int64_t Share(double share, int64_t total) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(total) * share));
}

}  // namespace

StepCounts CountSteps(const StepSettings& s) {
  if (s.per_device_train_batch_size < 1)
    BadInput("per_device_train_batch_size is {}: it must be 1 or more", s.per_device_train_batch_size);
  if (s.gradient_accumulation_steps < 1)
    BadInput("gradient_accumulation_steps is {}: it must be 1 or more", s.gradient_accumulation_steps);
  if (s.num_rows < 1) BadInput("there are no rows to train on");

  StepCounts counts;
  counts.micro_batches_per_epoch =
      s.drop_last ? s.num_rows / s.per_device_train_batch_size : CeilDivide(s.num_rows, s.per_device_train_batch_size);
  if (counts.micro_batches_per_epoch == 0) {
    BadInput(
        "{} rows do not fill one batch of {} and dataloader_drop_last drops it: lower "
        "per_device_train_batch_size",
        s.num_rows, s.per_device_train_batch_size);
  }
  counts.updates_per_epoch = CeilDivide(counts.micro_batches_per_epoch, s.gradient_accumulation_steps);
  counts.micro_batches_in_last_update =
      counts.micro_batches_per_epoch - (counts.updates_per_epoch - 1) * s.gradient_accumulation_steps;
  if (s.max_steps > 0) {
    counts.total_updates = s.max_steps;
    counts.epochs_run = CeilDivide(s.max_steps, counts.updates_per_epoch);
    return counts;
  }
  if (!(s.num_train_epochs > 0)) BadInput("num_train_epochs is {}: it must be above 0", s.num_train_epochs);
  const double updates = std::ceil(s.num_train_epochs * static_cast<double>(counts.updates_per_epoch));
  if (!(updates < kLargestCount)) BadInput("num_train_epochs is {}: too large", s.num_train_epochs);
  counts.total_updates = static_cast<int64_t>(updates);
  counts.epochs_run = static_cast<int64_t>(std::ceil(s.num_train_epochs));
  return counts;
}

int64_t WarmupSteps(double warmup_steps, double warmup_ratio, int64_t total_updates) {
  if (!(warmup_steps >= 0 && warmup_steps < kLargestCount))
    BadInput("warmup_steps is {}: it must be 0 or more", warmup_steps);
  if (!(warmup_ratio >= 0 && warmup_ratio <= 1))
    BadInput("warmup_ratio is {}: it must lie between 0 and 1", warmup_ratio);
  if (warmup_steps >= 1) {
    if (warmup_steps != std::floor(warmup_steps))
      BadInput("warmup_steps is {}: from 1 on it is a count and must be whole", warmup_steps);
    return static_cast<int64_t>(warmup_steps);
  }
  return Share(warmup_steps > 0 ? warmup_steps : warmup_ratio, total_updates);
}

int64_t IntervalSteps(double value, int64_t total_updates, const char* key) {
  if (!(value > 0 && value < kLargestCount)) BadInput("{} is {}: it must be above 0", key, value);
  if (value < 1) return Share(value, total_updates);
  if (value != std::floor(value)) BadInput("{} is {}: from 1 on it is a count and must be whole", key, value);
  return static_cast<int64_t>(value);
}

}  // namespace attune
