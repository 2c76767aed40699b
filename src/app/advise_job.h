// `attune advise`: which method for this goal, data and machine, with the rules that say so, and a configuration that
// `attune train` takes.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "app/general_loss.h"
#include "app/plan_job.h"
#include "plan/advice.h"

namespace attune {

struct AdviseJob {
  std::string model;      // folder, .gguf file or org/name
  std::string data;       // training rows
  std::string eval_data;  // held-out rows; empty: none
  std::string goal = "style";
  std::string device = "auto";
  double budget_hours = 0;   // 0: no limit
  double loss_seconds = 30;  // for measuring the loss on the rows and on general text; 0: not measured
  std::string output;        // a file for the configuration; empty: none is written
};

struct AdviseResult {
  AdviceFacts facts;
  std::optional<LossContrast> losses;  // of a model whose weights are here
  AdviceResult advice;
  PlanReport plan;     // of the configuration
  std::string config;  // YAML
};

// Errors: Error{kBadInput}: an unknown goal with the nearest one, a model without a tokenizer for its rows, as
// MakePlan.
AdviseResult RunAdvise(const AdviseJob& job, const OnProgress& on_progress);

nlohmann::ordered_json ToJson(const AdviseResult& result);

// Of the rows of an update, those that run at once.
int64_t RowsOfMicroBatch(const AdviceChoice& choice);

// What was chosen of an adapter, and the learning rate of any method: a tenth for full of what it is for LoRA.
std::vector<Setting> LoraSettings(const AdviceChoice& choice);
double UsualRate(const AdviceChoice& choice, const std::string& method);

// The changes that make a method fit, as settings; none where it fits as it is.
std::vector<Setting> FitSettings(const MethodPlan& plan);

// Every rule, whether it fired or not.
nlohmann::ordered_json AdviceRulesJson();

}  // namespace attune
