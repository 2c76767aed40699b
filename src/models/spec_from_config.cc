// ModelSpec from config.json, in the layouts of transformers 4 (rope_theta, rope_scaling, torch_dtype) and 5
// (rope_parameters, dtype). Absent keys take transformers' defaults of the family; keys nobody here needs are
// ignored.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/model_spec.h"

namespace attune {
namespace {

using nlohmann::json;

// What a family's configuration class says when config.json does not, and what its code hard-wires.
struct Family {
  const char* model_type;
  const char* architecture;
  int64_t num_key_value_heads;  // 0: as many as heads
  int64_t head_dim;             // 0: hidden_size / num_attention_heads
  int64_t max_position_embeddings;
  double rope_theta;
  bool tie_word_embeddings;
  bool always_qkv_bias;  // else attention_bias decides, where the family has it
  bool has_attention_bias, has_mlp_bias;
  bool qk_norm;
};
constexpr Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", 0, 0, 2048, 10000, false, false, true, true, false},
    {"mistral", "MistralForCausalLM", 8, 0, 131072, 10000, false, false, false, false, false},
    {"qwen2", "Qwen2ForCausalLM", 32, 0, 32768, 10000, false, true, false, false, false},
    {"qwen3", "Qwen3ForCausalLM", 32, 128, 32768, 10000, false, false, true, false, true},
    {"smollm3", "SmolLM3ForCausalLM", 4, 0, 32768, 2000000, true, false, true, true, false},
};

// Typed access to a JSON object; null counts as absent.
class Keys {
 public:
  Keys(const json& object, const std::string& where) : object_(object), where_(where) {}

  const json* Find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  bool Has(const char* key) const { return object_.contains(key); }  // be it null
  int64_t Integer(const char* key, std::optional<int64_t> fallback = {}) const {
    const json* value = Find(key);
    if (value == nullptr) {
      if (!fallback) BadInput("{}: the key \"{}\" is missing", where_, key);
      return *fallback;
    }
    return ToInteger(*value, key);
  }
  int64_t ToInteger(const json& value, const char* key) const {
    if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX)) {
      BadInput("{}: \"{}\" must be an integer, not {}", where_, key, Shown(value));
    }
    return value.get<int64_t>();
  }
  double Number(const char* key, double fallback) const {
    const json* value = Find(key);
    if (value != nullptr && !value->is_number())
      BadInput("{}: \"{}\" must be a number, not {}", where_, key, Shown(*value));
    return value == nullptr ? fallback : value->get<double>();
  }
  bool Boolean(const char* key, bool fallback) const {
    const json* value = Find(key);
    if (value != nullptr && !value->is_boolean()) {
      BadInput("{}: \"{}\" must be true or false, not {}", where_, key, Shown(*value));
    }
    return value == nullptr ? fallback : value->get<bool>();
  }
  std::string Text(const char* key, const std::string& fallback) const {
    const json* value = Find(key);
    if (value != nullptr && !value->is_string())
      BadInput("{}: \"{}\" must be a text, not {}", where_, key, Shown(*value));
    return value == nullptr ? fallback : value->get<std::string>();
  }
  const std::string& where() const { return where_; }

 private:
  static std::string Shown(const json& value) {
    return value.is_structured() ? value.type_name()
                                 : value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 60);
  }
  const json& object_;
  const std::string& where_;
};

const Family& FamilyOf(const Keys& config) {
  const std::string type = config.Text("model_type", "");
  for (const Family& family : kFamilies) {
    if (type == family.model_type) return family;
  }
  BadInput("{}: model_type \"{}\" is not supported (supported: llama, mistral, qwen2, qwen3, smollm3)", config.where(),
           type.substr(0, 60));
}

// Keys that ask for other mathematics than the decoder's. Null, false and zero ask for nothing.
void RefuseUnsupported(const Keys& config) {
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping", "num_local_experts", "num_experts"}) {
    const json* value = config.Find(key);
    if (value == nullptr || (value->is_number() && value->get<double>() == 0)) continue;
    BadInput("{}: \"{}\" is set, which is not supported yet", config.where(), key);
  }
  if (const int64_t parts = config.Integer("pretraining_tp", 1); parts > 1) {
    BadInput("{}: pretraining_tp {} is not supported (only 1 is)", config.where(), parts);
  }
  const std::string act = config.Text("hidden_act", "silu");
  if (act != "silu" && act != "swish") {
    BadInput("{}: hidden_act \"{}\" is not supported (only silu is)", config.where(), act.substr(0, 60));
  }
}

