// BitsAndBytesConfig of transformers: how the linear layers of a model are to be quantised, or were. Read
// from the quantization_config of a config.json or field by field from our configuration, written back as
// transformers 5.23 writes it, and its rule for the layers that stay as they are. Source: transformers,
// utils/quantization_config.py (BitsAndBytesConfig), quantizers/base.py (get_keys_to_not_convert) and
// quantizers/quantizers_utils.py (should_convert_module); CONFORMANCE.md 2.3.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/python_regex.h"
#include "base/dtype.h"
#include "quant/bnb_checkpoint.h"

namespace attune {

struct BnbConfig {
  bool load_in_4bit = false, load_in_8bit = false;  // never both
  Bnb4Type bnb_4bit_quant_type = Bnb4Type::kFp4;    // transformers' default; QLoRA sets nf4
  DType bnb_4bit_compute_dtype = DType::kF32;       // F32, F16 or BF16
  bool bnb_4bit_use_double_quant = false;
  DType bnb_4bit_quant_storage = DType::kU8;  // U8, I8, F16, BF16, F32 or F64
  // Module names or expressions; when given, they replace the default rule, the output head's protection
  // included.
  std::optional<std::vector<std::string>> llm_int8_skip_modules;
  double llm_int8_threshold = 6.0;
  bool llm_int8_enable_fp32_cpu_offload = false, llm_int8_has_fp16_weight = false;

  std::vector<std::string> ignored_keys;  // keys of a loaded file that nobody knows: worth a warning

  // Reads a parsed quantization_config; `where` names it. Errors: Error{kBadInput} naming the key: another
  // quant_method, a wrong type, an unknown name (with the nearest known one), both bit widths at once.
  static BnbConfig FromJson(const nlohmann::ordered_json& json, const std::string& where);

  // Whether SetField knows the key: those of BitsAndBytesConfig, in Keys().
  static bool Knows(const std::string& key);
  static std::vector<std::string> Keys();
  // Sets one field by its published name. Errors: as FromJson, and for an unknown key, with the nearest known
  // one.
  void SetField(const std::string& key, const nlohmann::ordered_json& value, const std::string& where);
  // Checks what no single field can tell; call it after the last SetField (FromJson does).
  void Validate(const std::string& where) const;

  // quantization_config as transformers writes it, keys sorted.
  nlohmann::ordered_json ToJson() const;

  // How weights are packed under load_in_4bit; bitsandbytes has no other block size than 64 here.
  Bnb4Settings Settings() const { return {bnb_4bit_quant_type, 64, bnb_4bit_use_double_quant, bnb_4bit_quant_storage}; }
};

// What transformers leaves alone when no skip list is given: the output head, tied weights and the module of
// the last parameter. `parameters` are the model's in its order, tied ones once; `output_head` is its module
// ("lm_head"), and `tied` are the names of weights that share memory.
std::vector<std::string> DefaultSkippedModules(const std::vector<std::string>& parameters,
                                               const std::string& output_head, const std::vector<std::string>& tied);

// Which linear layers stay as they are. Embeddings and norms are no linear layers and never asked about.
class SkippedModules {
 public:
  // A name skips a module that it equals or contains ("model.layers.1" skips "model.layers.1.mlp"), one that
  // ends in it, and, read as an expression, one whose start it matches up to a dot. Errors: Error{kBadInput}
  // for an expression that does not compile.
  SkippedModules(const std::vector<std::string>& names, const std::string& where);

  bool Skips(std::string_view module) const;  // "model.layers.0.mlp.down_proj"

 private:
  std::vector<std::string> names_;
  std::vector<PythonRegex> expressions_;
};

}  // namespace attune
