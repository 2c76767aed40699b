#include "app/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "app/foreign_keys.h"
#include "app/yaml_json.h"
#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "quant/bnb_state.h"
#include "text/unicode.h"
#include "train/optim_args.h"
#include "train/optimizer.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

// A value on its way to a field: what it is called in errors, and what it must be.
struct Value {
  const Json& json;
  std::string where;  // "run.yaml:12: training.learning_rate"

  [[noreturn]] void Wrong(const char* wanted) const { BadInput("{}: must be {}, not {}", where, wanted, json.dump()); }
  std::string Text() const {
    if (json.is_string()) return json.get<std::string>();
    if (json.is_number() || json.is_boolean()) return json.dump();
    Wrong("a text");
  }
  bool Bool() const {
    if (!json.is_boolean()) Wrong("true or false");
    return json.get<bool>();
  }
  double Number(double low, double high) const {
    if (!json.is_number()) Wrong("a number");
    const double value = json.get<double>();
    if (!(value >= low && value <= high)) Wrong(fmt::format("a number from {:g} to {:.7g}", low, high).c_str());
    return value;
  }
  int64_t Integer(int64_t low, int64_t high) const {
    const double value = Number(-9e15, 9e15);
    if (value != std::floor(value)) Wrong("a whole number");
    if (value < static_cast<double>(low) || value > static_cast<double>(high)) {
      Wrong(fmt::format("a whole number from {} to {}", low, high).c_str());
    }
    return static_cast<int64_t>(value);
  }
  // A text or a list of texts.
  std::vector<std::string> Texts() const {
    if (json.is_string()) return {json.get<std::string>()};
    std::vector<std::string> texts;
    if (!json.is_array()) Wrong("a text or a list of texts");
    for (const Json& item : json) {
      if (!item.is_string()) Wrong("a text or a list of texts");
      texts.push_back(item.get<std::string>());
    }
    return texts;
  }
  std::string OneOf(std::vector<std::string> names) const {
    const std::string text = Text();
    if (std::find(names.begin(), names.end(), text) == names.end()) {
      const std::string nearest = NearestName(text, names);
      BadInput("{}: \"{}\" is not supported{}; known: {}", where, text,
               nearest.empty() ? "" : " (did you mean \"" + nearest + "\"?)", fmt::join(names, ", "));
    }
    return text;
  }
};

using Setter = std::function<void(RunConfig&, const Value&)>;
using Fields = std::map<std::string, Setter>;

constexpr int64_t kMany = int64_t{1} << 40;

IntervalStrategy Strategy(const Value& v, std::vector<std::string> names) {
  if (v.json.is_boolean() && !v.json.get<bool>()) return IntervalStrategy::kNo;  // YAML reads `no` as false
  const std::string name = v.OneOf(std::move(names));
  if (name == "no") return IntervalStrategy::kNo;
  if (name == "best") return IntervalStrategy::kBest;
  return name == "steps" ? IntervalStrategy::kSteps : IntervalStrategy::kEpoch;
}

const Fields& ModelFields() {
  const Setter torch_dtype = [](RunConfig& c, const Value& v) {
    c.torch_dtype = TorchDType(v.OneOf({"auto", "float32", "bfloat16", "float16"}));
  };
  static const Fields fields = {
      {"name_or_path", [](RunConfig& c, const Value& v) { c.model = v.Text(); }},
      {"init_from_config", [](RunConfig& c, const Value& v) { c.init_from_config = v.Text(); }},
      {"tokenizer", [](RunConfig& c, const Value& v) { c.tokenizer = v.Text(); }},
      {"chat_template", [](RunConfig& c, const Value& v) { c.chat_template = v.Text(); }},
      {"adapter", [](RunConfig& c, const Value& v) { c.adapter = v.Text(); }},
      {"offload", [](RunConfig& c, const Value& v) { c.offload = v.Bool(); }},
      {"torch_dtype", torch_dtype},
      {"dtype", torch_dtype},  // as transformers 5 calls it
  };
  return fields;
}

