// `attune plan`: whether a training fits, how long it takes and what it costs, before anything is spent. Memory is the
// trainer's own plan; time comes from counted operations and the device's rate, and says how far it may be off.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/config.h"
#include "plan/device.h"
#include "plan/planned_model.h"
#include "plan/prices.h"
#include "train/run_plan.h"

namespace attune {

struct PlanJob {
  std::string config;             // a configuration file; empty: none
  std::vector<Setting> settings;  // on top; model and data among them
  std::string method = "auto";    // auto, prompt, lora, qlora, full; auto with a configuration: as it says
  std::string device = "auto";    // this machine, or a name of the catalogue
  int64_t devices = 1;            // of an accelerator, its weights and states shared among them
  int64_t tokens = 0;             // of the training data, where there is none yet
  std::string prices;             // a file instead of the built-in one
  std::string stack;              // also what another stack would need (plan/foreign_stack.h); empty: none
};

// One thing to change, on top of those before it.
struct FitStep {
  std::string setting, cost;
  int64_t bytes = 0;  // what the run needs then
  bool fits = false;
};

struct MethodPlan {
  std::string method;  // "prompt", "lora", "qlora", "full"
  std::vector<MemoryRow> memory;
  int64_t bytes = 0;  // on each device
  bool fits = false;
  int64_t trainable_parameters = 0;
  int64_t rows_at_once = 0, largest_rows = 0;  // of max_length tokens: as set, and the most that fit
  int64_t largest_context = 0;                 // of one row at a time, up to the model's positions
  std::vector<FitStep> to_fit;                 // empty when it fits
  double seconds = 0, seconds_low = 0, seconds_high = 0;
  std::map<std::string, double>
      seconds_by_kind;  // of work (ops/work.h), where this machine's rates are known; else empty
  double kilowatt_hours = 0;
  double electricity_cost = 0;
  std::optional<double> rent;
  std::optional<int64_t> stack_bytes;  // of the stack that was asked about, for as many tokens at once
};

struct PlanReport {
  PlannedModel model;
  PlanDevice device;
  int64_t devices = 1;
  Prices prices;
  TrainingArguments training;
  std::string method;  // the one that is asked for or recommended
  bool is_recommended = false;
  std::vector<MethodPlan> methods;
  bool has_data = false;  // rows were read; else tokens are a number, in rows of max_length
  int64_t tokens = 0;     // of an epoch
  double epochs = 0;
  int64_t steps = 0, max_length = 0;
  std::string stack;
  std::vector<std::string> notes;

  const MethodPlan& Chosen() const;
};

// Errors: Error{kBadInput}: an unknown model or device with the nearest name, a context beyond the model's positions, a
// rank above a layer's dimension, a negative price, and what the configuration's own checks say.
PlanReport MakePlan(const PlanJob& job);

class TrainSession;

// The same of a configuration, and of its rows where `session` has opened them (else null).
PlanReport PlanOf(const RunConfig& config, const PlanJob& job, const TrainSession* session);

nlohmann::ordered_json ToJson(const PlanReport& report);

// The names of models and devices that a plan knows, with their sizes.
nlohmann::ordered_json CatalogueJson();

// "built-in" or from the file. Errors: Error{kBadInput} naming file and key.
Prices LoadPrices(const std::string& path);

}  // namespace attune
