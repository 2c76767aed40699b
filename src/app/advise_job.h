// `attune advise`: which method for this goal, data and machine, with the rules that say so, and a configuration that
// `attune train` takes.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "app/plan_job.h"
#include "plan/advice.h"

namespace attune {

struct AdviseJob {
  std::string model;      // folder, .gguf file or org/name
  std::string data;       // training rows
  std::string eval_data;  // held-out rows; empty: none
  std::string goal = "style";
  std::string device = "auto";
  double budget_hours = 0;  // 0: no limit
  std::string output;       // a file for the configuration; empty: none is written
};

struct AdviseResult {
  AdviceFacts facts;
  AdviceResult advice;
  PlanReport plan;     // of the configuration
  std::string config;  // YAML
};

// Errors: Error{kBadInput}: an unknown goal with the nearest one, a model without a tokenizer for its rows, as MakePlan.
AdviseResult RunAdvise(const AdviseJob& job);

nlohmann::ordered_json ToJson(const AdviseResult& result);

// Every rule, whether it fired or not.
nlohmann::ordered_json AdviceRulesJson();

}  // namespace attune