const Fields& FullFields() {
  static const Fields fields = {
      {"train", [](RunConfig& c, const Value& v) { c.full.train = v.Texts(); }},
      {"freeze", [](RunConfig& c, const Value& v) { c.full.freeze = v.Texts(); }},
  };
  return fields;
}

const Fields& DataFields() {
  static const Fields fields = {
      {"train", [](RunConfig& c, const Value& v) { c.train_data = v.Text(); }},
      {"eval", [](RunConfig& c, const Value& v) { c.eval_data = v.json.is_null() ? "" : v.Text(); }},
      {"shuffle", [](RunConfig& c, const Value& v) { c.shuffle = v.Bool(); }},
      {"check", [](RunConfig& c, const Value& v) { c.check_data = v.Bool(); }},
  };
  return fields;
}

const Fields& TrainingFields() {
  using T = TrainingArguments;
  const auto number = [](double T::*field, double low, double high) -> Setter {
    return [=](RunConfig& c, const Value& v) { c.training.*field = v.Number(low, high); };
  };
  const auto integer = [](int64_t T::*field, int64_t low) -> Setter {
    return [=](RunConfig& c, const Value& v) { c.training.*field = v.Integer(low, kMany); };
  };
  const auto flag = [](bool T::*field) -> Setter {
    return [=](RunConfig& c, const Value& v) { c.training.*field = v.Bool(); };
  };
  // null, where that is what the libraries have by default: as if it were not there.
  const auto unless_null = [](Setter setter) -> Setter {
    return [=](RunConfig& c, const Value& v) {
      if (!v.json.is_null()) setter(c, v);
    };
  };
  static const Fields fields = {
      {"output_dir", [](RunConfig& c, const Value& v) { c.training.output_dir = v.Text(); }},
      {"overwrite_output_dir", flag(&T::overwrite_output_dir)},
      {"num_train_epochs", number(&T::num_train_epochs, 0, 1e9)},
      {"max_steps", integer(&T::max_steps, -1)},
      {"per_device_train_batch_size", integer(&T::per_device_train_batch_size, 1)},
      // Rows of an evaluation share batches of tokens_in_flight, whatever this says, with the same loss.
      {"per_device_eval_batch_size", [](RunConfig&, const Value& v) { v.Integer(1, kMany); }},
      {"gradient_accumulation_steps", integer(&T::gradient_accumulation_steps, 1)},
      {"dataloader_drop_last", flag(&T::dataloader_drop_last)},
      {"learning_rate", number(&T::learning_rate, 0, 1e30)},
      {"lr_scheduler_type", [](RunConfig& c, const Value& v) { c.training.lr_scheduler_type = v.Text(); }},
      {"lr_scheduler_kwargs", [](RunConfig& c, const Value& v) { c.training.lr_scheduler_kwargs = v.json; }},
      {"warmup_ratio", number(&T::warmup_ratio, 0, 1)},
      {"warmup_steps", number(&T::warmup_steps, 0, 1e15)},
      {"weight_decay", number(&T::weight_decay, 0, 1e6)},
      {"adam_beta1", number(&T::adam_beta1, 0, 0.9999999)},
      {"adam_beta2", number(&T::adam_beta2, 0, 0.9999999)},
      // As a float more than 0: LoRA's A has no gradient in the first update, and 0 / 0 is no number.
      {"adam_epsilon", number(&T::adam_epsilon, 1e-30, 1)},
      {"max_grad_norm", number(&T::max_grad_norm, 0, 1e30)},
      {"loraplus_lr_ratio", number(&T::loraplus_lr_ratio, 0, 1e6)},
      {"loraplus_lr_embedding", number(&T::loraplus_lr_embedding, 0, 1e6)},
      {"label_smoothing_factor", number(&T::label_smoothing_factor, 0, 0.999999)},
      {"neftune_noise_alpha",
       [](RunConfig& c, const Value& v) { c.training.neftune_noise_alpha = v.json.is_null() ? 0 : v.Number(0, 1e6); }},
      {"skip_nonfinite", integer(&T::skip_nonfinite, 0)},
      {"optim", [](RunConfig& c, const Value& v) { c.training.optim = v.OneOf(Optimizer::Names()); }},
      {"optim_args",
       [](RunConfig& c, const Value& v) {
         c.training.sgd = ParseOptimArgs(v.json.is_null() ? "" : v.Text(), v.where);
       }},
      {"group_by_length", flag(&T::group_by_length)},
      {"train_sampling_strategy",
       [](RunConfig& c, const Value& v) {
         const std::string name = v.OneOf({"random", "sequential", "group_by_length"});
         if (name == "group_by_length") c.training.group_by_length = true;
         if (name == "sequential") c.shuffle = false;
       }},
      {"logging_strategy",
       [](RunConfig& c, const Value& v) {
         c.training.logging_strategy = Strategy(v, {"no", "steps", "epoch"});
       }},
      {"logging_first_step", flag(&T::logging_first_step)},
      {"logging_steps", number(&T::logging_steps, 0, 1e15)},
      {"save_strategy",
       [](RunConfig& c, const Value& v) {
         c.training.save_strategy = Strategy(v, {"no", "steps", "epoch", "best"});
       }},
      {"save_steps", number(&T::save_steps, 0, 1e15)},
      {"save_total_limit",
       unless_null([](RunConfig& c, const Value& v) { c.training.save_total_limit = v.Integer(1, kMany); })},
      {"eval_strategy",
       [](RunConfig& c, const Value& v) {
         c.training.eval_strategy = Strategy(v, {"no", "steps", "epoch"});
       }},
      {"eval_steps", unless_null(number(&T::eval_steps, 0, 1e15))},
      {"eval_delay", number(&T::eval_delay, 0, 1e15)},
      {"eval_samples", integer(&T::eval_samples, 0)},
      {"eval_max_new_tokens", integer(&T::eval_max_new_tokens, 1)},
      {"load_best_model_at_end", flag(&T::load_best_model_at_end)},
      {"metric_for_best_model", unless_null([](RunConfig& c, const Value& v) {
         c.training.metric_for_best_model =
             v.OneOf({"loss", "eval_loss", "perplexity", "eval_perplexity", "token_accuracy", "eval_token_accuracy"});
       })},
      {"greater_is_better", unless_null([](RunConfig& c, const Value& v) { c.training.greater_is_better = v.Bool(); })},
      {"early_stopping_patience", integer(&T::early_stopping_patience, 0)},
      {"early_stopping_threshold", number(&T::early_stopping_threshold, 0, 1e30)},
      {"seed", [](RunConfig& c, const Value& v) { c.training.seed = static_cast<uint64_t>(v.Integer(0, kMany)); }},
      {"data_seed", unless_null([](RunConfig& c, const Value& v) {
         c.training.data_seed = static_cast<uint64_t>(v.Integer(0, kMany));
       })},
      {"bf16", unless_null(flag(&T::bf16))},
      {"fp16", flag(&T::fp16)},
      {"gradient_checkpointing", unless_null(flag(&T::gradient_checkpointing))},
      {"max_length",
       [](RunConfig& c, const Value& v) { c.training.max_length = v.json.is_null() ? 0 : v.Integer(1, kMany); }},
      {"truncation_mode",
       [](RunConfig& c, const Value& v) {
         c.training.truncation_mode = v.OneOf({"keep_start", "keep_end"});
       }},
      {"completion_only_loss",
       unless_null([](RunConfig& c, const Value& v) { c.training.completion_only_loss = v.Bool(); })},
      {"assistant_only_loss", flag(&T::assistant_only_loss)},
      {"packing", flag(&T::packing)},
      {"packing_strategy",
       [](RunConfig& c, const Value& v) {
         c.training.packing_strategy = v.OneOf({"bfd", "bfd_split", "wrapped"});
       }},
      {"tokens_in_flight", integer(&T::tokens_in_flight, 1)},
  };
  return fields;
}

