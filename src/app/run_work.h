// What a run will do, from its rows or from a number of tokens: batches, updates, evaluations, and the work that they
// ask of a machine.
#pragma once

#include <cstdint>

#include "app/method_plan.h"
#include "train/counted_work.h"

namespace attune {

class TrainSession;

struct RunWork {
  LimitsOfSettings limits;
  int64_t tokens = 0, length = 0;  // of an epoch; the longest row
  BatchShape batch;                // the average one of training, and of evaluations
  BatchShape eval_batch;
  int64_t eval_tokens = 0, evaluations = 0;
  StepCounts steps;

  double TrainedShare() const { return static_cast<double>(batch.labelled) / static_cast<double>(batch.tokens); }

  // Of the whole run.
  double TrainingTokens() const;
  double EvaluationTokens() const { return static_cast<double>(eval_tokens * evaluations); }
};

// `tokens` in rows of max_length, without looking at any; 0: how many is not known.
RunWork WorkWithoutRows(const RunConfig& config, const ModelSpec& spec, int64_t tokens);

// From the rows as the trainer reads them. `session` must outlive the result.
RunWork WorkOfRows(const TrainSession& session, const TrainingArguments& arguments);

// By kind, of the whole run. `inputs`: of the method and model, whose family the engine trains.
WorkAmounts AmountsOf(const RunWork& work, const PlanInputs& inputs);

}  // namespace attune
