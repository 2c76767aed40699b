// `attune prompt`: prompting as a method, scored like any other. System prompts and examples are tried on held-out rows
// by the loss of the answers, beside adapters on the same rows; the best is kept as prompt.json.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/prompt_file.h"
#include "base/progress.h"
#include "train/evaluation.h"

namespace attune {

struct PromptJob {
  std::string model;
  std::string data;                     // rows that examples are taken from
  std::string eval_data;                // held-out rows
  std::vector<std::string> systems;     // system prompts to try, beside none
  std::vector<int64_t> shots = {2, 4};  // numbers of examples to try, beside none
  std::vector<std::string> similarity = {
      "bm25"};         // how examples like the question are found: by words (bm25), by meaning (embedding)
  int64_t search = 0;  // random sets of examples to try for each of these numbers; 0: none
  std::vector<std::string> adapters;  // scored on the same rows
  int64_t max_rows = 100;             // held-out rows that are scored, evenly from all
  bool bf16 = false;
  double seconds = 0;  // no candidate is begun that would end later, but for the first; 0: no limit
  uint64_t seed = 42;
  std::string output;  // prompt.json, and with vectors of the questions OUTPUT.vectors.safetensors; empty: not written
};

struct PromptCandidate {
  std::string name;  // "no prompt", "4 examples like the question", "adapter results"
  PromptFile prompt;
  std::string adapter;  // empty: the base model
  EvalMetrics metrics;
  std::vector<RowLoss> losses;  // by row
  double prompt_tokens = 0;     // a question, on average, over those of no prompt
  std::string skipped;          // why it was not scored; empty: it was
};

struct PromptResult {
  std::vector<PromptCandidate> candidates;  // by loss, the best first; skipped ones last
  int64_t rows = 0;                         // scored
  size_t best_prompt = 0;                   // the best that is no adapter
  bool is_written = false;                  // that one, in the job's output
};

using OnPrompt = std::function<void(const PromptCandidate& candidate)>;

// Errors: Error{kBadInput}: rows without question and answer, a model without a chat template, an empty held-out set.
PromptResult RunPrompt(const PromptJob& job, const OnPrompt& on_prompt, const OnProgress& on_progress);

nlohmann::ordered_json ToJson(const PromptResult& result);

}  // namespace attune