const std::map<std::string, const Fields*>& Sections() {
  static const std::map<std::string, const Fields*> sections = {
      {"model", &ModelFields()}, {"data", &DataFields()}, {"full", &FullFields()}, {"training", &TrainingFields()}};
  return sections;
}

// Short names people expect on a command line.
const std::map<std::string, std::string>& Aliases() {
  static const std::map<std::string, std::string> aliases = {{"model", "model.name_or_path"},
                                                             {"model_name_or_path", "model.name_or_path"},
                                                             {"adapter", "model.adapter"},
                                                             {"data", "data.train"},
                                                             {"eval_data", "data.eval"},
                                                             {"shuffle", "data.shuffle"},
                                                             {"lora_r", "lora.r"},
                                                             {"lora_target_modules", "lora.target_modules"},
                                                             {"lora_modules_to_save", "lora.modules_to_save"}};
  return aliases;
}

// Whether it is a key of transformers or TRL that says what happens anyway. Errors: Error{kBadInput} when it says more.
bool AcceptForeign(const std::string& key, const Json& json, const std::string& where) {
  for (const ForeignKey& foreign : ForeignKeys()) {
    if (foreign.name != key) continue;
    const auto& accepted = foreign.accepted;
    if (json.is_null() || std::find(accepted.begin(), accepted.end(), json) != accepted.end()) return true;
    BadInput("{}: {} is not supported: {}", where, json.dump(), foreign.reason);
  }
  return false;
}

