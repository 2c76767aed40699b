// What a run will do and need, before it starts: steps, order, the largest batch, and every byte. A pure function of
// the model's traits, what is trained, the settings and the lengths of the rows; the trainer allocates what it says.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/sampler.h"
#include "models/base_storage.h"
#include "models/decoder_plan.h"
#include "models/trainable.h"
#include "ops/device.h"
#include "train/arguments.h"
#include "train/chunks.h"
#include "train/evaluation.h"
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
  int64_t first_eval_step = 0;                                // no evaluation at an interval before it
  std::vector<RowShape> shapes;                               // by training row
  std::vector<SamplePrompt> samples;                          // asked at every evaluation
  DecoderSettings settings;
  std::vector<MemoryRow> memory;
  int64_t planned_bytes = 0;  // the sum of the rows

  // The updates of an epoch, in order.
  std::vector<Update> EpochUpdatesOf(int64_t epoch) const;

  uint64_t data_seed = 42;
  bool shuffle = true, group_by_length = false;
  int64_t per_device_train_batch_size = 1, gradient_accumulation_steps = 1;
  bool drop_last = false;
};

// What a plan is made from.
struct PlanInputs {
  const ModelSpec& spec;
  const AdapterSpec& adapter;
  const std::vector<TrainableTensor>& trainables;
  const TrainingArguments& arguments;
  bool shuffle;
  const std::vector<Example>& train;
  const Dataset* eval;         // may be null
  const BaseStorage& storage;  // with the compute type
  int64_t scratch_bytes;       // of the device
  int64_t resident_bytes;      // what the process already holds (program, tokenizer, data)
};

// The limits of a decoder for chunks of at most this size.
DecoderSettings SettingsFor(const TrainingArguments& arguments, DType compute, const ChunkLimits& limits);

// Every byte that a run with these settings holds, by what it is for: what stands throughout, then what a step of this
// size needs and the rest. Rows of data are not looked at.
std::vector<MemoryRow> MemoryTable(const PlanInputs& inputs, const DecoderSettings& settings);
std::vector<MemoryRow> StandingMemory(const PlanInputs& inputs);
void AddStepMemory(const PlanInputs& inputs, const DecoderSettings& settings, std::vector<MemoryRow>* rows);

int64_t TotalBytes(const std::vector<MemoryRow>& rows);

// Errors: Error{kBadInput} naming the key.
RunPlan PlanRun(const PlanInputs& inputs);

// A setting that would make the run fit into `available` bytes, as one may write it ("tokens_in_flight: 512"), or ""
// where none does. `available` counts what the process already holds.
std::string SettingThatFits(const PlanInputs& inputs, int64_t available);

}  // namespace attune
