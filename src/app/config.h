// The configuration of a run: one YAML file, or the same keys as flags. Keys are Hugging Face's own; every key is
// checked by name, type and range, and an unknown one is an error that suggests the nearest known one.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapters/bnb_config.h"
#include "adapters/lora_config.h"
#include "models/full_finetuning.h"
#include "train/arguments.h"

namespace attune {

struct RunConfig {
  std::string method;                // "lora", "qlora" or "full"; implied by what is set
  std::string model;                 // name_or_path
  std::string init_from_config;      // train from scratch a model of this config.json, instead of `model`
  std::string tokenizer;             // a folder with tokenizer.json; empty: the model's own
  std::string chat_template;         // a .jinja file; empty: the model's own
  std::optional<DType> torch_dtype;  // in which frozen matrices of 16 or 32 bits are held; none: auto
  bool offload = false;              // frozen weights stay in the model's files
  std::string adapter;               // continue training this one
  std::string train_data, eval_data;
  bool check_data = true;  // the training rows are looked through before the first step
  bool shuffle = true;
  LoraConfig lora;
  std::optional<BnbConfig> quantization;  // of the base; none: qlora chooses
  ParameterPatterns full;                 // what full fine-tuning trains
  TrainingArguments training;
  bool is_recorded = true;        // in the user's store of runs
  nlohmann::ordered_json source;  // what was set, by section, for run.json
};

// A setting from the command line: "learning_rate" or "training.learning_rate", and its text.
using Setting = std::pair<std::string, std::string>;

// A plan can be made before there is data or a place for the result.
enum class ConfigUse { kTrain, kPlan };

// Reads the file (if `path` is not empty), then applies the settings in order. Errors: Error{kBadInput} naming file,
// line and key.
RunConfig LoadConfig(const std::string& path, const std::vector<Setting>& settings, ConfigUse use = ConfigUse::kTrain);

// The same from RunConfig::source as run.json keeps it; `where` names it. `settings` come on top.
RunConfig ConfigFromSource(const nlohmann::ordered_json& source, const std::string& where,
                           const std::vector<Setting>& settings);

// "training.learning_rate" for "learning_rate". Errors: Error{kBadInput} for an unknown key, with the nearest one.
std::string FullKey(const std::string& name);

// "section.key" for every key that a configuration may have.
std::vector<std::string> ConfigKeys();

}  // namespace attune
