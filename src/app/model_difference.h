// How far a written model is from what it was written from: its answers beside those of the base with its adapter, on
// the same tokens. A file is only called done when this is small.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/bundle.h"

namespace attune {

struct ModelDifference {
  int64_t tokens = 0;
  double largest = 0;    // of two logits
  double mean_kl = 0;    // nats a token, from the first model's distribution of the next token to the second's
  double same_best = 0;  // share of tokens whose most likely next token is the same

  nlohmann::ordered_json ToJson() const;
};

// Above this a written model is worse than what was trained. Rounding the weights of SmolLM2-135M to bfloat16 costs
// 0.00006
// (`attune export --dtype bfloat16` says so).
inline constexpr double kLargestMeanKl = 0.005;

// Tokens to compare on, at most 128: the first rows of a data file or, where it is empty, a text that is built in
// (made-up ids where the model has no tokenizer).
std::vector<std::vector<int32_t>> TokensToCompare(const ModelBundle& bundle, const std::string& data);

// Both in f32, one after the other, a layer in memory at a time where weights can stay in their files. `adapter` (a
// folder, may be empty) belongs to `before`.
ModelDifference CompareModels(const ModelFiles& before, const std::string& adapter, const ModelFiles& after,
                              const std::vector<std::vector<int32_t>>& sequences);

}  // namespace attune
