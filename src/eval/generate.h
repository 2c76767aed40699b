// Text generation: greedy or sampled, token by token, with the text handed out as it becomes complete.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/inference.h"
#include "text/tokenizer.h"

namespace attune {

struct SamplingOptions {
  double temperature = 0;  // 0: greedy
  double top_p = 1.0;
  int64_t top_k = 0;  // 0: all
  uint64_t seed = 42;
  int64_t max_new_tokens = 256;
};

struct Generation {
  std::vector<int32_t> ids;  // without the token that ended it
  std::string text;
  bool ended = false;  // by an end-of-turn token, not by max_new_tokens
  int64_t prompt_tokens = 0;
  double prompt_seconds = 0, decode_seconds = 0;
};

// Picks the next token from logits: the largest, or a draw from softmax(logits / temperature) restricted to the top_k
// largest and to the smallest set whose probability reaches top_p. `uniform` is a draw from [0, 1).
int32_t PickToken(std::span<const float> logits, const SamplingOptions& options, double uniform);

// Goes on from what the model's cache holds: appends `prompt`, then generates until a token of `eos` or max_new_tokens.
// on_text, if given, receives each piece of text as it is complete. Errors: Error{kBadInput} when the context is full
// before anything was generated.
Generation Generate(InferenceModel& model, const Tokenizer& tokenizer, std::span<const int32_t> prompt,
                    std::span<const int32_t> eos, const SamplingOptions& options,
                    const std::function<void(const std::string&)>& on_text = {});

}  // namespace attune
