// How many optimiser updates a run makes: transformers' Trainer arithmetic (set_initial_training_values), one
// process.
#pragma once

#include <cstdint>

namespace attune {

struct StepSettings {
  int64_t num_rows = 0;
  int64_t per_device_train_batch_size = 8;
  int64_t gradient_accumulation_steps = 1;
  double num_train_epochs = 3.0;
  int64_t max_steps = -1;  // above 0 it overrides num_train_epochs
  bool drop_last = false;  // leave out the last batch of an epoch when it is not full
};

struct StepCounts {
  int64_t micro_batches_per_epoch = 0;
  int64_t updates_per_epoch = 0;             // the last group of an epoch may be short and still updates
  int64_t micro_batches_in_last_update = 0;  // of an epoch
  int64_t total_updates = 0;
  int64_t epochs_run = 0;  // epochs begun, the last one perhaps cut short
};

// Errors: Error{kBadInput} naming the key: no rows (or, with drop_last, fewer rows than a batch), a size
// below 1, epochs or max_steps that give no update, counts beyond 2^53.
StepCounts CountSteps(const StepSettings& settings);

// warmup_steps of 1 or more is a count; below 1 it is a share of the total (transformers 5). When it is 0,
// warmup_ratio (transformers 4) is that share. Shares round up. Errors: Error{kBadInput} naming the key.
int64_t WarmupSteps(double warmup_steps, double warmup_ratio, int64_t total_updates);

// logging_steps, eval_steps and save_steps: a value below 1 is a share of the total, rounded up.
// Errors: Error{kBadInput} naming `key`: not above 0, or above 1 and not whole.
int64_t IntervalSteps(double value, int64_t total_updates, const char* key);

}  // namespace attune
