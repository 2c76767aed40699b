// What a decoder family is, as data. One decoder block serves every family; a family is a set of traits read
// from config.json (of transformers 4 or 5) or from GGUF metadata. CONFORMANCE.md section 5 lists where
// families differ.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "formats/gguf.h"

namespace attune {

// How rotary frequencies are stretched beyond their training length (transformers' rope_type).
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  int64_t original_max_position_embeddings = 0;      // llama3
  bool operator==(const RopeScaling&) const = default;
};

struct ModelSpec {
  std::string architecture;  // "LlamaForCausalLM"
  std::string model_type;    // "llama"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;  // divides num_attention_heads
  int64_t head_dim = 0;             // even
  double rms_norm_eps = 0;
  std::string hidden_act = "silu";
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool qk_norm = false;  // RMSNorm over head_dim on q and k, before the rotation
  bool tie_word_embeddings = false;
  int64_t max_position_embeddings = 0;
  double attention_dropout = 0;  // while training; inference ignores it
  double rope_theta = 0;
  RopeScaling rope_scaling;
  std::vector<float> rope_factors;      // divisors of the head_dim / 2 frequencies (GGUF), or empty
  std::vector<int64_t> sliding_window;  // a layer: keys a query sees, itself included; 0 for all
  std::vector<bool> uses_rope;          // a layer
  std::optional<int64_t> bos_token_id, pad_token_id;
  std::vector<int64_t> eos_token_ids;
  std::string torch_dtype;  // "bfloat16"; empty when not said

  bool operator==(const ModelSpec&) const = default;

  // Reads a parsed config.json; `where` names it. Errors: Error{kBadInput} naming the key: absent, out of
  // range, or something that would change the mathematics and is not supported.
  static ModelSpec FromConfig(const nlohmann::json& config, const std::string& where);

  // Reads metadata and the presence of tensors. Errors: as FromConfig.
  static ModelSpec FromGguf(const GgufFile& file);

  // Checks ranges and divisibility of what was read. Errors: Error{kBadInput}.
  void Validate(const std::string& where) const;
};

// Errors: Error{kBadInput} for traits that can be read but not yet computed, by name.
void RefuseWhatTheDecoderLacks(const ModelSpec& spec);

// A weight that a model of this spec must have.
struct ExpectedTensor {
  std::string name;            // as transformers names it: "model.layers.0.self_attn.q_proj.weight"
  std::string gguf_name;       // as llama.cpp names it: "blk.0.attn_q.weight"
  std::vector<int64_t> shape;  // (out, in) for linear weights
  bool is_rotated = false;     // a q or k projection, whose rows GGUF's architecture "llama" permutes
};

// In the order of the forward pass. A tied output head is not listed.
std::vector<ExpectedTensor> ExpectedTensors(const ModelSpec& spec);

// The head_dim / 2 angles per position, in float32 arithmetic as transformers computes them: 1 / theta^(2i /
// head_dim), then the scaling.
std::vector<float> RopeInverseFrequencies(const ModelSpec& spec);

// cos and sin of position * frequency, (positions, head_dim / 2), in float32 as transformers computes them.
struct RopeTables {
  std::vector<float> cos, sin;
};
RopeTables MakeRopeTables(const ModelSpec& spec, int64_t positions);

}  // namespace attune