void ReadRope(const Keys& config, const Family& family, ModelSpec* spec) {
  // Version 5 takes rope_scaling, the older name, where both stand.
  const json* given = config.Find("rope_scaling");
  if (given == nullptr || given->empty()) given = config.Find("rope_parameters");
  static const json kEmpty = json::object();
  if (given == nullptr) given = &kEmpty;
  if (!given->is_object()) BadInput("{}: rope_scaling must be an object", config.where());
  const Keys rope(*given, config.where());
  spec->rope_theta = rope.Number("rope_theta", config.Number("rope_theta", family.rope_theta));
  const double partial = rope.Number("partial_rotary_factor", config.Number("partial_rotary_factor", 1));
  if (partial != 1) BadInput("{}: partial_rotary_factor {} is not supported (only 1 is)", config.where(), partial);

  const std::string type = rope.Text("rope_type", rope.Text("type", "default"));
  RopeScaling& scaling = spec->rope_scaling;
  if (type == "default") return;
  if (type != "linear" && type != "llama3") {
    BadInput("{}: rope_type \"{}\" is not supported (supported: default, linear, llama3)", config.where(),
             type.substr(0, 60));
  }
  if (rope.Find("factor") == nullptr) BadInput("{}: rope_type {} needs a \"factor\"", config.where(), type);
  scaling.factor = rope.Number("factor", 1);
  scaling.kind = type == "linear" ? RopeScaling::Kind::kLinear : RopeScaling::Kind::kLlama3;
  if (type == "linear") return;
  for (const char* key : {"low_freq_factor", "high_freq_factor"}) {
    if (rope.Find(key) == nullptr) BadInput("{}: rope_type llama3 needs a \"{}\"", config.where(), key);
  }
  scaling.low_freq_factor = rope.Number("low_freq_factor", 1);
  scaling.high_freq_factor = rope.Number("high_freq_factor", 4);
  scaling.original_max_position_embeddings =
      config.Integer("original_max_position_embeddings",
                     rope.Integer("original_max_position_embeddings", spec->max_position_embeddings));
}

// Which layers rotate q and k: all, except the ones SmolLM3 marks with 0.
void ReadRopeLayers(const Keys& config, ModelSpec* spec) {
  const auto layers = static_cast<size_t>(spec->num_hidden_layers);
  spec->uses_rope.assign(layers, true);
  if (spec->model_type != "smollm3") return;
  const json* marks = config.Find("no_rope_layers");
  if (marks == nullptr) {
    const int64_t interval = config.Integer("no_rope_layer_interval", 4);
    if (interval < 1) BadInput("{}: no_rope_layer_interval is {}; it must be positive", config.where(), interval);
    for (size_t i = 0; i < layers; ++i) spec->uses_rope[i] = (static_cast<int64_t>(i) + 1) % interval != 0;
    return;
  }
  if (!marks->is_array() || marks->size() < layers) {
    BadInput("{}: no_rope_layers must list 1 or 0 for each of the {} layers", config.where(), layers);
  }
  for (size_t i = 0; i < layers; ++i) spec->uses_rope[i] = config.ToInteger((*marks)[i], "no_rope_layers") != 0;
}

void ReadSlidingWindow(const Keys& config, ModelSpec* spec) {
  const auto layers = static_cast<size_t>(spec->num_hidden_layers);
  spec->sliding_window.assign(layers, 0);
  const std::string& type = spec->model_type;
  if (type == "llama") return;
  const bool given_null = !config.Find("sliding_window");
  // A key that is absent (not null) means 4096 to Mistral and Qwen, whose classes default to it.
  int64_t window = given_null ? 0 : config.Integer("sliding_window");
  if (given_null && !config.Has("sliding_window") && type != "smollm3") window = 4096;
  if (!given_null && window < 1)
    BadInput("{}: sliding_window is {}; it must be positive or null", config.where(), window);
  if (type == "mistral") {
    spec->sliding_window.assign(layers, window);
    return;
  }
  if (!config.Boolean("use_sliding_window", false)) window = 0;
  const json* layer_types = config.Find("layer_types");
  const int64_t first = config.Integer("max_window_layers", 28);
  if (layer_types != nullptr && (!layer_types->is_array() || layer_types->size() != layers)) {
    BadInput("{}: layer_types must list a type for each of the {} layers", config.where(), layers);
  }
  for (size_t i = 0; i < layers; ++i) {
    bool slides = type == "smollm3" ? !spec->uses_rope[i] : static_cast<int64_t>(i) >= first;
    slides = slides && window > 0;
    if (layer_types != nullptr) {
      const json& layer_type = (*layer_types)[i];
      slides = layer_type == "sliding_attention";
      if (!slides && layer_type != "full_attention") {
        BadInput("{}: layer_types[{}] is neither full_attention nor sliding_attention", config.where(), i);
      }
      if (slides && window == 0) {
        BadInput("{}: layer_types[{}] is sliding_attention, but use_sliding_window or sliding_window is not set",
                 config.where(), i);
      }
    }
    spec->sliding_window[i] = slides ? window : 0;
  }
}

