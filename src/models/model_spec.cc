#include "models/model_spec.h"

#include <cmath>
#include <numbers>

#include "base/error.h"

namespace attune {
namespace {

// Limits far above any published model, so that no product of sizes overflows and no absurd file makes us
// allocate.
void CheckRange(const std::string& where, const char* key, int64_t value, int64_t highest) {
  if (value < 1 || value > highest) {
    BadInput("{}: {} is {}; it must lie between 1 and {}", where, key, value, highest);
  }
}

void CheckRope(const ModelSpec& spec, const std::string& where) {
  // Its powers are float32 numbers that positions are multiplied by.
  if (!(spec.rope_theta >= 1e-6 && spec.rope_theta <= 1e30)) {
    BadInput("{}: rope_theta is {}; it must lie between 1e-06 and 1e+30", where, spec.rope_theta);
  }
  const RopeScaling& scaling = spec.rope_scaling;
  if (scaling.kind != RopeScaling::Kind::kNone && (!(scaling.factor > 0) || !std::isfinite(scaling.factor))) {
    BadInput("{}: the factor of the rope scaling is {}; it must be positive", where, scaling.factor);
  }
  if (scaling.kind == RopeScaling::Kind::kLlama3) {
    if (!(scaling.low_freq_factor > 0) || !(scaling.high_freq_factor > scaling.low_freq_factor) ||
        !std::isfinite(scaling.high_freq_factor)) {
      BadInput("{}: rope scaling llama3 needs 0 < low_freq_factor < high_freq_factor, got {} and {}", where,
               scaling.low_freq_factor, scaling.high_freq_factor);
    }
    CheckRange(where, "original_max_position_embeddings", scaling.original_max_position_embeddings, 1LL << 40);
  }
  if (!spec.rope_factors.empty() && static_cast<int64_t>(spec.rope_factors.size()) != spec.head_dim / 2) {
    BadInput("{}: {} rope factors for a head_dim of {}; there must be half as many", where, spec.rope_factors.size(),
             spec.head_dim);
  }
  for (const float factor : spec.rope_factors) {
    if (!(factor > 0) || !std::isfinite(factor))
      BadInput("{}: a rope factor is {}; it must be positive", where, factor);
  }
}

}  // namespace

void ModelSpec::Validate(const std::string& where) const {
  CheckRange(where, "vocab_size", vocab_size, 1 << 26);
  CheckRange(where, "hidden_size", hidden_size, 1 << 20);
  CheckRange(where, "intermediate_size", intermediate_size, 1 << 22);
  CheckRange(where, "num_hidden_layers", num_hidden_layers, 4096);
  CheckRange(where, "num_attention_heads", num_attention_heads, 1 << 16);
  CheckRange(where, "num_key_value_heads", num_key_value_heads, 1 << 16);
  CheckRange(where, "head_dim", head_dim, 1 << 16);
  CheckRange(where, "max_position_embeddings", max_position_embeddings, 1LL << 40);
  if (num_attention_heads % num_key_value_heads != 0) {
    BadInput("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", where, num_attention_heads,
             num_key_value_heads);
  }
  if (head_dim % 2 != 0) BadInput("{}: head_dim is {}; the rotation of q and k needs an even one", where, head_dim);
  if (!(rms_norm_eps >= 0 && rms_norm_eps <= 1)) {
    BadInput("{}: rms_norm_eps is {}; it must lie between 0 and 1", where, rms_norm_eps);
  }
  if (!(attention_dropout >= 0 && attention_dropout < 1)) {
    BadInput("{}: attention_dropout is {}; it must be at least 0 and below 1", where, attention_dropout);
  }
  CheckRope(*this, where);
}

void RefuseWhatTheDecoderLacks(const ModelSpec& spec) {
  constexpr int64_t kMaxHeadDim = 1024;  // what attention's working memory is sized for
  if (spec.head_dim > kMaxHeadDim)
    BadInput("head_dim {} is more than the {} that are supported", spec.head_dim, kMaxHeadDim);
}

std::vector<ExpectedTensor> ExpectedTensors(const ModelSpec& spec) {
  const int64_t hidden = spec.hidden_size, mlp = spec.intermediate_size;
  const int64_t q_rows = spec.num_attention_heads * spec.head_dim, kv_rows = spec.num_key_value_heads * spec.head_dim;
  std::vector<ExpectedTensor> tensors;
  tensors.push_back({"model.embed_tokens.weight", "token_embd.weight", {spec.vocab_size, hidden}});
  for (int64_t layer = 0; layer < spec.num_hidden_layers; ++layer) {
    const auto add = [&](const char* name, const char* gguf_name, std::vector<int64_t> shape, bool is_rotated = false) {
      tensors.push_back({fmt::format("model.layers.{}.{}", layer, name), fmt::format("blk.{}.{}", layer, gguf_name),
                         std::move(shape), is_rotated});
    };
    const auto add_linear = [&](const char* name, const char* gguf_name, int64_t out, int64_t in, bool bias,
                                bool is_rotated = false) {
      add(fmt::format("{}.weight", name).c_str(), fmt::format("{}.weight", gguf_name).c_str(), {out, in}, is_rotated);
      if (bias) {
        add(fmt::format("{}.bias", name).c_str(), fmt::format("{}.bias", gguf_name).c_str(), {out}, is_rotated);
      }
    };
    add("input_layernorm.weight", "attn_norm.weight", {hidden});
    add_linear("self_attn.q_proj", "attn_q", q_rows, hidden, spec.qkv_bias, true);
    add_linear("self_attn.k_proj", "attn_k", kv_rows, hidden, spec.qkv_bias, true);
    add_linear("self_attn.v_proj", "attn_v", kv_rows, hidden, spec.qkv_bias);
    if (spec.qk_norm) {
      add("self_attn.q_norm.weight", "attn_q_norm.weight", {spec.head_dim});
      add("self_attn.k_norm.weight", "attn_k_norm.weight", {spec.head_dim});
    }
    add_linear("self_attn.o_proj", "attn_output", hidden, q_rows, spec.o_bias);
    add("post_attention_layernorm.weight", "ffn_norm.weight", {hidden});
    add_linear("mlp.gate_proj", "ffn_gate", mlp, hidden, spec.mlp_bias);
    add_linear("mlp.up_proj", "ffn_up", mlp, hidden, spec.mlp_bias);
    add_linear("mlp.down_proj", "ffn_down", hidden, mlp, spec.mlp_bias);
  }
  tensors.push_back({"model.norm.weight", "output_norm.weight", {hidden}});
  if (!spec.tie_word_embeddings) tensors.push_back({"lm_head.weight", "output.weight", {spec.vocab_size, hidden}});
  return tensors;
}

std::vector<float> RopeInverseFrequencies(const ModelSpec& spec) {
  const int64_t half = spec.head_dim / 2;
  std::vector<float> frequencies(static_cast<size_t>(half));
  const RopeScaling& scaling = spec.rope_scaling;
  const auto factor = static_cast<float>(scaling.factor);
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(spec.head_dim);
    // torch's float32 power is within an ulp of the exact one, which is what this rounds to.
    const auto power = static_cast<float>(std::pow(static_cast<double>(static_cast<float>(spec.rope_theta)), exponent));
    float frequency = 1.0f / power;
    if (scaling.kind == RopeScaling::Kind::kLinear) frequency /= factor;
    if (scaling.kind == RopeScaling::Kind::kLlama3) {
      // Long waves are stretched by the factor, short ones are kept, and those between are blended.
      const auto length = static_cast<double>(scaling.original_max_position_embeddings);
      const auto longest = static_cast<float>(length / scaling.low_freq_factor);
      const auto shortest = static_cast<float>(length / scaling.high_freq_factor);
      const float wave = static_cast<float>(2 * std::numbers::pi) / frequency;
      if (wave > longest) {
        frequency /= factor;
      } else if (wave >= shortest) {
        const float smooth = (static_cast<float>(length) / wave - static_cast<float>(scaling.low_freq_factor)) /
                             static_cast<float>(scaling.high_freq_factor - scaling.low_freq_factor);
        frequency = (1.0f - smooth) * frequency / factor + smooth * frequency;
      }
    }
    if (!spec.rope_factors.empty()) frequency /= spec.rope_factors[static_cast<size_t>(i)];
    frequencies[static_cast<size_t>(i)] = frequency;
  }
  return frequencies;
}

RopeTables MakeRopeTables(const ModelSpec& spec, int64_t positions) {
  const std::vector<float> frequencies = RopeInverseFrequencies(spec);
  RopeTables tables;
  for (int64_t p = 0; p < positions; ++p) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(p) * frequency;
      tables.cos.push_back(std::cos(angle));
      tables.sin.push_back(std::sin(angle));
    }
  }
  return tables;
}

}  // namespace attune
