#include "app/run_work.h"

#include <algorithm>
#include <cmath>

#include "app/train_session.h"

namespace attune {
namespace {

StepCounts StepsOf(int64_t rows, const TrainingArguments& a) {
  return CountSteps({rows, a.per_device_train_batch_size, a.gradient_accumulation_steps, a.num_train_epochs,
                     a.max_steps, a.dataloader_drop_last});
}

// Rows that run in `batches` batches: as many tokens in each, in sequences whose attention is as much work as theirs.
BatchShape AverageBatch(std::span<const RowShape> shapes, int64_t batches) {
  double tokens = 0, labelled = 0, pairs = 0;
  for (const RowShape& shape : shapes) {
    tokens += static_cast<double>(shape.tokens);
    labelled += static_cast<double>(shape.labelled);
    pairs +=
        static_cast<double>(shape.tokens) * static_cast<double>(shape.tokens) / static_cast<double>(shape.sequences);
  }
  const auto each = [&](double sum) {
    return std::max<int64_t>(1, std::llround(sum / static_cast<double>(std::max<int64_t>(1, batches))));
  };
  return {each(tokens), std::clamp<int64_t>(std::llround(pairs / std::max(1.0, tokens)), 1, each(tokens)),
          each(labelled)};
}

// Batches of an epoch.
int64_t CountBatches(const RunPlan& plan, int64_t tokens_in_flight) {
  int64_t batches = 0;
  for (const Update& update : plan.EpochUpdatesOf(0)) {
    std::vector<int64_t> rows;
    for (const MicroBatch& batch : update) rows.insert(rows.end(), batch.begin(), batch.end());
    batches += std::ssize(CutIntoChunks(rows, plan.shapes, tokens_in_flight));
  }
  return batches;
}

void Add(const WorkAmounts& amounts, double times, WorkAmounts* sum) {
  for (const auto& [kind, amount] : amounts) (*sum)[kind] += times * amount;
}

}  // namespace

double RunWork::TrainingTokens() const {
  if (steps.updates_per_epoch == 0) return 0;
  return static_cast<double>(tokens) * static_cast<double>(steps.total_updates) /
         static_cast<double>(steps.updates_per_epoch);
}

RunWork WorkWithoutRows(const RunConfig& config, const ModelSpec& spec, int64_t tokens) {
  const TrainingArguments& a = config.training;
  RunWork work;
  work.length = a.max_length > 0 ? std::min(a.max_length, spec.max_position_embeddings) : spec.max_position_embeddings;
  work.limits = [length = work.length](const TrainingArguments& given) {
    const int64_t of_update = given.per_device_train_batch_size * given.gradient_accumulation_steps;
    return FullRows(std::clamp<int64_t>(given.tokens_in_flight / length, 1, of_update), length);
  };
  const ChunkLimits limits = work.limits(a);
  work.batch = {limits.tokens, limits.length, limits.labelled};
  if (tokens > 0) {
    work.tokens = tokens;
    work.steps = StepsOf((tokens + work.length - 1) / work.length, a);
  }
  return work;
}

RunWork WorkOfRows(const TrainSession& session, const TrainingArguments& a) {
  RunWork work;
  const RunPlan& plan = session.plan();
  work.limits = [&session](const TrainingArguments& given) {
    const PlanInputs in = session.inputs();
    const DecoderSettings s = PlanRun({in.spec, in.adapter, in.trainables, given, in.shuffle, in.train, in.eval,
                                       in.storage, in.scratch_bytes, in.resident_bytes})
                                  .settings;
    return ChunkLimits{s.max_tokens, s.max_sequences, s.max_length, s.max_labelled};
  };
  work.length = plan.settings.max_length;
  for (const RowShape& shape : plan.shapes) work.tokens += shape.tokens;
  work.batch = AverageBatch(plan.shapes, CountBatches(plan, a.tokens_in_flight));
  work.steps = StepsOf(std::ssize(plan.shapes), a);
  if (session.eval() != nullptr) {  // before the first step, at every interval, and after the last step
    const int64_t total = work.steps.total_updates, interval = plan.eval_steps > 0 ? plan.eval_steps : total;
    const std::vector<RowShape> shapes = ShapesOf(session.eval()->examples);
    work.eval_tokens = session.eval()->stats.tokens;
    work.eval_batch = AverageBatch(shapes, std::ssize(CutAllIntoChunks(shapes, a.tokens_in_flight)));
    const int64_t skipped =
        std::max<int64_t>(0, std::min(total, plan.first_eval_step) - 1) / std::max<int64_t>(1, interval);
    work.evaluations = 1 + (total + interval - 1) / std::max<int64_t>(1, interval) - skipped;
  }
  return work;
}

WorkAmounts AmountsOf(const RunWork& work, const PlanInputs& inputs) {
  WorkAmounts amounts;
  Add(TrainingWork(inputs, work.batch), work.TrainingTokens() / static_cast<double>(work.batch.tokens), &amounts);
  Add(UpdateWork(inputs), static_cast<double>(work.steps.total_updates), &amounts);
  if (work.evaluations > 0) {
    Add(EvaluationWork(inputs, work.eval_batch), work.EvaluationTokens() / static_cast<double>(work.eval_batch.tokens),
        &amounts);
  }
  return amounts;
}

}  // namespace attune
