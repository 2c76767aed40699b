#include "train/run_plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "base/error.h"
#include "models/decoder.h"
#include "models/initial_adapter.h"
#include "models/weights.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace attune {
namespace {

std::vector<int64_t> RowsOf(const Update& update) {
  std::vector<int64_t> rows;
  for (const MicroBatch& batch : update) rows.insert(rows.end(), batch.begin(), batch.end());
  return rows;
}

void PlanIntervals(const TrainingArguments& a, RunPlan* plan) {
  const int64_t total = plan->steps.total_updates;
  plan->logging_steps = 0;
  if (a.logging_strategy == IntervalStrategy::kSteps) {
    plan->logging_steps = IntervalSteps(a.logging_steps, total, "logging_steps");
  } else if (a.logging_strategy == IntervalStrategy::kEpoch) {
    plan->logging_steps = plan->steps.updates_per_epoch;
  }
  if (a.save_strategy == IntervalStrategy::kSteps) {
    plan->save_steps = IntervalSteps(a.save_steps, total, "save_steps");
  } else if (a.save_strategy == IntervalStrategy::kEpoch) {
    plan->save_steps = plan->steps.updates_per_epoch;
  }
  if (a.eval_strategy == IntervalStrategy::kSteps) {
    plan->eval_steps = IntervalSteps(a.eval_steps > 0 ? a.eval_steps : a.logging_steps, total, "eval_steps");
  } else if (a.eval_strategy == IntervalStrategy::kEpoch) {
    plan->eval_steps = plan->steps.updates_per_epoch;
  }
  const bool in_epochs = a.eval_strategy == IntervalStrategy::kEpoch;
  const double steps = a.eval_delay * (in_epochs ? static_cast<double>(plan->steps.updates_per_epoch) : 1.0);
  plan->first_eval_step = static_cast<int64_t>(std::ceil(std::min(steps, 9e15)));
}

// The first setting that means nothing without evaluations; "" where there is none.
const char* WhatNeedsEvaluations(const TrainingArguments& a) {
  if (a.load_best_model_at_end) return "load_best_model_at_end";
  if (a.early_stopping_patience > 0) return "early_stopping_patience";
  if (a.save_strategy == IntervalStrategy::kBest) return "save_strategy: best";
  if (a.lr_scheduler_type == Plateau::kName) return "lr_scheduler_type: reduce_lr_on_plateau";
  return a.eval_strategy != IntervalStrategy::kNo ? "eval_strategy" : "";
}

// Keeping the best model only means something when every saved model has been evaluated (as transformers checks).
void CheckEvaluations(const PlanInputs& in, const RunPlan& plan) {
  const TrainingArguments& a = in.arguments;
  const std::string key = WhatNeedsEvaluations(a);
  if (key.empty()) return;
  if (in.eval == nullptr) BadInput("{} needs held-out rows: set data.eval", key);
  if (a.eval_strategy == IntervalStrategy::kNo)
    BadInput("{} needs evaluations: set eval_strategy to steps or epoch", key);
  if (!a.load_best_model_at_end || a.save_strategy == IntervalStrategy::kBest) return;
  if (a.save_strategy != a.eval_strategy) {
    BadInput(
        "load_best_model_at_end: save_strategy and eval_strategy must be the same, so that what is kept has been "
        "evaluated");
  }
  if (plan.save_steps % plan.eval_steps != 0) {
    BadInput("load_best_model_at_end: save_steps ({}) must be a multiple of eval_steps ({})", plan.save_steps,
             plan.eval_steps);
  }
}

// More than no chunk of any update can be, whatever the order of the rows.
ChunkLimits BoundOf(const std::vector<RowShape>& shapes, const TrainingArguments& a) {
  const int64_t rows = a.per_device_train_batch_size * a.gradient_accumulation_steps;
  const auto largest = [&](int64_t RowShape::*what) {
    std::vector<int64_t> values;
    for (const RowShape& shape : shapes) values.push_back(shape.*what);
    std::sort(values.begin(), values.end(), std::greater<>());
    values.resize(static_cast<size_t>(std::min(rows, std::ssize(values))));
    return values;
  };
  const auto sum = [&](const std::vector<int64_t>& values) {
    return std::accumulate(values.begin(), values.end(), int64_t{0});
  };
  ChunkLimits bound;
  const std::vector<int64_t> tokens = largest(&RowShape::tokens), longest = largest(&RowShape::longest);
  if (tokens.empty()) return bound;
  bound.tokens = std::max(tokens.front(), std::min(a.tokens_in_flight, sum(tokens)));
  bound.length = longest.front();
  bound.labelled = std::min(bound.tokens, sum(largest(&RowShape::labelled)));
  bound.sequences = std::min(bound.tokens, sum(largest(&RowShape::sequences)));
  return bound;
}

ChunkLimits LimitsOf(const PlanInputs& in, const RunPlan& plan) {
  constexpr int64_t kMostWalked = 4'000'000;  // rows of updates: a second
  ChunkLimits limits;
  const ChunkLimits bound = BoundOf(plan.shapes, in.arguments);
  int64_t update = 0, walked = 0;
  const int64_t total = plan.steps.total_updates, in_flight = in.arguments.tokens_in_flight;
  for (int64_t epoch = 0; epoch < plan.steps.epochs_run && update < total && limits != bound && walked < kMostWalked;
       ++epoch) {
    for (const Update& updated : plan.EpochUpdatesOf(epoch)) {
      if (update++ >= total) break;
      const std::vector<int64_t> rows = RowsOf(updated);
      walked += std::ssize(rows);
      for (const Chunk& chunk : CutIntoChunks(rows, plan.shapes, in_flight)) limits.Include(chunk, plan.shapes);
    }
  }
  if (update < total) limits.Include(bound);  // what is left to come may reach it
  if (in.eval != nullptr) {
    const std::vector<RowShape> shapes = ShapesOf(in.eval->examples);
    for (const Chunk& chunk : CutAllIntoChunks(shapes, in_flight)) limits.Include(chunk, shapes);
    limits.Include(SampleLimits(plan.samples, in.arguments.eval_max_new_tokens));
  }
  return limits;
}

}  // namespace

