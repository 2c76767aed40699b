// The settings of a training run, by transformers' and TRL's names. Defaults are SFTConfig's where it overrides
// TrainingArguments; docs/training.md lists where we differ and why.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "train/optim_args.h"

namespace attune {

enum class IntervalStrategy { kNo, kSteps, kEpoch, kBest };

struct TrainingArguments {
  std::string output_dir;
  bool overwrite_output_dir = false;

  double num_train_epochs = 3.0;
  int64_t max_steps = -1;
  int64_t per_device_train_batch_size = 8;
  int64_t gradient_accumulation_steps = 1;
  bool dataloader_drop_last = false;
  bool group_by_length = false;

  double learning_rate = 2e-5;
  std::string lr_scheduler_type = "linear";
  nlohmann::ordered_json lr_scheduler_kwargs;  // null when absent
  double warmup_ratio = 0;
  double warmup_steps = 0;  // below 1: a ratio, as in transformers 5
  std::string optim = "adamw_torch";
  SgdArguments sgd;  // optim_args
  double weight_decay = 0;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;    // 0: no clipping
  double loraplus_lr_ratio = 0;  // 0: off
  double loraplus_lr_embedding = 1e-6;
  double label_smoothing_factor = 0;
  double neftune_noise_alpha = 0;  // 0: off
  int64_t skip_nonfinite = 0;      // ours: updates that may be left out for a loss or gradient that is not finite

  bool logging_first_step = false;
  IntervalStrategy logging_strategy = IntervalStrategy::kSteps;
  double logging_steps = 10;
  IntervalStrategy save_strategy = IntervalStrategy::kSteps;
  double save_steps = 500;
  std::optional<int64_t> save_total_limit;
  IntervalStrategy eval_strategy = IntervalStrategy::kNo;
  double eval_steps = 0;             // 0: as logging_steps
  double eval_delay = 0;             // steps, or epochs where eval_strategy counts those, without evaluations at first
  int64_t eval_samples = 2;          // ours: held-out rows whose answers are generated at every evaluation
  int64_t eval_max_new_tokens = 48;  // ours
  bool load_best_model_at_end = false;
  std::string metric_for_best_model = "loss";
  std::optional<bool> greater_is_better;
  int64_t early_stopping_patience = 0;  // 0: off
  double early_stopping_threshold = 0;

  uint64_t seed = 42;
  std::optional<uint64_t> data_seed;

  bool bf16 = true, fp16 = false;       // false and false: f32
  bool gradient_checkpointing = false;  // TRL: on; here activations are small enough to keep
  int64_t max_length = 1024;
  std::string truncation_mode = "keep_start";
  bool packing = false;
  std::string packing_strategy = "bfd";
  std::optional<bool> completion_only_loss;
  bool assistant_only_loss = false;
  int64_t tokens_in_flight = 1024;  // ours: rows of an update run together up to so many tokens
};

}  // namespace attune
