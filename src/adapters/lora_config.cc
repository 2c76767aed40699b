#include "adapters/lora_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>

#include "adapters/config_fields.h"

namespace attune {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kMaxRank = 1 << 16;
constexpr const char* kPeftVersion = "0.21.2";  // whose layout of adapter_config.json is written

struct Field : ConfigField {
  int64_t Integer(const ordered_json& from, int64_t lowest, int64_t highest, std::string_view wanted) const {
    if (!from.is_number_integer() || (from.is_number_unsigned() && from.get<uint64_t>() > INT64_MAX)) Bad(wanted);
    const auto number = from.get<int64_t>();
    if (number < lowest || number > highest) Bad(wanted);
    return number;
  }
  double Positive(const ordered_json& from, std::string_view wanted) const {
    if (!from.is_number() || !std::isfinite(from.get<double>()) || from.get<double>() <= 0) Bad(wanted);
    const auto number = from.get<double>();
    // Products are scaled by a float.
    if (number > std::numeric_limits<float>::max() || number < std::numeric_limits<float>::min())
      Bad("within the range of a 32-bit float");
    return number;
  }
  std::optional<std::string> TextOrNull() const {
    if (value.is_null()) return std::nullopt;
    if (!value.is_string()) Bad("a text or null");
    return value.get<std::string>();
  }
  LoraConfig::Selection Selection() const {
    if (value.is_null()) return {};
    if (value.is_string()) return value.get<std::string>();
    return Names("a text, a list of names or null");
  }
};

constexpr std::pair<LoraConfig::Bias, const char*> kBiasNames[] = {
    {LoraConfig::Bias::kNone, "none"}, {LoraConfig::Bias::kAll, "all"}, {LoraConfig::Bias::kLoraOnly, "lora_only"}};

void SetBias(LoraConfig& config, const Field& field) {
  for (const auto& [bias, name] : kBiasNames) {
    if (field.value == name) {
      config.bias = bias;
      return;
    }
  }
  field.Bad("none, all or lora_only");
}

constexpr std::pair<LoraConfig::Init, const char*> kInitNames[] = {
    {LoraConfig::Init::kGaussian, "gaussian"}, {LoraConfig::Init::kPissa, "pissa"},
    {LoraConfig::Init::kOlora, "olora"},       {LoraConfig::Init::kOrthogonal, "orthogonal"},
    {LoraConfig::Init::kEva, "eva"},           {LoraConfig::Init::kLoftq, "loftq"}};
constexpr std::string_view kIterated = "pissa_niter_";

// "pissa_niter_16": so many iterations; 0 where the name is another one.
int64_t PissaIterations(const std::string& name) {
  constexpr int64_t kMost = 1000;
  if (!name.starts_with(kIterated)) return 0;
  int64_t iterations = 0;
  const char* end = name.data() + name.size();
  const auto read = std::from_chars(name.data() + kIterated.size(), end, iterations);
  return read.ec == std::errc() && read.ptr == end && iterations <= kMost ? iterations : 0;
}

void SetInit(LoraConfig& config, const Field& field) {
  constexpr std::string_view kWanted =
      "true, false, \"gaussian\", \"pissa\", \"pissa_niter_16\" (1 to 1000), \"olora\", \"eva\", \"loftq\" or "
      "\"orthogonal\"";
  config.pissa_iterations = 0;
  if (field.value.is_boolean()) {
    config.init_lora_weights = field.value.get<bool>() ? LoraConfig::Init::kDefault : LoraConfig::Init::kRandom;
    return;
  }
  if (!field.value.is_string()) field.Bad(kWanted);
  const auto& name = field.value.get_ref<const std::string&>();
  config.pissa_iterations = PissaIterations(name);
  if (config.pissa_iterations > 0) {
    config.init_lora_weights = LoraConfig::Init::kPissa;
    return;
  }
  for (const auto& [init, known] : kInitNames) {
    if (name != known) continue;
    config.init_lora_weights = init;
    return;
  }
  for (const char* later : {"corda", "lora_ga", "mica"}) {
    if (name != later) continue;
    BadInput("{}: {} \"{}\" arrives with a later version; known: {}", field.where, field.key, name, kWanted);
  }
  field.Bad(kWanted);
}

void SetEva(LoraConfig& config, const Field& field) {
  constexpr std::string_view kWanted =
      "an object of rho (1 or more), tau (0 to 1), use_label_mask, adjust_scaling_factors; label_mask_value -100 and "
      "whiten false";
  config.eva = {};
  if (field.value.is_null()) return;
  if (!field.value.is_object()) field.Bad(kWanted);
  for (const auto& [key, value] : field.value.items()) {
    if (key == "rho" && value.is_number() && value.get<double>() >= 1 && value.get<double>() <= 1000) {
      config.eva.rho = value.get<double>();
    } else if (key == "tau" && value.is_number() && value.get<double>() >= 0 && value.get<double>() <= 1) {
      config.eva.tau = value.get<double>();
    } else if (key == "use_label_mask" && value.is_boolean()) {
      config.eva.use_label_mask = value.get<bool>();
    } else if (key == "adjust_scaling_factors" && value.is_boolean()) {
      config.eva.adjust_scaling_factors = value.get<bool>();
    } else if (!(key == "label_mask_value" && value == -100) && !(key == "whiten" && value == false)) {
      field.Bad(kWanted);
    }
  }
}

// The base is quantised once, as the section quantization says; the alternating form would need another one.
void CheckLoftq(LoraConfig&, const Field& field) {
  constexpr std::string_view kWanted =
      "an object with loftq_bits 4 and loftq_iter 1: the base is quantised once, by quantization";
  if (field.value.is_null()) return;
  if (!field.value.is_object()) field.Bad(kWanted);
  for (const auto& [key, value] : field.value.items()) {
    if (!(key == "loftq_bits" && value == 4) && !(key == "loftq_iter" && value == 1)) field.Bad(kWanted);
  }
}

ordered_json EvaToJson(const LoraConfig& config) {
  if (config.init_lora_weights != LoraConfig::Init::kEva) return nullptr;
  return {{"adjust_scaling_factors", config.eva.adjust_scaling_factors},
          {"label_mask_value", -100},
          {"rho", config.eva.rho},
          {"tau", config.eva.tau},
          {"use_label_mask", config.eva.use_label_mask},
          {"whiten", false}};
}

ordered_json InitToJson(const LoraConfig& config) {
  if (config.pissa_iterations > 0) return fmt::format("{}{}", kIterated, config.pissa_iterations);
  for (const auto& [init, name] : kInitNames) {
    if (config.init_lora_weights == init) return name;
  }
  return config.init_lora_weights == LoraConfig::Init::kDefault;
}

void SetRankPattern(LoraConfig& config, const Field& field) {
  constexpr std::string_view kWanted = "an object of expressions and ranks (integers from 1 to 65536)";
  config.rank_pattern.clear();
  if (field.value.is_null()) return;
  if (!field.value.is_object()) field.Bad(kWanted);
  for (const auto& [pattern, rank] : field.value.items()) {
    config.rank_pattern.emplace_back(pattern, field.Integer(rank, 1, kMaxRank, kWanted));
  }
}

void SetAlphaPattern(LoraConfig& config, const Field& field) {
  constexpr std::string_view kWanted = "an object of expressions and positive numbers";
  config.alpha_pattern.clear();
  if (field.value.is_null()) return;
  if (!field.value.is_object()) field.Bad(kWanted);
  for (const auto& [pattern, alpha] : field.value.items()) {
    config.alpha_pattern.emplace_back(pattern, field.Positive(alpha, kWanted));
  }
}

void SetLayers(LoraConfig& config, const Field& field) {
  constexpr std::string_view kWanted = "a layer's number, a list of them or null";
  constexpr int64_t kMaxLayer = 1 << 20;
  if (field.value.is_null()) {
    config.layers_to_transform = std::monostate();
  } else if (field.value.is_array()) {
    std::vector<int64_t> layers;
    for (const ordered_json& entry : field.value) layers.push_back(field.Integer(entry, 0, kMaxLayer, kWanted));
    config.layers_to_transform = std::move(layers);
  } else {
    config.layers_to_transform = field.Integer(field.value, 0, kMaxLayer, kWanted);
  }
}

constexpr std::string_view kTokensWanted =
    "a list of token ids, each once, or an object of an embedding's name and such a list";

LoraConfig::Tokens TokenList(const Field& field, const ordered_json& list) {
  constexpr int64_t kMaxToken = (int64_t{1} << 31) - 1;
  if (!list.is_array() || list.empty()) field.Bad(kTokensWanted);
  LoraConfig::Tokens tokens;
  for (const ordered_json& entry : list) {
    tokens.push_back(field.Integer(entry, 0, kMaxToken, kTokensWanted));
    if (std::count(tokens.begin(), tokens.end(), tokens.back()) > 1) field.Bad(kTokensWanted);
  }
  return tokens;
}

void SetTokens(LoraConfig& config, const Field& field) {
  config.trainable_token_indices = std::monostate();
  if (field.value.is_null() || (field.value.is_structured() && field.value.empty())) return;
  if (!field.value.is_object()) {
    config.trainable_token_indices = TokenList(field, field.value);
    return;
  }
  std::vector<std::pair<std::string, LoraConfig::Tokens>> by_name;
  for (const auto& [name, list] : field.value.items()) by_name.emplace_back(name, TokenList(field, list));
  config.trainable_token_indices = std::move(by_name);
}

void SetDropout(LoraConfig& config, const Field& field) {
  if (!field.value.is_number() || !(field.value.get<double>() >= 0 && field.value.get<double>() < 1)) {
    field.Bad("a number from 0 to below 1");
  }
  config.lora_dropout = field.value.get<double>();
}

void SetTaskType(LoraConfig& config, const Field& field) {
  config.task_type = field.TextOrNull();
  if (config.task_type && *config.task_type != "CAUSAL_LM") field.Bad("CAUSAL_LM (the only task supported) or null");
}

void RequireLora(LoraConfig&, const Field& field) {
  if (field.value != "LORA") field.Bad("LORA (the only kind of adapter supported)");
}

// Takes any value: the field says nothing about this adapter's mathematics.
void Accept(LoraConfig&, const Field&) {}

// Refuses a field that PEFT has and this program not, unless it is off: null, false or empty.
void RefuseUnlessOff(LoraConfig&, const Field& field) {
  const ordered_json& value = field.value;
  if (value.is_null() || value == false || (value.is_structured() && value.empty())) return;
  BadInput("{}: {} arrives with a later version; leave it out", field.where, field.key);
}

using LoraSetter = ConfigSetter<LoraConfig, Field>;
constexpr LoraSetter kLoraSetters[] = {
    {"r", [](LoraConfig& c, const Field& f) { c.r = f.Integer(f.value, 1, kMaxRank, "an integer from 1 to 65536"); }},
    {"lora_alpha", [](LoraConfig& c, const Field& f) { c.lora_alpha = f.Positive(f.value, "a positive number"); }},
    {"lora_dropout", SetDropout},
    {"target_modules", [](LoraConfig& c, const Field& f) { c.target_modules = f.Selection(); }},
    {"exclude_modules", [](LoraConfig& c, const Field& f) { c.exclude_modules = f.Selection(); }},
    {"bias", SetBias},
    {"lora_bias", [](LoraConfig& c, const Field& f) { c.lora_bias = f.Boolean(); }},
    {"use_dora", [](LoraConfig& c, const Field& f) { c.use_dora = f.Boolean(); }},
    {"use_rslora", [](LoraConfig& c, const Field& f) { c.use_rslora = f.Boolean(); }},
    {"fan_in_fan_out", [](LoraConfig& c, const Field& f) { c.fan_in_fan_out = f.Boolean(); }},
    {"init_lora_weights", SetInit},
    {"modules_to_save",
     [](LoraConfig& c, const Field& f) {
       c.modules_to_save.reset();
       if (!f.value.is_null()) c.modules_to_save = f.Names("a list of names or null");
     }},
    {"rank_pattern", SetRankPattern},
    {"alpha_pattern", SetAlphaPattern},
    {"trainable_token_indices", SetTokens},
    {"layers_to_transform", SetLayers},
    {"layers_pattern", [](LoraConfig& c, const Field& f) { c.layers_pattern = f.Selection(); }},
    {"task_type", SetTaskType},
    {"base_model_name_or_path", [](LoraConfig& c, const Field& f) { c.base_model_name_or_path = f.TextOrNull(); }},
    {"revision", [](LoraConfig& c, const Field& f) { c.revision = f.TextOrNull(); }},
    {"peft_type", RequireLora},
    {"inference_mode", Accept},
    {"peft_version", Accept},
    {"auto_mapping", Accept},
    {"runtime_config", Accept},
    {"megatron_core", Accept},
    {"qalora_group_size", Accept},
    {"target_parameters", RefuseUnlessOff},
    {"ensure_weight_tying", RefuseUnlessOff},
    {"layer_replication", RefuseUnlessOff},
    {"loftq_config", CheckLoftq},
    {"eva_config", SetEva},
    {"corda_config", RefuseUnlessOff},
    {"lora_ga_config", RefuseUnlessOff},
    {"megatron_config", RefuseUnlessOff},
    {"alora_invocation_tokens", RefuseUnlessOff},
    {"use_qalora", RefuseUnlessOff},
    {"use_bdlora", RefuseUnlessOff},
    {"arrow_config", RefuseUnlessOff},
    {"kasa_config", RefuseUnlessOff},
    {"velora_config", RefuseUnlessOff},
    {"monteclora_config", RefuseUnlessOff},
};

ordered_json ToJsonValue(const LoraConfig::Selection& selection) {
  if (const auto* text = std::get_if<std::string>(&selection)) return *text;
  if (const auto* names = std::get_if<std::vector<std::string>>(&selection)) return *names;
  return nullptr;
}

ordered_json ToJsonValue(const std::optional<std::string>& text) {
  return text ? ordered_json(*text) : ordered_json(nullptr);
}

// 32, not 32.0: PEFT's field is an integer that people also set to fractions.
ordered_json NumberToJson(double number) {
  if (number == std::floor(number) && std::abs(number) < 1e15) return static_cast<int64_t>(number);
  return number;
}

}  // namespace

