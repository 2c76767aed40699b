#include "adapters/bnb_config.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "adapters/config_fields.h"

namespace attune {
namespace {

using nlohmann::ordered_json;

struct BnbField : ConfigField {
  double Threshold() const {
    if (!value.is_number() || !(value.get<double>() >= 0) || !std::isfinite(value.get<double>())) {
      Bad("a number of at least 0");
    }
    return value.get<double>();
  }
  // One of `names`, by its place.
  template <size_t N>
  size_t OneOf(const char* const (&names)[N]) const {
    const std::vector<std::string> known(std::begin(names), std::end(names));
    std::string nearest;
    if (value.is_string()) {
      const auto& name = value.get_ref<const std::string&>();
      const auto found = std::find(known.begin(), known.end(), name);
      if (found != known.end()) return static_cast<size_t>(found - known.begin());
      nearest = NearestName(name, known);
    }
    Bad("one of " + fmt::format("{}", fmt::join(known, ", ")),
        nearest.empty() ? "" : fmt::format("; did you mean \"{}\"?", nearest));
  }
  std::optional<std::vector<std::string>> NamesOrNull() const {
    constexpr std::string_view kWanted = "a list of module names or null";
    if (value.is_null()) return std::nullopt;
    return Names(kWanted);
  }
};

constexpr const char* kQuantTypes[] = {"nf4", "fp4"};
constexpr const char* kComputeTypes[] = {"float32", "float16", "bfloat16"};
constexpr DType kComputeDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};
constexpr const char* kStorageTypes[] = {"float16", "float32", "int8", "uint8", "float64", "bfloat16"};
constexpr DType kStorageDTypes[] = {DType::kF16, DType::kF32, DType::kI8, DType::kU8, DType::kF64, DType::kBF16};

void RequireBitsandbytes(BnbConfig&, const BnbField& f) {
  if (f.value != "bitsandbytes") f.Bad("\"bitsandbytes\", the only method supported");
}

using BnbSetter = ConfigSetter<BnbConfig, BnbField>;
constexpr BnbSetter kBnbSetters[] = {
    {"quant_method", RequireBitsandbytes},
    {"load_in_4bit", [](BnbConfig& c, const BnbField& f) { c.load_in_4bit = f.Boolean(); }},
    {"load_in_8bit", [](BnbConfig& c, const BnbField& f) { c.load_in_8bit = f.Boolean(); }},
    {"bnb_4bit_quant_type",
     [](BnbConfig& c, const BnbField& f) { c.bnb_4bit_quant_type = *Bnb4TypeOf(kQuantTypes[f.OneOf(kQuantTypes)]); }},
    {"bnb_4bit_compute_dtype",
     [](BnbConfig& c, const BnbField& f) {
       c.bnb_4bit_compute_dtype = f.value.is_null() ? DType::kF32 : kComputeDTypes[f.OneOf(kComputeTypes)];
     }},
    {"bnb_4bit_use_double_quant", [](BnbConfig& c, const BnbField& f) { c.bnb_4bit_use_double_quant = f.Boolean(); }},
    {"bnb_4bit_quant_storage",
     [](BnbConfig& c, const BnbField& f) {
       c.bnb_4bit_quant_storage = f.value.is_null() ? DType::kU8 : kStorageDTypes[f.OneOf(kStorageTypes)];
     }},
    {"llm_int8_skip_modules", [](BnbConfig& c, const BnbField& f) { c.llm_int8_skip_modules = f.NamesOrNull(); }},
    {"llm_int8_threshold", [](BnbConfig& c, const BnbField& f) { c.llm_int8_threshold = f.Threshold(); }},
    {"llm_int8_enable_fp32_cpu_offload",
     [](BnbConfig& c, const BnbField& f) { c.llm_int8_enable_fp32_cpu_offload = f.Boolean(); }},
    {"llm_int8_has_fp16_weight", [](BnbConfig& c, const BnbField& f) { c.llm_int8_has_fp16_weight = f.Boolean(); }},
};

template <size_t N>
const char* NameOfType(DType type, const DType (&types)[N], const char* const (&names)[N]) {
  return names[std::find(std::begin(types), std::end(types), type) - std::begin(types)];
}

}  // namespace

