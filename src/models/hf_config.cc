#include "models/hf_config.h"

#include "base/error.h"
#include "quant/bnb_state.h"

namespace attune {

nlohmann::ordered_json HfConfig(const ModelSpec& spec, const nlohmann::ordered_json& source, DType dtype, bool tied) {
  nlohmann::ordered_json config = source;
  if (config.empty()) {
    if (!spec.rope_factors.empty()) {
      BadInput(
          "this GGUF file gives rope factors one by one, which config.json cannot say; export needs the original "
          "model");
    }
    config = {{"architectures", {spec.architecture}},
              {"model_type", spec.model_type},
              {"vocab_size", spec.vocab_size},
              {"hidden_size", spec.hidden_size},
              {"intermediate_size", spec.intermediate_size},
              {"num_hidden_layers", spec.num_hidden_layers},
              {"num_attention_heads", spec.num_attention_heads},
              {"num_key_value_heads", spec.num_key_value_heads},
              {"head_dim", spec.head_dim},
              {"hidden_act", spec.hidden_act},
              {"rms_norm_eps", spec.rms_norm_eps},
              {"rope_theta", spec.rope_theta},
              {"rope_scaling", nullptr},
              {"max_position_embeddings", spec.max_position_embeddings}};
    if (spec.rope_scaling.kind == RopeScaling::Kind::kLinear) {
      config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", spec.rope_scaling.factor}};
    }
    if (spec.model_type == "llama") config["attention_bias"] = spec.qkv_bias && spec.o_bias;
    if (spec.model_type == "llama") config["mlp_bias"] = spec.mlp_bias;
    if (spec.bos_token_id) config["bos_token_id"] = *spec.bos_token_id;
    if (spec.eos_token_ids.size() == 1) {
      config["eos_token_id"] = spec.eos_token_ids[0];
    } else if (!spec.eos_token_ids.empty()) {
      config["eos_token_id"] = spec.eos_token_ids;
    }
    if (spec.pad_token_id) config["pad_token_id"] = *spec.pad_token_id;
  }
  config["tie_word_embeddings"] = tied;
  config.erase("dtype");
  config.erase("quantization_config");  // weights are written in a plain type, unless the caller says otherwise
  config["torch_dtype"] = TorchName(dtype);
  return config;
}

}  // namespace attune
