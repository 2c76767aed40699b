// How many operations a training step takes: what time is estimated from, and what `attune bench` divides by.
#pragma once

#include <cstdint>

#include "models/decoder_plan.h"

namespace attune {

struct StepWork {
  bool full = false;               // every weight is trained
  int64_t adapter_parameters = 0;  // of low-rank adapters
  int64_t length = 1;              // tokens of a sequence
  // Parameters that the spec counts and the model has not (planned_model.h), 0 or below.
  int64_t missing_parameters = 0;
};

// Operations a token: 4 N (6 N where the weights are trained) and 6 of the adapter's parameters, N the weights that
// multiply (head included, embedding not), and causal attention, forward and backward, 6 L S H.
double FlopsPerToken(const ModelSpec& spec, const StepWork& work);

// What the head costs of that: rows whose next token is not trained skip it.
double HeadFlopsPerToken(const ModelSpec& spec, const StepWork& work);

// The blocks' forward pass once more, as gradient checkpointing runs it: without down_proj, whose result is the next
// block's input, which is kept.
double RecomputedFlopsPerToken(const ModelSpec& spec, const StepWork& work);

// The forward pass alone, as an evaluation runs it; head included.
double ForwardFlopsPerToken(const ModelSpec& spec, const StepWork& work);

}  // namespace attune
