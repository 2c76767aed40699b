#include "models/quantized_layers.h"

#include "base/error.h"

namespace attune {

std::set<std::string> QuantizedLayers(const ModelSpec& spec, const BnbConfig& config) {
  const std::vector<ExpectedTensor> tensors = ExpectedTensors(spec);
  std::vector<std::string> parameters;
  for (const ExpectedTensor& t : tensors) parameters.push_back(t.name);
  std::vector<std::string> tied;
  if (spec.tie_word_embeddings) tied = {"model.embed_tokens.weight", "lm_head.weight"};
  const SkippedModules skipped(
      config.llm_int8_skip_modules ? *config.llm_int8_skip_modules : DefaultSkippedModules(parameters, "lm_head", tied),
      "llm_int8_skip_modules");
  std::set<std::string> linear;
  for (const ExpectedTensor& t : tensors) {
    if (t.shape.size() != 2 || t.name == "model.embed_tokens.weight") continue;
    if (!skipped.Skips(t.name.substr(0, t.name.rfind('.')))) linear.insert(t.name);
  }
  if (linear.empty()) BadInput("llm_int8_skip_modules: every linear layer is skipped, so nothing is left to quantise");
  return linear;
}

}  // namespace attune
