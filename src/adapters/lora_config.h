// PEFT's LoraConfig: the settings of a LoRA adapter, from adapter_config.json or field by field from our
// configuration, and back to adapter_config.json as PEFT 0.21 writes it (CONFORMANCE.md 1.1 and 1.6). What
// PEFT has and this program has not yet is refused by name, never ignored.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace attune {

struct LoraConfig {
  // Nothing; a text (a regular expression for the whole dotted path, or "all-linear"); or names.
  using Selection = std::variant<std::monostate, std::string, std::vector<std::string>>;
  enum class Bias { kNone, kAll, kLoraOnly };
  // true: A uniform in +-1/sqrt(in), B zero; "gaussian": A normal with deviation 1/r, B zero; false: both
  // uniform. The others: adapters/decomposition.h.
  enum class Init { kDefault, kGaussian, kRandom, kPissa, kOlora, kOrthogonal, kEva, kLoftq };

  int64_t r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0;
  Selection target_modules;   // nothing: PEFT's default for the model_type
  Selection exclude_modules;  // wins over target_modules
  Bias bias = Bias::kNone;
  bool lora_bias = false;   // B has a bias, which the scaling counts for too
  bool use_dora = false;    // W' = m (W + s BA) / |W + s BA|, row by row
  bool use_rslora = false;  // scaling alpha / sqrt(r) instead of alpha / r
  bool fan_in_fan_out = false;
  Init init_lora_weights = Init::kDefault;
  int64_t pissa_iterations = 0;                               // of "pissa_niter_N"; 0: "pissa", the exact decomposition
  std::optional<std::vector<std::string>> modules_to_save;    // trained in full
  std::vector<std::pair<std::string, int64_t>> rank_pattern;  // expression: r, the first that matches counts
  std::vector<std::pair<std::string, double>> alpha_pattern;  // expression: lora_alpha
  // Tokens whose embeddings are trained: of the input embedding, or by the name of an embedding.
  using Tokens = std::vector<int64_t>;
  std::variant<std::monostate, Tokens, std::vector<std::pair<std::string, Tokens>>> trainable_token_indices;
  std::variant<std::monostate, int64_t, std::vector<int64_t>> layers_to_transform;
  Selection layers_pattern;              // the name before the layer's number
  std::optional<std::string> task_type;  // "CAUSAL_LM" or nothing
  std::optional<std::string> base_model_name_or_path, revision;

  std::vector<std::string> ignored_keys;  // keys of a loaded file that nobody knows: worth a warning

  // PEFT's EvaConfig (train/eva.h): components looked for, as a multiple of r; how little they may turn before they
  // count as found; whether only trained tokens are looked at; whether alpha follows the rank.
  struct Eva {
    double rho = 2.0, tau = 0.99;
    bool use_label_mask = true, adjust_scaling_factors = true;
    bool operator==(const Eva&) const = default;
  };
  Eva eva;

  bool operator==(const LoraConfig&) const = default;

  // Whether the first A and B are worked out from the weights or the data, not drawn.
  bool IsWorkedOut() const { return init_lora_weights >= Init::kPissa; }
  // Whether the first A and B are taken out of the base, which is another one from then on.
  bool ChangesBase() const { return init_lora_weights == Init::kPissa || init_lora_weights == Init::kOlora; }

  // Reads a parsed adapter_config.json; `where` names it. peft_type must be there; unknown keys go to
  // ignored_keys. Errors: Error{kBadInput} naming the key: wrong type, out of range, or not supported yet.
  static LoraConfig FromJson(const nlohmann::ordered_json& json, const std::string& where);

  static std::vector<std::string> Keys();  // PEFT's names of the fields that SetField knows, refused ones among them

  // Sets one field by PEFT's name. Errors: as FromJson, and for an unknown key, with the nearest known one.
  void SetField(const std::string& key, const nlohmann::ordered_json& value, const std::string& where);

  // Checks what no single field can tell; call it after the last SetField (FromJson does). Errors:
  // Error{kBadInput}.
  void Validate(const std::string& where) const;

  // Every field PEFT writes, keys sorted, inference_mode true. PEFT sorts inside the patterns as well and so
  // may change which expression is the first to match when it reads them back; they keep their order here.
  nlohmann::ordered_json ToJson() const;
  // The text of adapter_config.json: indented by 2, ASCII, no newline at the end.
  std::string ToText() const { return ToJson().dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace); }
};

}  // namespace attune
