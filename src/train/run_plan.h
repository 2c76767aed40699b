// What a run will do and need, before it starts: steps, order, the largest batch, and every byte. A pure function of the
// model's traits, the adapter, the settings and the lengths of the rows; the trainer allocates what it says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/sampler.h"
#include "models/decoder_plan.h"
#include "models/trainable.h"
#include "ops/device.h"
#include "train/arguments.h"
#include "train/chunks.h"
#include "train/step_count.h"

namespace attune {

struct MemoryRow {
  std::string name;
  int64_t bytes;
};

struct RunPlan {
  StepCounts steps;
  int64_t warmup_steps = 0;
  int64_t logging_steps = 1, save_steps = 0, eval_steps = 0;  // 0: never
  std::vector<int64_t> lengths, labelled;                     // by training row
  DecoderSettings settings;
  std::vector<MemoryRow> memory;
  int64_t planned_bytes = 0;  // the sum of the rows

  // The updates of an epoch, in order.
  std::vector<Update> EpochUpdatesOf(int64_t epoch) const;

  uint64_t data_seed = 42;
  bool shuffle = true;
  int64_t per_device_train_batch_size = 1, gradient_accumulation_steps = 1;
  bool drop_last = false;
};

// `compute`: F32 or BF16. `resident_bytes`: what the process already holds (program, tokenizer, data).
// Errors: Error{kBadInput} naming the key.
RunPlan PlanRun(const ModelSpec& spec, const AdapterSpec& adapter, const std::vector<TrainableTensor>& trainables,
                const TrainingArguments& arguments, bool shuffle, const Dataset& train, const Dataset* eval, DType compute,
                int64_t scratch_bytes, int64_t resident_bytes);

// Rows that have a label to predict: labels beyond the first.
int64_t LabelledRows(const Example& example);

// The memory table of a decoder with its weights and trained vectors.
std::vector<MemoryRow> MemoryTable(const ModelSpec& spec, const AdapterSpec& adapter,
                                   const std::vector<TrainableTensor>& trainables, const DecoderSettings& settings,
                                   int64_t scratch_bytes, int64_t resident_bytes);

}  // namespace attune
