// Evaluation with the decoder that trains, in the memory of its plan: loss by token, and answers to a few held-out
// rows, so that a person reads what the loss means.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "text/tokenizer.h"
#include "train/chunks.h"

namespace attune {

struct EvalMetrics {
  int64_t step = 0;
  double epoch = 0;
  double loss = 0, token_accuracy = 0;
  int64_t tokens = 0;
  double seconds = 0;
};

// Of one example: the sum over its scored tokens.
struct RowLoss {
  double sum = 0;
  int64_t tokens = 0;
};

// Called with the examples that are done; may be empty.
using OnEvaluated = std::function<void(int64_t done)>;

// Loss of examples by token, forward only, in chunks that fit the decoder's plan. `of_each`, if given, receives that of
// every example, in their order.
EvalMetrics Evaluate(Decoder& decoder, const std::vector<Example>& examples, int64_t tokens_in_flight,
                     std::vector<RowLoss>* of_each = nullptr, const OnEvaluated& on_evaluated = {});

struct SampleAnswer {
  std::string prompt, reference, answer;
};

// What is asked of the model: the tokens before a row's first answer, and that answer. A row without a prompt is cut in
// the middle. Prompts keep their last 256 tokens.
struct SamplePrompt {
  std::vector<int32_t> prompt, reference;
};
std::vector<SamplePrompt> ChoosePrompts(const std::vector<Example>& examples, int64_t count);

// What the decoder's plan must hold for them.
ChunkLimits SampleLimits(const std::vector<SamplePrompt>& prompts, int64_t max_new_tokens);

// Greedy answers, all prompts side by side in one batch; no cache, which a few short answers do not need.
std::vector<SampleAnswer> AnswerPrompts(Decoder& decoder, const Tokenizer& tokenizer, std::span<const int32_t> eos_ids,
                                        const std::vector<SamplePrompt>& prompts, int64_t max_new_tokens);

}  // namespace attune