std::vector<MemoryRow> StandingMemory(const PlanInputs& in) {
  const int64_t trained = TrainableVectors::Elements(in.trainables) * 4;
  const DType compute = in.storage.compute();
  std::vector<MemoryRow> rows = {{"base weights", ModelWeights::PlannedBytes(in.spec, in.adapter, in.storage)},
                                 {"trained weights", trained + ComputeCopyBytes(in.spec, in.adapter, compute)},
                                 {"their gradients", trained},
                                 {"optimizer states", Optimizer::PlannedBytes(in.trainables, in.arguments).memory}};
  if (const int64_t norms = DoraNormBytes(in.adapter, compute); norms > 0) rows.push_back({"norms of DoRA", norms});
  if (const int64_t initial = InitialAdapterBytes(in.adapter); initial > 0)
    rows.push_back({"first values of the adapter", initial});
  return rows;
}

std::vector<MemoryRow> MemoryTable(const PlanInputs& in, const DecoderSettings& settings) {
  std::vector<MemoryRow> rows = StandingMemory(in);
  AddStepMemory(in, settings, &rows);
  return rows;
}

void AddStepMemory(const PlanInputs& in, const DecoderSettings& settings, std::vector<MemoryRow>* rows) {
  const StepPlan plan = PlanDecoder(in.spec, in.adapter, settings).plan;
  // Buffers share the arena's bytes; what each part would take alone is told in proportion to its peak.
  const int64_t logits = plan.PeakBytes(StepPlan::Part::kLogits);
  rows->push_back({"activations", plan.arena_bytes() - logits});
  rows->push_back({"logits", logits});
  rows->push_back({"kernel scratch", in.scratch_bytes});
  rows->push_back({"program, tokenizer, data", in.resident_bytes});
}

int64_t TotalBytes(const std::vector<MemoryRow>& rows) {
  int64_t total = 0;
  for (const MemoryRow& row : rows) total += row.bytes;
  return total;
}

