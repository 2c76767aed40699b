#include "models/quantized_layers.h"

#include <algorithm>

#include "base/error.h"
#include "models/adapter_model.h"

namespace attune {
namespace {

constexpr const char* kSkipList = "llm_int8_skip_modules";

// transformers passes such a name over, and packs what its user meant to keep.
void RefuseNamesOfNothing(const ModelSpec& spec, const std::vector<std::string>& names) {
  const std::vector<ModuleInfo> modules = DecoderModules(spec);
  for (const std::string& name : names) {
    const SkippedModules one({name}, kSkipList);
    if (std::any_of(modules.begin(), modules.end(), [&](const ModuleInfo& m) { return one.Skips(m.path); })) continue;
    BadInput("{}: the model has no module \"{}\" (it has {})", kSkipList, name, NamesThatExist(modules));
  }
}

}  // namespace

BnbConfig QloraQuantization() {
  BnbConfig config;
  config.load_in_4bit = true;
  config.bnb_4bit_quant_type = Bnb4Type::kNf4;
  config.bnb_4bit_use_double_quant = true;
  return config;
}

std::optional<BnbConfig> QuantizationOf(const std::optional<BnbConfig>& given, const ModelFiles& files) {
  if (given) return given;
  for (const ExpectedTensor& expected : ExpectedTensors(files.spec())) {
    const StoredTensor* stored = files.Find(expected.name);
    if (stored == nullptr) continue;
    if (stored->bnb4 || stored->dtype == DType::kInt8Rows || LayoutOf(stored->dtype).block_elements > 1)
      return std::nullopt;
  }
  return QloraQuantization();
}

std::set<std::string> QuantizedLayers(const ModelSpec& spec, const BnbConfig& config) {
  const std::vector<ExpectedTensor> tensors = ExpectedTensors(spec);
  std::vector<std::string> parameters;
  for (const ExpectedTensor& t : tensors) parameters.push_back(t.name);
  std::vector<std::string> tied;
  if (spec.tie_word_embeddings) tied = {"model.embed_tokens.weight", "lm_head.weight"};
  if (config.llm_int8_skip_modules) RefuseNamesOfNothing(spec, *config.llm_int8_skip_modules);
  const SkippedModules skipped(
      config.llm_int8_skip_modules ? *config.llm_int8_skip_modules : DefaultSkippedModules(parameters, "lm_head", tied),
      kSkipList);
  std::set<std::string> linear;
  for (const ExpectedTensor& t : tensors) {
    if (t.shape.size() != 2 || t.name == "model.embed_tokens.weight") continue;
    if (!skipped.Skips(t.name.substr(0, t.name.rfind('.')))) linear.insert(t.name);
  }
  if (linear.empty()) BadInput("{}: every linear layer is skipped, so nothing is left to quantise", kSkipList);
  return linear;
}

}  // namespace attune