LoraConfig LoraConfig::FromJson(const ordered_json& json, const std::string& where) {
  if (!json.is_object()) BadInput("{}: must hold a JSON object", where);
  if (!json.contains("peft_type"))
    BadInput("{}: has no peft_type, so it is not the configuration of an adapter", where);
  LoraConfig config;
  const std::string peft_type = "peft_type";  // first: the other keys mean something only to its kind
  RequireLora(config, Field{{peft_type, json["peft_type"], where}});
  for (const auto& [key, value] : json.items()) {
    if (FindSetter(kLoraSetters, key) == nullptr) {
      config.ignored_keys.push_back(key);
    } else {
      config.SetField(key, value, where);
    }
  }
  config.Validate(where);
  return config;
}

std::vector<std::string> LoraConfig::Keys() {
  std::vector<std::string> keys;
  for (const LoraSetter& setter : kLoraSetters) keys.emplace_back(setter.key);
  return keys;
}

void LoraConfig::SetField(const std::string& key, const ordered_json& value, const std::string& where) {
  if (const LoraSetter* setter = FindSetter(kLoraSetters, key)) return setter->set(*this, Field{{key, value, where}});
  RefuseUnknownKey(kLoraSetters, key, where);
}

void LoraConfig::Validate(const std::string& where) const {
  const bool by_layer = !std::holds_alternative<std::monostate>(layers_to_transform);
  const bool has_pattern = !std::holds_alternative<std::monostate>(layers_pattern);
  if (std::holds_alternative<std::string>(target_modules) && (by_layer || has_pattern)) {
    BadInput("{}: layers_to_transform and layers_pattern need target_modules as a list of names, not as a text", where);
  }
  if (lora_bias && use_dora) BadInput("{}: lora_bias does not go with use_dora: leave one of them out", where);
  if (lora_bias && init_lora_weights != Init::kDefault && init_lora_weights != Init::kRandom)
    BadInput("{}: lora_bias needs init_lora_weights true or false", where);
  if (has_pattern && !by_layer) BadInput("{}: layers_pattern needs layers_to_transform as well", where);
}