DecoderSettings SettingsFor(const TrainingArguments& a, DType compute, const ChunkLimits& limits) {
  DecoderSettings settings;
  settings.compute = compute;
  settings.policy = a.gradient_checkpointing ? KeepPolicy::kBlockInputs : KeepPolicy::kExpensiveParts;
  settings.max_tokens = limits.tokens;
  settings.max_sequences = limits.sequences;
  settings.max_length = limits.length;
  settings.max_labelled = limits.labelled;
  settings.label_smoothing = static_cast<float>(a.label_smoothing_factor);
  settings.neftune_noise_alpha = static_cast<float>(a.neftune_noise_alpha);
  return settings;
}

std::vector<Update> RunPlan::EpochUpdatesOf(int64_t epoch) const {
  std::vector<int64_t> order;
  if (group_by_length) {
    std::vector<int64_t> lengths;
    for (const RowShape& shape : shapes) lengths.push_back(shape.tokens);
    order = EpochOrderByLength(lengths, per_device_train_batch_size * gradient_accumulation_steps, data_seed, epoch);
  } else {
    order = EpochOrder(static_cast<int64_t>(shapes.size()), data_seed, epoch, shuffle);
  }
  return EpochUpdates(order, per_device_train_batch_size, gradient_accumulation_steps, drop_last);
}

RunPlan PlanRun(const PlanInputs& in) {
  const TrainingArguments& a = in.arguments;
  RunPlan plan;
  plan.shapes = ShapesOf(in.train);
  plan.steps = CountSteps({static_cast<int64_t>(in.train.size()), a.per_device_train_batch_size,
                           a.gradient_accumulation_steps, a.num_train_epochs, a.max_steps, a.dataloader_drop_last});
  plan.warmup_steps = WarmupSteps(a.warmup_steps, a.warmup_ratio, plan.steps.total_updates);
  const Schedule checked(a.lr_scheduler_type, a.lr_scheduler_kwargs, a.learning_rate, plan.warmup_steps,
                         plan.steps.total_updates);  // says now what the trainer would say after the files are made
  PlanIntervals(a, &plan);
  CheckEvaluations(in, plan);
  plan.data_seed = a.data_seed.value_or(a.seed);
  plan.shuffle = in.shuffle;
  plan.group_by_length = a.group_by_length;
  plan.per_device_train_batch_size = a.per_device_train_batch_size;
  plan.gradient_accumulation_steps = a.gradient_accumulation_steps;
  plan.drop_last = a.dataloader_drop_last;
  if (in.eval != nullptr) plan.samples = ChoosePrompts(in.eval->examples, a.eval_samples);

  plan.settings = SettingsFor(a, in.storage.compute(), LimitsOf(in, plan));
  plan.memory = MemoryTable(in, plan.settings);
  plan.planned_bytes = TotalBytes(plan.memory);
  return plan;
}

std::string SettingThatFits(const PlanInputs& in, int64_t available) {
  TrainingArguments a = in.arguments;
  const PlanInputs changed{in.spec,    in.adapter,       in.trainables,    a, in.shuffle, in.train, in.eval,
                           in.storage, in.scratch_bytes, in.resident_bytes};
  const auto fits = [&] { return PlanRun(changed).planned_bytes <= available; };
  // The cheapest first: fewer tokens at a time cost a little speed, checkpointing a third, a shorter context loses
  // text.
  for (const bool checkpointing : {in.arguments.gradient_checkpointing, true}) {
    a.gradient_checkpointing = checkpointing;
    const std::string also =
        checkpointing && !in.arguments.gradient_checkpointing ? ", gradient_checkpointing: true" : "";
    int64_t longest = 1;
    for (const Example& example : in.train) longest = std::max(longest, static_cast<int64_t>(example.input_ids.size()));
    for (a.tokens_in_flight = in.arguments.tokens_in_flight; a.tokens_in_flight > 0; a.tokens_in_flight /= 2) {
      if (fits()) return "tokens_in_flight: " + std::to_string(a.tokens_in_flight) + also;
      if (a.tokens_in_flight <= longest) break;  // the longest row alone is what does not fit
    }
  }
  return "";
}

}  // namespace attune