BnbConfig BnbConfig::FromJson(const ordered_json& json, const std::string& where) {
  if (!json.is_object()) BadInput("{}: must hold a JSON object", where);
  const std::string method = "quant_method";  // first: the other keys mean something only to its kind
  BnbConfig config;
  if (json.contains(method)) RequireBitsandbytes(config, BnbField{{method, json[method], where}});
  for (const auto& [key, value] : json.items()) {
    if (key == "_load_in_4bit" || key == "_load_in_8bit") continue;  // written beside load_in_4bit, never read
    if (Knows(key)) {
      config.SetField(key, value, where);
    } else {
      config.ignored_keys.push_back(key);
    }
  }
  config.Validate(where);
  return config;
}

bool BnbConfig::Knows(const std::string& key) { return FindSetter(kBnbSetters, key) != nullptr; }

std::vector<std::string> BnbConfig::Keys() {
  std::vector<std::string> keys;
  for (const BnbSetter& setter : kBnbSetters) keys.push_back(setter.key);
  return keys;
}

void BnbConfig::SetField(const std::string& key, const ordered_json& value, const std::string& where) {
  if (const BnbSetter* setter = FindSetter(kBnbSetters, key)) return setter->set(*this, BnbField{{key, value, where}});
  RefuseUnknownKey(kBnbSetters, key, where);
}

void BnbConfig::Validate(const std::string& where) const {
  if (load_in_4bit && load_in_8bit) {
    BadInput("{}: load_in_4bit and load_in_8bit are both true; choose one", where);
  }
}

ordered_json BnbConfig::ToJson() const {
  ordered_json json;  // in the order of the keys
  json["_load_in_4bit"] = load_in_4bit;
  json["_load_in_8bit"] = load_in_8bit;
  json["bnb_4bit_compute_dtype"] = NameOfType(bnb_4bit_compute_dtype, kComputeDTypes, kComputeTypes);
  json["bnb_4bit_quant_storage"] = NameOfType(bnb_4bit_quant_storage, kStorageDTypes, kStorageTypes);
  json["bnb_4bit_quant_type"] = NameOf(bnb_4bit_quant_type);
  json["bnb_4bit_use_double_quant"] = bnb_4bit_use_double_quant;
  json["llm_int8_enable_fp32_cpu_offload"] = llm_int8_enable_fp32_cpu_offload;
  json["llm_int8_has_fp16_weight"] = llm_int8_has_fp16_weight;
  json["llm_int8_skip_modules"] = llm_int8_skip_modules ? ordered_json(*llm_int8_skip_modules) : ordered_json(nullptr);
  json["llm_int8_threshold"] = llm_int8_threshold;
  json["load_in_4bit"] = load_in_4bit;
  json["load_in_8bit"] = load_in_8bit;
  json["quant_method"] = "bitsandbytes";
  return json;
}

std::vector<std::string> DefaultSkippedModules(const std::vector<std::string>& parameters,
                                               const std::string& output_head, const std::vector<std::string>& tied) {
  std::vector<std::string> names = tied;
  if (!parameters.empty()) names.push_back(parameters.back());
  if (!output_head.empty()) names.push_back(output_head);
  for (std::string& name : names) {
    if (name.ends_with(".weight")) name.resize(name.size() - std::string_view(".weight").size());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

SkippedModules::SkippedModules(const std::vector<std::string>& names, const std::string& where) : names_(names) {
  for (const std::string& name : names) {
    expressions_.emplace_back(fmt::format(R"((?:{})(?:(?<=\.)|(?=\.|$)))", name), where);
  }
}

bool SkippedModules::Skips(std::string_view module) const {
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& name) { return module.ends_with(name); }) ||
         std::any_of(expressions_.begin(), expressions_.end(),
                     [&](const PythonRegex& expression) { return expression.StartMatch(module); });
}

}  // namespace attune
