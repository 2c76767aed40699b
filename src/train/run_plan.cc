#include "train/run_plan.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "models/decoder.h"
#include "models/weights.h"
#include "train/schedule.h"

namespace attune {

int64_t LabelledRows(const Example& example) {
  return std::count_if(example.labels.begin() + (example.labels.empty() ? 0 : 1), example.labels.end(),
                       [](int32_t label) { return label != kIgnoredLabel; });
}

std::vector<Update> RunPlan::EpochUpdatesOf(int64_t epoch) const {
  const auto rows = static_cast<int64_t>(lengths.size());
  return EpochUpdates(EpochOrder(rows, data_seed, epoch, shuffle), per_device_train_batch_size,
                      gradient_accumulation_steps, drop_last);
}

namespace {

std::vector<int64_t> RowsOf(const Update& update) {
  std::vector<int64_t> rows;
  for (const MicroBatch& batch : update) rows.insert(rows.end(), batch.begin(), batch.end());
  return rows;
}

void IncludeEvaluation(const Dataset& eval, int64_t tokens_in_flight, ChunkLimits* limits) {
  std::vector<int64_t> rows(eval.examples.size()), lengths, labelled;
  std::iota(rows.begin(), rows.end(), int64_t{0});
  for (const Example& example : eval.examples) {
    lengths.push_back(static_cast<int64_t>(example.input_ids.size()));
    labelled.push_back(LabelledRows(example));
  }
  for (const Chunk& chunk : CutIntoChunks(rows, lengths, tokens_in_flight)) limits->Include(chunk, lengths, labelled);
}

}  // namespace

std::vector<MemoryRow> MemoryTable(const ModelSpec& spec, const AdapterSpec& adapter,
                                   const std::vector<TrainableTensor>& trainables, const DecoderSettings& settings,
                                   int64_t scratch_bytes, int64_t resident_bytes) {
  const DecoderPlan plan = PlanDecoder(spec, adapter, settings);
  const int64_t trained = TrainableVectors::Elements(trainables) * 4;
  std::vector<MemoryRow> rows;
  rows.push_back({"base weights", ModelWeights::PlannedBytes(spec, settings.compute)});
  rows.push_back({"trained weights", trained + ComputeCopyBytes(trainables, settings.compute)});
  rows.push_back({"their gradients", trained});
  rows.push_back({"optimizer states", 2 * trained});
  // Buffers share the arena's bytes; what each part would take alone is told in proportion to its peak.
  const int64_t logits = plan.plan.PeakBytes(StepPlan::Part::kLogits);
  rows.push_back({"activations", plan.plan.arena_bytes() - logits});
  rows.push_back({"logits", logits});
  rows.push_back({"kernel scratch", scratch_bytes});
  rows.push_back({"program, tokenizer, data", resident_bytes});
  return rows;
}

RunPlan PlanRun(const ModelSpec& spec, const AdapterSpec& adapter, const std::vector<TrainableTensor>& trainables,
                const TrainingArguments& arguments, bool shuffle, const Dataset& train, const Dataset* eval, DType compute,
                int64_t scratch_bytes, int64_t resident_bytes) {
  RunPlan plan;
  for (const Example& example : train.examples) {
    plan.lengths.push_back(static_cast<int64_t>(example.input_ids.size()));
    plan.labelled.push_back(LabelledRows(example));
  }
  plan.steps = CountSteps({static_cast<int64_t>(train.examples.size()), arguments.per_device_train_batch_size,
                           arguments.gradient_accumulation_steps, arguments.num_train_epochs, arguments.max_steps,
                           arguments.dataloader_drop_last});
  const int64_t total = plan.steps.total_updates;
  plan.warmup_steps = WarmupSteps(arguments.warmup_steps, arguments.warmup_ratio, total);
  const Schedule checked(arguments.lr_scheduler_type, arguments.lr_scheduler_kwargs, arguments.learning_rate,
                         plan.warmup_steps, total);  // says now what the trainer would say after the files are made
  plan.logging_steps = IntervalSteps(arguments.logging_steps, total, "logging_steps");
  if (arguments.save_strategy == IntervalStrategy::kSteps) {
    plan.save_steps = IntervalSteps(arguments.save_steps, total, "save_steps");
  } else if (arguments.save_strategy == IntervalStrategy::kEpoch) {
    plan.save_steps = plan.steps.updates_per_epoch;
  }
  if (arguments.eval_strategy == IntervalStrategy::kSteps) {
    plan.eval_steps =
        IntervalSteps(arguments.eval_steps > 0 ? arguments.eval_steps : arguments.logging_steps, total, "eval_steps");
  } else if (arguments.eval_strategy == IntervalStrategy::kEpoch) {
    plan.eval_steps = plan.steps.updates_per_epoch;
  }
  plan.data_seed = arguments.data_seed.value_or(arguments.seed);
  plan.shuffle = shuffle;
  plan.per_device_train_batch_size = arguments.per_device_train_batch_size;
  plan.gradient_accumulation_steps = arguments.gradient_accumulation_steps;
  plan.drop_last = arguments.dataloader_drop_last;

  ChunkLimits limits;
  int64_t update = 0;
  for (int64_t epoch = 0; epoch < plan.steps.epochs_run && update < total; ++epoch) {
    for (const Update& rows : plan.EpochUpdatesOf(epoch)) {
      if (update++ >= total) break;
      for (const Chunk& chunk : CutIntoChunks(RowsOf(rows), plan.lengths, arguments.tokens_in_flight)) {
        limits.Include(chunk, plan.lengths, plan.labelled);
      }
    }
  }
  if (eval != nullptr) IncludeEvaluation(*eval, arguments.tokens_in_flight, &limits);
  plan.settings.compute = compute;
  plan.settings.policy =
      arguments.gradient_checkpointing ? KeepPolicy::kBlockInputs : KeepPolicy::kExpensiveParts;
  plan.settings.max_tokens = limits.tokens;
  plan.settings.max_sequences = limits.sequences;
  plan.settings.max_length = limits.length;
  plan.settings.max_labelled = limits.labelled;
  plan.memory = MemoryTable(spec, adapter, trainables, plan.settings, scratch_bytes, resident_bytes);
  for (const MemoryRow& row : plan.memory) plan.planned_bytes += row.bytes;
  return plan;
}

}  // namespace attune
