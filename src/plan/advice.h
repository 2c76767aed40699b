// What to do with a goal, some data and a machine, as rules: each with its condition, its advice and where it comes
// from, so that a person can see why and disagree. The table is in advice.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attune {

// What the rules look at.
struct AdviceFacts {
  std::string goal = "style";        // AdviceGoals()
  int64_t rows = 0, duplicates = 0;  // duplicates: rows that an earlier one is equal to, which add nothing to learn
  int64_t tokens = 0, trained_tokens = 0;  // of one pass over the rows
  bool has_held_out = false;
  bool lora_fits = false, qlora_fits = false, full_fits = false;  // as they are or with settings that cost no text
  double hours = 0;                                               // of one pass with LoRA on the device
  double budget_hours = 0;                                        // 0: none given
  int64_t parameters_a_rank = 0;                                  // of an adapter of rank 1 on all linear layers
  bool has_losses = false;  // the next two were measured: of the model before training, nats a token
  double loss_on_rows = 0, loss_on_general = 0;
};

const std::vector<std::string>& AdviceGoals();

// What is settled by them; these are the values before the first rule.
struct AdviceChoice {
  std::string first = "prompt";  // what to try first: "prompt" or "train"
  std::string method = "lora";   // of training: lora, qlora or full
  int64_t rank = 16;
  double learning_rate = 2e-4;
  double epochs = 3;
  int64_t batch = 16;  // rows an update
};

struct AdviceRule {
  const char* id;
  const char* condition;
  const char* advice;
  const char* source;
  bool (*applies)(const AdviceFacts&, const AdviceChoice&);
  void (*change)(const AdviceFacts&, AdviceChoice&);  // nullptr: it is told only
};

// In the order in which they are asked; a later one sees what earlier ones have settled.
const std::vector<AdviceRule>& AdviceRules();

struct AdviceResult {
  AdviceChoice choice;
  std::vector<const AdviceRule*> fired;
};
AdviceResult FollowRules(const AdviceFacts& facts);

}  // namespace attune
