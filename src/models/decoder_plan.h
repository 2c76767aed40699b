// Which buffers a decoder needs, as a pure function of the model, the adapter and the settings: the planner prints it,
// the decoder allocates it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model_spec.h"
#include "models/step_plan.h"

namespace attune {

// What a block keeps of its forward pass for the backward one. The choice changes memory and time, never a bit of the
// result: what is recomputed comes from the same stored values by the same ops.
enum class KeepPolicy {
  kNothing,         // no backward pass: evaluation, logits
  kBlockInputs,     // only the residual at the start of each block; the block runs again (gradient checkpointing)
  kExpensiveParts,  // all but norms and activations, which are cheap to run again
  kEverything,
};

// A module with a low-rank adapter: a linear layer, or the embedding.
struct AdapterModule {
  std::string path;                   // "model.layers.0.self_attn.q_proj"
  int64_t in = 0, out = 0, rank = 0;  // of an embedding: the vocabulary and the width
  float scale = 1.0f;
  bool is_embedding = false;
};

// A module whose weight is trained whole: by full fine-tuning, or one of PEFT's modules_to_save.
struct FullModule {
  enum class Kind { kLinear, kEmbedding, kNorm };
  std::string path;
  int64_t in = 0, out = 0;  // of an embedding: the vocabulary and the width; of a norm: 1 and the width
  Kind kind = Kind::kLinear;
};

// A base bias that is trained; PEFT names it by its place, below "base_layer" where the module is adapted.
struct TrainedBias {
  std::string path;
  int64_t size = 0;
  bool is_adapted = false;
};

// PEFT's trainable tokens: the rows of the embedding that are trained, and with them those of a tied head.
struct TokenRows {
  std::vector<int32_t> ids;
  int64_t width = 0;
};

// Everything that is trained.
struct AdapterSpec {
  std::vector<AdapterModule> modules;
  float dropout = 0.0f;
  bool use_dora = false;   // every linear module has a magnitude (models/dora.h)
  bool lora_bias = false;  // every linear module's B has a bias
  std::vector<FullModule> full_modules;
  std::vector<TrainedBias> trained_biases;
  TokenRows tokens;
  bool changes_base = false;  // models/initial_adapter.h
  // Full fine-tuning: tensors go by the model's own names, and a tied head is trained through its embedding. An
  // adapter's tensors go by PEFT's names, and a trained copy of an embedding leaves a tied head as it was.
  bool whole_model = false;

  int64_t MaxRank() const;                       // over linear modules
  bool HasDora(const std::string& path) const;   // whether this module's adapter is weight-decomposed
  int64_t EmbeddingRank() const;                 // 0: the embedding has no adapter
  bool Trains(const std::string& weight) const;  // whether a weight of the model is trained whole, by its name
};

struct DecoderSettings {
  DType compute = DType::kF32;
  KeepPolicy policy = KeepPolicy::kExpensiveParts;
  int64_t max_tokens = 0;     // T: the largest batch
  int64_t max_sequences = 0;  // in one batch
  int64_t max_length = 0;     // the longest sequence
  int64_t max_labelled = 0;   // rows with a label in one batch
  int64_t logit_rows = 512;   // rows whose logits exist at once
  float label_smoothing = 0;  // in training only
  float neftune_noise_alpha = 0;
  bool spread_rows = false;  // of the plan's buffers; for tests
};

// Buffers of one block; layers share them as the policy allows.
struct LayerBuffers {
  StepPlan::Id x = -1;                                       // (T, H) f32 the residual at the block's start
  StepPlan::Id x2 = -1;                                      // (T, H) f32 the residual between attention and MLP
  StepPlan::Id rstd1 = -1, rstd2 = -1;                       // (1, T) f32
  StepPlan::Id h1 = -1, h2 = -1;                             // (T, H) C normalised inputs
  StepPlan::Id q = -1, k = -1, v = -1;                       // C, rotated
  StepPlan::Id plain_q = -1, plain_k = -1;                   // C, before their norms; -1: the model has none
  StepPlan::Id rstd_q = -1, rstd_k = -1;                     // (T, heads) f32
  StepPlan::Id attention = -1, lse = -1;                     // (T, heads * head_dim) C, (T, heads) f32
  StepPlan::Id gate = -1, up = -1, act = -1;                 // (T, I) C
  StepPlan::Id low[7] = {-1, -1, -1, -1, -1, -1, -1};        // (T, rank) C of q k v o gate up down
  StepPlan::Id direction[7] = {-1, -1, -1, -1, -1, -1, -1};  // (T, out) C or f32: what DoRA's magnitudes multiply
};

struct DecoderPlan {
  StepPlan plan;
  std::vector<LayerBuffers> layers;
  StepPlan::Id x_last = -1;  // (T, H) f32 the residual after the last block
  // Inputs, uploaded for each batch.
  StepPlan::Id ids = -1, positions = -1, starts = -1, keys = -1, rows = -1, targets = -1, row_keys = -1;
  StepPlan::Id token_slots = -1;                         // (1, T) I32: which trained row each token is, or -1
  StepPlan::Id token_ids = -1, head_token_columns = -1;  // (1, tokens) I32; (logit_rows, tokens) C: of a tied head
  StepPlan::Id cos = -1, sin = -1;                       // (max_length, head_dim / 2) f32
  StepPlan::Id check = -1;                               // (1, 1) I64: room for an answer
  StepPlan::Id embedding_low = -1, embedding_dlow = -1;  // (T, rank) f32: the embedding's adapter
  // The head.
  StepPlan::Id hidden = -1, head_rstd = -1, head_low = -1, dhidden = -1, logits = -1, losses = -1, correct = -1;
  StepPlan::Id head_direction = -1;  // (logit_rows, vocabulary) C
  // Backward.
  StepPlan::Id dx = -1, dx_c = -1, dact = -1, dh = -1, dattention = -1, dq = -1, dk = -1, dv = -1, dk_sum = -1,
               dv_sum = -1, dlow = -1, mask = -1;
  StepPlan::Id dora_out = -1, dora_in = -1, dora_in2 = -1;  // LinearContext::dora
};

// Names of a layer's seven projections in the order of LayerBuffers::low: "self_attn.q_proj", ...
inline constexpr const char* kProjections[7] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                "mlp.down_proj"};

DecoderPlan PlanDecoder(const ModelSpec& spec, const AdapterSpec& adapter, const DecoderSettings& settings);

// Ranks as they are laid out in memory: bf16 products read pairs.
constexpr int64_t PaddedRank(int64_t rank, DType compute) {
  return compute == DType::kBF16 ? (rank + 1) / 2 * 2 : rank;
}

}  // namespace attune