ordered_json LoraConfig::ToJson() const {
  ordered_json json;  // in the order of the keys
  json["alora_invocation_tokens"] = nullptr;
  json["alpha_pattern"] = ordered_json::object();
  for (const auto& [pattern, alpha] : alpha_pattern) json["alpha_pattern"][pattern] = NumberToJson(alpha);
  json["arrow_config"] = nullptr;
  json["auto_mapping"] = nullptr;
  json["base_model_name_or_path"] = ToJsonValue(base_model_name_or_path);
  json["bias"] = kBiasNames[static_cast<size_t>(bias)].second;
  json["corda_config"] = nullptr;
  json["ensure_weight_tying"] = false;
  json["eva_config"] = EvaToJson(*this);
  json["exclude_modules"] = ToJsonValue(exclude_modules);
  json["fan_in_fan_out"] = fan_in_fan_out;
  json["inference_mode"] = true;
  json["init_lora_weights"] = InitToJson(*this);
  json["kasa_config"] = nullptr;
  json["layer_replication"] = nullptr;
  json["layers_pattern"] = ToJsonValue(layers_pattern);
  json["layers_to_transform"] = nullptr;
  if (const auto* layer = std::get_if<int64_t>(&layers_to_transform)) json["layers_to_transform"] = *layer;
  if (const auto* layers = std::get_if<std::vector<int64_t>>(&layers_to_transform))
    json["layers_to_transform"] = *layers;
  json["loftq_config"] = ordered_json::object();
  json["lora_alpha"] = NumberToJson(lora_alpha);
  json["lora_bias"] = lora_bias;
  json["lora_dropout"] = lora_dropout;
  json["lora_ga_config"] = nullptr;
  json["megatron_config"] = nullptr;
  json["megatron_core"] = "megatron.core";
  json["modules_to_save"] = modules_to_save ? ordered_json(*modules_to_save) : ordered_json(nullptr);
  json["monteclora_config"] = nullptr;
  json["peft_type"] = "LORA";
  json["peft_version"] = kPeftVersion;
  json["qalora_group_size"] = 16;
  json["r"] = r;
  json["rank_pattern"] = ordered_json::object();
  for (const auto& [pattern, rank] : rank_pattern) json["rank_pattern"][pattern] = rank;
  json["revision"] = ToJsonValue(revision);
  json["target_modules"] = ToJsonValue(target_modules);
  json["target_parameters"] = nullptr;
  json["task_type"] = ToJsonValue(task_type);
  json["trainable_token_indices"] = nullptr;
  if (const auto* tokens = std::get_if<Tokens>(&trainable_token_indices)) json["trainable_token_indices"] = *tokens;
  if (const auto* by_name = std::get_if<2>(&trainable_token_indices)) {
    json["trainable_token_indices"] = ordered_json::object();
    for (const auto& [name, tokens] : *by_name) json["trainable_token_indices"][name] = tokens;
  }
  json["use_bdlora"] = nullptr;
  json["use_dora"] = use_dora;
  json["use_qalora"] = false;
  json["use_rslora"] = use_rslora;
  json["velora_config"] = nullptr;
  return json;
}

}  // namespace attune