void Set(RunConfig& config, const std::string& section, const std::string& key, const Json& json,
         const std::string& where) {
  const std::string full = where + section + "." + key;
  if (section == "lora") {
    config.lora.SetField(key, json, where + "lora");
  } else if (section == "quantization") {
    if (!config.quantization) config.quantization.emplace();
    config.quantization->SetField(key, json, where + "quantization");
  } else {
    const Fields& fields = *Sections().at(section);
    const auto field = fields.find(key);
    if (field == fields.end() && section == "training" && AcceptForeign(key, json, full)) return;
    if (field == fields.end()) {
      std::vector<std::string> known;
      for (const auto& [name, setter] : fields) known.push_back(name);
      const std::string nearest = NearestName(key, known);
      BadInput("{}unknown key \"{}.{}\"{}", where, section, key,
               nearest.empty() ? "; docs/training.md lists the keys" : "; did you mean \"" + nearest + "\"?");
    }
    field->second(config, {json, full});
  }
  config.source[section][key] = json;
}

void SetMethod(RunConfig& config, const Json& json, const std::string& where) {
  const std::string method = json.is_string() ? json.get<std::string>() : json.dump();
  if (method != "lora" && method != "qlora" && method != "full") {
    BadInput("{}method: \"{}\" is not known; use lora, qlora or full", where, method);
  }
  config.method = method;
  config.source["method"] = method;
}

void CompleteQuantization(RunConfig& config, const std::string& where) {
  const BnbConfig& quantization = *config.quantization;
  quantization.Validate(where + (where.empty() ? "" : ": ") + "quantization");
  if (!quantization.load_in_4bit && !quantization.load_in_8bit) {
    if (config.method != "qlora") return config.quantization.reset();
    BadInput(
        "{}: quantization: set load_in_4bit or load_in_8bit, or leave the section out for method: qlora's own choice",
        where);
  }
  if (config.method != "qlora") {
    BadInput("{}: method: {} keeps the base as it is; with a section quantization it is method: qlora", where,
             config.method);
  }
  if (quantization.llm_int8_has_fp16_weight) {
    BadInput("{}: quantization.llm_int8_has_fp16_weight keeps the 16-bit weights beside the 8-bit ones; leave it out",
             where);
  }
  // Products run in the type the base is decoded to.
  if (config.source["quantization"].contains("bnb_4bit_compute_dtype") &&
      quantization.bnb_4bit_compute_dtype == DType::kF32) {
    config.training.bf16 = config.training.fp16 = false;
  }
}

