#include "models/model_shapes.h"

#include <iterator>

#include "base/error.h"
#include "base/nearest.h"

namespace attune {
namespace {

struct ModelShape {
  const char* name;
  const char* model_type;
  int64_t vocab, hidden, mlp, layers, heads, kv_heads, positions;
  double rope_theta, rms_norm_eps;
  bool tied;
};

constexpr ModelShape kShapes[] = {
    {"llama-2-7b", "llama", 32000, 4096, 11008, 32, 32, 32, 4096, 1e4, 1e-5, false},
    {"llama-2-13b", "llama", 32000, 5120, 13824, 40, 40, 40, 4096, 1e4, 1e-5, false},
    {"llama-3-8b", "llama", 128256, 4096, 14336, 32, 32, 8, 8192, 5e5, 1e-5, false},
    {"qwen2.5-7b", "qwen2", 152064, 3584, 18944, 28, 28, 4, 32768, 1e6, 1e-6, false},
    {"mistral-7b", "mistral", 32000, 4096, 14336, 32, 32, 8, 32768, 1e4, 1e-5, false},
    {"qwen2.5-0.5b", "qwen2", 151936, 896, 4864, 24, 14, 2, 32768, 1e6, 1e-6, true},
    {"smollm2-360m", "llama", 49152, 960, 2560, 32, 15, 5, 8192, 1e5, 1e-5, true},
    {"smollm2-135m", "llama", 49152, 576, 1536, 30, 9, 3, 8192, 1e5, 1e-5, true},
    {"stories42m", "llama", 32000, 512, 1376, 8, 8, 8, 1024, 1e4, 1e-5, true},  // karpathy/tinyllamas
    {"tiny", "llama", 320, 64, 128, 2, 4, 2, 256, 1e4, 1e-5, false},
};

const char* Architecture(const std::string& model_type) {
  return model_type == "llama" ? "LlamaForCausalLM" : model_type == "qwen2" ? "Qwen2ForCausalLM" : "MistralForCausalLM";
}

}  // namespace

std::vector<std::string> ModelShapeNames() {
  std::vector<std::string> names;
  for (const ModelShape& shape : kShapes) names.push_back(shape.name);
  return names;
}

nlohmann::ordered_json ModelShapeConfig(const std::string& name) {
  const std::vector<std::string> names = ModelShapeNames();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    const std::string nearest = NearestName(name, names);
    BadInput("--shape {}: not known{}; the shapes are {}", name,
             nearest.empty() ? "" : fmt::format(", did you mean \"{}\"?", nearest), fmt::join(names, ", "));
  }
  const ModelShape& s = kShapes[found - names.begin()];
  nlohmann::ordered_json config = {{"architectures", {Architecture(s.model_type)}},
                                   {"model_type", s.model_type},
                                   {"vocab_size", s.vocab},
                                   {"hidden_size", s.hidden},
                                   {"intermediate_size", s.mlp},
                                   {"num_hidden_layers", s.layers},
                                   {"num_attention_heads", s.heads},
                                   {"num_key_value_heads", s.kv_heads},
                                   {"hidden_act", "silu"},
                                   {"max_position_embeddings", s.positions},
                                   {"initializer_range", 0.02},
                                   {"rms_norm_eps", s.rms_norm_eps},
                                   {"rope_theta", s.rope_theta},
                                   {"tie_word_embeddings", s.tied},
                                   {"bos_token_id", 1},
                                   {"eos_token_id", 2}};
  if (config["model_type"] == "llama") config["attention_bias"] = config["mlp_bias"] = false;
  if (config["model_type"] == "mistral") config["sliding_window"] = 4096;
  if (config["model_type"] == "qwen2") config["use_sliding_window"] = false;
  return config;
}

}  // namespace attune