// Ids below 0 (older files write -1) mean none.
std::vector<int64_t> TokenIds(const Keys& config, const char* key) {
  std::vector<int64_t> ids;
  const json* value = config.Find(key);
  if (value == nullptr) return ids;
  if (value->is_array()) {
    for (const json& entry : *value) ids.push_back(config.ToInteger(entry, key));
  } else {
    ids.push_back(config.ToInteger(*value, key));
  }
  std::erase_if(ids, [](int64_t id) { return id < 0; });
  return ids;
}

std::optional<int64_t> TokenId(const Keys& config, const char* key) {
  const std::vector<int64_t> ids = TokenIds(config, key);
  return ids.empty() ? std::nullopt : std::optional(ids.front());
}

std::string ArchitectureOf(const Keys& config, const Family& family) {
  const json* list = config.Find("architectures");
  if (list == nullptr || !list->is_array() || list->empty()) return family.architecture;
  if (std::find(list->begin(), list->end(), family.architecture) != list->end()) return family.architecture;
  BadInput("{}: architectures must name {} (a causal language model)", config.where(), family.architecture);
}

}  // namespace

ModelSpec ModelSpec::FromConfig(const json& object, const std::string& where) {
  if (!object.is_object()) BadInput("{}: must hold a JSON object", where);
  const Keys config(object, where);
  const Family& family = FamilyOf(config);
  RefuseUnsupported(config);

  ModelSpec spec;
  spec.model_type = family.model_type;
  spec.architecture = ArchitectureOf(config, family);
  spec.vocab_size = config.Integer("vocab_size");
  spec.hidden_size = config.Integer("hidden_size");
  spec.intermediate_size = config.Integer("intermediate_size");
  spec.num_hidden_layers = config.Integer("num_hidden_layers");
  spec.num_attention_heads = config.Integer("num_attention_heads");
  if (spec.num_attention_heads < 1) BadInput("{}: num_attention_heads must be positive", where);
  const bool kv_is_null = config.Has("num_key_value_heads") || family.num_key_value_heads == 0;
  spec.num_key_value_heads =
      config.Integer("num_key_value_heads", kv_is_null ? spec.num_attention_heads : family.num_key_value_heads);
  spec.head_dim =
      config.Integer("head_dim", family.head_dim > 0 ? family.head_dim : spec.hidden_size / spec.num_attention_heads);
  spec.rms_norm_eps = config.Number("rms_norm_eps", 1e-6);
  const bool attention_bias = family.has_attention_bias && config.Boolean("attention_bias", false);
  spec.qkv_bias = family.always_qkv_bias || attention_bias;
  spec.o_bias = attention_bias;
  spec.mlp_bias = family.has_mlp_bias && config.Boolean("mlp_bias", false);
  spec.qk_norm = family.qk_norm;
  spec.tie_word_embeddings = config.Boolean("tie_word_embeddings", family.tie_word_embeddings);
  spec.max_position_embeddings = config.Integer("max_position_embeddings", family.max_position_embeddings);
  spec.attention_dropout = config.Number("attention_dropout", 0);
  spec.bos_token_id = TokenId(config, "bos_token_id");
  spec.pad_token_id = TokenId(config, "pad_token_id");
  spec.eos_token_ids = TokenIds(config, "eos_token_id");
  spec.torch_dtype = config.Text("dtype", config.Text("torch_dtype", ""));
  ReadRope(config, family, &spec);
  spec.Validate(where);  // before anything is allocated a layer
  ReadRopeLayers(config, &spec);
  ReadSlidingWindow(config, &spec);
  return spec;
}

}  // namespace attune