// What is left to check once everything is set.
void Complete(RunConfig& config, const std::string& where, ConfigUse use) {
  const bool from_scratch = !config.init_from_config.empty();
  if (config.method.empty()) {
    const bool quantizes =
        config.quantization && (config.quantization->load_in_4bit || config.quantization->load_in_8bit);
    config.method = from_scratch || config.source.contains("full") ? "full" : quantizes ? "qlora" : "lora";
  }
  if (config.quantization) CompleteQuantization(config, where);
  if (config.training.sgd != SgdArguments() && config.training.optim != "sgd") {
    BadInput("{}: training.optim_args: optim {} takes none; sgd does", where, config.training.optim);
  }
  const bool full = config.method == "full";
  if (full && (config.source.contains("lora") || !config.adapter.empty())) {
    BadInput("{}: method: full trains the model itself; remove {}", where,
             config.adapter.empty() ? "the section lora" : "model.adapter");
  }
  if (!full && config.source.contains("full")) BadInput("{}: the section full needs method: full", where);
  if (!full && from_scratch) BadInput("{}: model.init_from_config trains from scratch and needs method: full", where);
  if (from_scratch && !config.model.empty()) {
    BadInput("{}: model.init_from_config and model.name_or_path exclude each other: from scratch, or from a model",
             where);
  }
  if (config.model.empty() && !from_scratch) {
    BadInput("model.name_or_path is missing: a model folder, a .gguf file or org/name");
  }
  if (config.train_data.empty() && use == ConfigUse::kTrain)
    BadInput("data.train is missing: a file or folder of training rows");
  if (config.training.output_dir.empty() && use == ConfigUse::kTrain) {
    BadInput("training.output_dir is missing: a folder for the result and its records");
  }
  if (config.training.fp16 && config.source["training"].value("bf16", Json()) == true)
    BadInput("{}: training.fp16 and training.bf16 are both true: set at most one of them", where);
  if (config.training.packing && config.training.max_length == 0) BadInput("packing: true needs a max_length");
  if (!full) config.lora.Validate(where);
}

void ReadFileInto(RunConfig& config, const std::string& path) {
  YAML::Node root;
  try {
    root = YAML::Load(ReadFile(path));
  } catch (const YAML::Exception& error) {
    BadInput("{}:{}: not valid YAML: {}", path, error.mark.line + 1, error.msg);
  }
  if (!root.IsMap()) BadInput("{}: must hold sections: model, data, lora, quantization, full, training", path);
  const std::vector<std::string> known = {"method", "model", "data", "lora", "quantization", "full", "training"};
  for (const auto& [name, line, fields] : YamlEntries(root, path)) {
    const std::string where = fmt::format("{}:{}: ", path, line);
    if (name == "method") {
      SetMethod(config, YamlToJson(fields, path), where);
    } else if (std::find(known.begin(), known.end(), name) == known.end()) {
      const std::string nearest = NearestName(name, known);
      BadInput("{}unknown section \"{}\"{}", where, name, nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
    } else if (!fields.IsMap()) {
      BadInput("{}section \"{}\" must hold keys and values", where, name);
    } else {
      for (const YamlEntry& field : YamlEntries(fields, path))
        Set(config, name, field.key, YamlToJson(field.value, path), fmt::format("{}:{}: ", path, field.line));
    }
  }
}

bool IsSection(const std::string& name) {
  return name == "lora" || name == "quantization" || Sections().contains(name);
}

// "learning_rate" -> {"training", "learning_rate"}.
std::pair<std::string, std::string> Resolve(const std::string& name) {
  const auto alias = Aliases().find(name);
  const std::string full = alias != Aliases().end() ? alias->second : name;
  const size_t dot = full.find('.');
  if (dot != std::string::npos) {
    const std::string section = full.substr(0, dot);
    if (IsSection(section)) return {section, full.substr(dot + 1)};
    BadInput("{}: unknown section \"{}\"; known: model, data, lora, quantization, full, training", name, section);
  }
  if (BnbConfig::Knows(full)) return {"quantization", full};
  const std::vector<std::string> lora = LoraConfig::Keys();
  if (std::ranges::find(lora, full) != lora.end()) return {"lora", full};
  for (const auto& [section, fields] : Sections()) {
    if (fields->contains(full)) return {section, full};
  }
  for (const ForeignKey& foreign : ForeignKeys()) {
    if (foreign.name == full) return {"training", full};
  }
  std::vector<std::string> known = lora;
  for (const auto& [section, fields] : Sections()) {
    for (const auto& [key, setter] : *fields) known.push_back(key);
  }
  for (const std::string& key : BnbConfig::Keys()) known.push_back(key);
  for (const auto& [short_name, target] : Aliases()) known.push_back(short_name);
  const std::string nearest = NearestName(full, known);
  BadInput("unknown key \"{}\"{}", name,
           nearest.empty() ? "; docs/training.md lists the keys" : "; did you mean \"" + nearest + "\"?");
}

// A flag's text as YAML: numbers, booleans, "[a, b]".
Json ParseSetting(const std::string& key, const std::string& text) {
  static const std::set<std::string> lists = {"lora.target_modules",
                                              "lora.exclude_modules",
                                              "lora.modules_to_save",
                                              "lora.layers_to_transform",
                                              "lora.layers_pattern",
                                              "full.train",
                                              "full.freeze",
                                              "lora.trainable_token_indices",
                                              "quantization.llm_int8_skip_modules"};
  // Plain names and numbers with commas between are a list, also a list of one; anything else (an expression,
  // all-linear) is what it would be in the file.
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == ',' || c == '.';
  });
  if (lists.contains(key) && plain) return ParseSetting(key, "[" + text + "]");
  try {
    return YamlToJson(YAML::Load(text), "--set " + key);
  } catch (const YAML::Exception&) {
    return text;
  }
}

}  // namespace

