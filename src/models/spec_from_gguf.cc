// ModelSpec from GGUF metadata (keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Biases, q/k
// norms and a separate output head are told by the tensors that are there, as llama.cpp does.
#include "base/error.h"
#include "models/model_spec.h"
#include "quant/gguf_blocks.h"

namespace attune {
namespace {

struct GgufFamily {
  const char* architecture;  // general.architecture
  const char* hf_architecture;
  bool qk_norm;
};
constexpr GgufFamily kGgufFamilies[] = {
    {"llama", "LlamaForCausalLM", false},
    {"qwen2", "Qwen2ForCausalLM", false},
    {"qwen3", "Qwen3ForCausalLM", true},
};

const GgufFamily& GgufFamilyOf(const GgufFile& file) {
  const std::string_view name = file.String("general.architecture").value_or("");
  for (const GgufFamily& family : kGgufFamilies) {
    if (name == family.architecture) return family;
  }
  BadInput("{}: general.architecture \"{}\" is not supported (supported: llama, qwen2, qwen3)", file.path(),
           name.substr(0, 60));
}

// GgufKeys under the architecture's name: "llama.block_count".
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}
  std::string Name(const char* key) const { return prefix_ + "." + key; }
  std::optional<int64_t> Integer(const char* key) const { return file_.Integer(Name(key)); }
  std::optional<double> Number(const char* key) const { return file_.Number(Name(key)); }
  std::optional<std::string_view> String(const char* key) const { return file_.String(Name(key)); }
  bool Has(const char* key) const { return file_.Find(Name(key)) != nullptr; }
  int64_t Required(const char* key) const {
    const std::optional<int64_t> value = Integer(key);
    if (!value) BadInput("{}: the metadata key \"{}\" is missing", file_.path(), Name(key));
    return *value;
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

void RefuseUnsupported(const GgufFile& file, const GgufKeys& keys) {
  for (const char* key :
       {"expert_count", "attn_logit_softcapping", "final_logit_softcapping", "attention.sliding_window", "logit_scale",
        "embedding_scale", "residual_scale", "attention.scale"}) {
    if (keys.Number(key).value_or(0) != 0) {
      BadInput("{}: the metadata key \"{}\" is set, which is not supported yet", file.path(), keys.Name(key));
    }
  }
  if (file.Integer("split.count").value_or(1) > 1) {
    BadInput("{}: is one part of a split model; join the parts first (llama-gguf-split --merge)", file.path());
  }
}

void ReadRope(const GgufFile& file, const GgufKeys& keys, ModelSpec* spec) {
  spec->rope_theta = keys.Number("rope.freq_base").value_or(10000);
  const int64_t rotated = keys.Integer("rope.dimension_count").value_or(spec->head_dim);
  if (rotated != spec->head_dim) {
    BadInput("{}: {} of {} dimensions of a head are rotated, which is not supported", file.path(), rotated,
             spec->head_dim);
  }
  const std::string_view type = keys.String("rope.scaling.type").value_or("none");
  // Files of 2023 have a factor without a type.
  const double factor = keys.Number("rope.scaling.factor").value_or(keys.Number("rope.scale_linear").value_or(1));
  if (type == "linear" || (!keys.Has("rope.scaling.type") && factor != 1)) {
    spec->rope_scaling.kind = RopeScaling::Kind::kLinear;
    spec->rope_scaling.factor = factor;
  } else if (type != "none") {
    BadInput("{}: rope scaling \"{}\" is not supported (supported: none, linear)", file.path(), type.substr(0, 60));
  }
  // llama3 scaling is stored as its result: one divisor a frequency.
  const TensorView* factors = file.FindTensor("rope_freqs.weight");
  if (factors == nullptr) return;
  if (factors->dtype != DType::kF32 || factors->shape != std::vector<int64_t>{spec->head_dim / 2}) {
    BadInput("{}: tensor \"rope_freqs.weight\" has type {} and shape {}; F32 and ({}) are expected", file.path(),
             NameOf(factors->dtype), ShapeText(factors->shape), spec->head_dim / 2);
  }
  spec->rope_factors.resize(static_cast<size_t>(spec->head_dim / 2));
  DecodeBlocks(DType::kF32, factors->bytes.data(), spec->head_dim / 2, spec->rope_factors.data());
}

std::optional<int64_t> TokenId(const GgufFile& file, const char* key) {
  const std::optional<int64_t> id = file.Integer(key);
  return id && *id >= 0 && *id < UINT32_MAX ? id : std::nullopt;  // all bits set means none
}

}  // namespace

ModelSpec ModelSpec::FromGguf(const GgufFile& file) {
  const GgufFamily& family = GgufFamilyOf(file);
  const GgufKeys keys(file, family.architecture);
  RefuseUnsupported(file, keys);

  ModelSpec spec;
  spec.model_type = family.architecture;
  spec.architecture = family.hf_architecture;
  const TensorView* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    BadInput("{}: the tensor \"token_embd.weight\" is missing or not a matrix", file.path());
  }
  spec.vocab_size = embedding->shape[0];
  spec.hidden_size = keys.Required("embedding_length");
  spec.intermediate_size = keys.Required("feed_forward_length");
  spec.num_hidden_layers = keys.Required("block_count");
  spec.num_attention_heads = keys.Required("attention.head_count");
  if (spec.num_attention_heads < 1) BadInput("{}: {} must be positive", file.path(), keys.Name("attention.head_count"));
  spec.num_key_value_heads = keys.Integer("attention.head_count_kv").value_or(spec.num_attention_heads);
  spec.head_dim = keys.Integer("attention.key_length").value_or(spec.hidden_size / spec.num_attention_heads);
  if (const int64_t value_length = keys.Integer("attention.value_length").value_or(spec.head_dim);
      value_length != spec.head_dim) {
    BadInput("{}: heads with {} key and {} value dimensions are not supported", file.path(), spec.head_dim,
             value_length);
  }
  if (!keys.Has("attention.layer_norm_rms_epsilon")) {
    BadInput("{}: the metadata key \"{}\" is missing", file.path(), keys.Name("attention.layer_norm_rms_epsilon"));
  }
  spec.rms_norm_eps = *keys.Number("attention.layer_norm_rms_epsilon");
  const auto has = [&](const char* tensor) { return file.FindTensor(tensor) != nullptr; };
  spec.qkv_bias = has("blk.0.attn_q.bias");
  spec.o_bias = has("blk.0.attn_output.bias");
  spec.mlp_bias = has("blk.0.ffn_gate.bias");
  spec.qk_norm = family.qk_norm;
  spec.tie_word_embeddings = !has("output.weight");
  spec.max_position_embeddings = keys.Required("context_length");
  spec.bos_token_id = TokenId(file, "tokenizer.ggml.bos_token_id");
  spec.pad_token_id = TokenId(file, "tokenizer.ggml.padding_token_id");
  if (const auto eos = TokenId(file, "tokenizer.ggml.eos_token_id")) spec.eos_token_ids = {*eos};
  ReadRope(file, keys, &spec);
  spec.Validate(file.path());
  spec.uses_rope.assign(static_cast<size_t>(spec.num_hidden_layers), true);
  spec.sliding_window.assign(static_cast<size_t>(spec.num_hidden_layers), 0);
  return spec;
}

}  // namespace attune
