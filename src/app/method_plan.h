// The memory of one method on one model and device: the trainer's table for whatever limits one asks about, and the
// searches over it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/plan_job.h"
#include "models/trainable.h"
#include "train/run_plan.h"

namespace attune {

// How large the chunks of a run get under some settings.
using LimitsOfSettings = std::function<ChunkLimits(const TrainingArguments&)>;

// `rows` rows of `length` tokens, all trained, at once.
ChunkLimits FullRows(int64_t rows, int64_t length);

// Whether nobody has said what an adapter goes on, and there is no default for this model: then a plan takes all linear
// layers, and `attune train` asks.
bool LacksTargets(const RunConfig& config, const PlannedModel& model);

// How a run of this method would hold the base: as its `files` have it where they are there (else null), otherwise as
// published checkpoints are stored (spec.torch_dtype, bfloat16 where it says nothing), and quantised by qlora.
BaseStorage StorageOf(const std::string& method, const PlannedModel& model, const ModelFiles* files,
                      const RunConfig& config, DType compute);

class MethodMemory {
 public:
  // `method`: lora, qlora or full. `program_bytes`: of this machine's process; an accelerator has its own. Everything
  // given must outlive it. Errors: Error{kBadInput}: targets that match nothing, a rank above a layer's dimension.
  MethodMemory(const std::string& method, const PlannedModel& model, const RunConfig& config, const PlanDevice& device,
               int64_t devices, int64_t program_bytes, const BaseStorage& storage);

  // On each device.
  std::vector<MemoryRow> Table(const TrainingArguments& arguments, const ChunkLimits& limits) const;
  int64_t Bytes(const TrainingArguments& arguments, const ChunkLimits& limits) const {
    return TotalBytes(Table(arguments, limits));
  }

  // Without rows of data.
  PlanInputs Inputs(const TrainingArguments& arguments) const;

  int64_t trainable_parameters() const { return trainable_parameters_; }
  int64_t adapter_parameters() const { return method_ == "full" ? 0 : trainable_parameters_; }

  // The most rows of `length` tokens that fit at once; 0: not one does.
  int64_t LargestRows(const TrainingArguments& arguments, int64_t length) const;
  // The longest single row that fits, up to the model's positions.
  int64_t LargestContext(const TrainingArguments& arguments) const;
  // What to change, the cheapest first, each on top of those before, until it fits; empty when it does already.
  std::vector<FitStep> StepsToFit(const TrainingArguments& arguments, const LimitsOfSettings& limits) const;

 private:
  int64_t LargestFitting(int64_t most, const std::function<int64_t(int64_t)>& bytes) const;
  std::vector<MemoryRow> Standing(const TrainingArguments& arguments) const;

  std::string method_;
  const PlannedModel& model_;
  const PlanDevice& device_;
  int64_t devices_, program_bytes_;
  BaseStorage storage_;
  AdapterSpec adapter_;
  std::vector<TrainableTensor> trainables_;
  int64_t trainable_parameters_ = 0;
  mutable std::vector<MemoryRow> standing_;  // as last asked for, with this optimiser: searches change only the step
  mutable std::string optim_;
};

// What prompting takes: the weights as they are stored (in bfloat16 where they are not at hand) and a cache of
// `context` tokens.
std::vector<MemoryRow> PromptMemory(const PlannedModel& model, const PlanDevice& device, int64_t devices,
                                    int64_t program_bytes, int64_t context);

}  // namespace attune