std::vector<std::string> ConfigKeys() {
  std::vector<std::string> keys;
  for (const std::string& key : LoraConfig::Keys()) keys.push_back("lora." + key);
  for (const std::string& key : BnbConfig::Keys()) keys.push_back("quantization." + key);
  for (const auto& [section, fields] : Sections()) {
    for (const auto& [key, setter] : *fields) keys.push_back(section + "." + key);
  }
  return keys;
}

namespace {

void Apply(RunConfig& config, const std::vector<Setting>& settings) {
  for (const auto& [name, text] : settings) {
    if (!IsValidUtf8(text)) BadInput("{}: \"{}\" is not valid UTF-8, which run.json could not hold", name, text);
    if (name == "method") {
      SetMethod(config, text, "");
      continue;
    }
    const auto [section, key] = Resolve(name);
    Set(config, section, key, ParseSetting(section + "." + key, text), "");
  }
}

}  // namespace

std::string FullKey(const std::string& name) {
  if (name == "method") return name;
  const auto [section, key] = Resolve(name);
  return section + "." + key;
}

RunConfig LoadConfig(const std::string& path, const std::vector<Setting>& settings, ConfigUse use) {
  RunConfig config;
  config.source = Json::object();
  if (!path.empty()) ReadFileInto(config, path);
  Apply(config, settings);
  Complete(config, path.empty() ? "the settings" : path, use);
  return config;
}

RunConfig ConfigFromSource(const Json& source, const std::string& where, const std::vector<Setting>& settings) {
  RunConfig config;
  config.source = Json::object();
  if (!source.is_object()) BadInput("{}: its settings are not an object", where);
  for (const auto& [section, fields] : source.items()) {
    if (section == "method") {
      SetMethod(config, fields, where + ": ");
      continue;
    }
    if (!fields.is_object() || !IsSection(section)) {
      BadInput("{}: unknown section \"{}\"", where, section);
    }
    for (const auto& [key, value] : fields.items()) Set(config, section, key, value, where + ": ");
  }
  Apply(config, settings);
  Complete(config, where, ConfigUse::kTrain);
  return config;
}

}  // namespace attune
