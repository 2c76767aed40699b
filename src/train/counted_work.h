// What an update asks of a machine, by kind of work (ops/work.h): the trainer's own decoder and optimiser, run on a
// device that only counts. No weights are read.
#pragma once

#include "ops/work.h"
#include "train/run_plan.h"

namespace attune {

// A batch of sequences of `length` tokens, the last of which may be shorter; `labelled` rows have a loss.
struct BatchShape {
  int64_t tokens = 1, length = 1, labelled = 1;
};

// A kind beside those of ops: what passes between them on the host, by their number.
inline constexpr const char* kBetweenOps = "between ops";

// Forward and backward, with dropout and what else `inputs` say; and forward alone, as an evaluation runs it. Amounts
// are linear in tokens and labelled rows at one length, so those of an average batch stand for all. Rows of `inputs`
// are not looked at.
WorkAmounts TrainingWork(const PlanInputs& inputs, const BatchShape& batch);
WorkAmounts EvaluationWork(const PlanInputs& inputs, const BatchShape& batch);

// What an update takes beside its batches: the gradient's norm, the optimiser, copies of what is trained.
WorkAmounts UpdateWork(const PlanInputs& inputs);

}  // namespace attune
