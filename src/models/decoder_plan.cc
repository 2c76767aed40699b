#include "models/decoder_plan.h"

#include <algorithm>

#include "models/linear.h"

namespace attune {
namespace {

using Part = StepPlan::Part;

// Adds buffers with the sizes all of them share.
class Planner {
 public:
  Planner(const ModelSpec& spec, const AdapterSpec& adapter, const DecoderSettings& settings, DecoderPlan& out)
      : spec_(spec), adapter_(adapter), s_(settings), out_(out), layers_(static_cast<int>(spec.num_hidden_layers)) {
    trains_ = s_.policy != KeepPolicy::kNothing;
    last_ = trains_ ? 2 * layers_ : layers_;
    q_cols_ = spec.num_attention_heads * spec.head_dim;
    kv_cols_ = spec.num_key_value_heads * spec.head_dim;
    low_cols_ = PaddedRank(adapter.MaxRank(), s_.compute);
    embedding_rank_ = adapter.EmbeddingRank();
    FindDora();
  }

  void AddAll() {
    out_.plan = StepPlan(s_.spread_rows);
    AddInputs();
    AddLayers();
    AddHead();
    if (trains_) AddGradients();
    if (low_cols_ > 0 && adapter_.dropout > 0 && trains_) {
      const int64_t widest = std::max({spec_.hidden_size, spec_.intermediate_size, q_cols_});
      out_.mask = Bytes("dropout mask", s_.max_tokens * MaskRowBytes(widest) + 8, 0, last_);
    }
    if (adapter_.use_dora) AddDoraRoom();
    out_.plan.AssignOffsets();
  }

 private:
  // Which outputs have magnitudes: the widths of their directions.
  void FindDora() {
    for (const AdapterModule& m : adapter_.modules) {
      if (!adapter_.HasDora(m.path)) continue;
      if (m.path == "lm_head") dora_head_ = true;
      for (int i = 0; i < 7; ++i) {
        if (!m.path.ends_with(kProjections[i])) continue;
        dora_out_[i] = m.out;
      }
    }
  }

  int64_t HeadRows() const { return std::min(s_.max_labelled, s_.logit_rows); }

  // LinearContext::dora: a scaled gradient, and inputs with dropout applied.
  void AddDoraRoom() {
    const int64_t columns = *std::max_element(dora_out_, dora_out_ + 7);
    const int64_t elements = std::max(s_.max_tokens * columns, dora_head_ ? HeadRows() * spec_.vocab_size : 0);
    if (trains_) out_.dora_out = Bytes("dora d output", BytesOf(s_.compute, elements), layers_, last_);
    if (adapter_.dropout == 0 || !trains_) return;
    const int64_t widest = std::max({spec_.hidden_size, spec_.intermediate_size, q_cols_});
    out_.dora_in = Bytes("dora input", s_.max_tokens * widest * 4, 0, last_);
    out_.dora_in2 = Bytes("dora d input", s_.max_tokens * widest * 4, layers_, last_);
  }

  StepPlan::Id Tokens(const std::string& name, Part part, DType dtype, int64_t cols, int first, int last) {
    return out_.plan.Add(name, part, dtype, s_.max_tokens, cols, first, last);
  }
  StepPlan::Id Bytes(const std::string& name, int64_t bytes, int first, int last) {
    return out_.plan.Add(name, Part::kScratch, DType::kU8, 1, bytes, first, last);
  }
  StepPlan::Id Input(const std::string& name, DType dtype, int64_t rows, int64_t cols) {
    return out_.plan.Add(name, Part::kInputs, dtype, rows, cols, 0, last_);
  }

  void AddInputs() {
    out_.ids = Input("input_ids", DType::kI32, 1, s_.max_tokens);
    out_.positions = Input("position_ids", DType::kI32, 1, s_.max_tokens);
    out_.keys = Input("dropout keys", DType::kI32, 1, s_.max_tokens);
    out_.starts = Input("sequence starts", DType::kI32, 1, s_.max_sequences + 1);
    out_.rows = Input("labelled rows", DType::kI32, 1, s_.max_labelled);
    out_.targets = Input("labels", DType::kI32, 1, s_.max_labelled);
    out_.row_keys = Input("dropout keys of labelled rows", DType::kI32, 1, s_.max_labelled);
    out_.check = Input("answer of a check", DType::kI64, 1, 1);
    const auto tokens = static_cast<int64_t>(adapter_.tokens.ids.size());
    if (trains_ && tokens > 0) {
      out_.token_slots = Input("trained tokens", DType::kI32, 1, s_.max_tokens);
      out_.token_ids = Input("ids of trained tokens", DType::kI32, 1, tokens);
    }
    out_.cos = Input("rope cos", DType::kF32, s_.max_length, spec_.head_dim / 2);
    out_.sin = Input("rope sin", DType::kF32, s_.max_length, spec_.head_dim / 2);
  }

  // The buffers of one block. `kept` buffers live from the block's forward pass to its backward one.
  LayerBuffers AddLayer(const std::string& prefix, int first, int last) {
    LayerBuffers b;
    const auto add = [&](const char* name, DType dtype, int64_t cols) {
      return Tokens(prefix + name, Part::kActivations, dtype, cols, first, last);
    };
    b.x2 = add("residual after attention", DType::kF32, spec_.hidden_size);
    b.rstd1 = add("rstd 1", DType::kF32, 1);
    b.rstd2 = add("rstd 2", DType::kF32, 1);
    b.q = add("q", s_.compute, q_cols_);
    b.k = add("k", s_.compute, kv_cols_);
    b.v = add("v", s_.compute, kv_cols_);
    if (spec_.qk_norm) {
      b.plain_q = add("q before its norm", s_.compute, q_cols_);
      b.plain_k = add("k before its norm", s_.compute, kv_cols_);
      b.rstd_q = add("rstd q", DType::kF32, spec_.num_attention_heads);
      b.rstd_k = add("rstd k", DType::kF32, spec_.num_key_value_heads);
    }
    b.attention = add("attention", s_.compute, q_cols_);
    b.lse = add("attention lse", DType::kF32, spec_.num_attention_heads);
    b.gate = add("gate", s_.compute, spec_.intermediate_size);
    b.up = add("up", s_.compute, spec_.intermediate_size);
    for (int i = 0; i < 7 && low_cols_ > 0; ++i) b.low[i] = add("lora low", s_.compute, low_cols_);
    for (int i = 0; i < 7; ++i) {
      if (dora_out_[i] > 0) b.direction[i] = add("dora direction", s_.compute, dora_out_[i]);
    }
    return b;
  }

  void AddRecomputed(const std::string& prefix, int first, int last, LayerBuffers* b) {
    b->h1 = Tokens(prefix + "norm 1", Part::kActivations, s_.compute, spec_.hidden_size, first, last);
    b->h2 = Tokens(prefix + "norm 2", Part::kActivations, s_.compute, spec_.hidden_size, first, last);
    b->act = Tokens(prefix + "activation", Part::kActivations, s_.compute, spec_.intermediate_size, first, last);
  }

  void AddLayers() {
    const bool own = s_.policy == KeepPolicy::kExpensiveParts || s_.policy == KeepPolicy::kEverything;
    LayerBuffers shared;
    if (!own) shared = AddLayer("block: ", 0, last_);
    if (s_.policy != KeepPolicy::kEverything) AddRecomputed("block: ", 0, last_, &shared);
    for (int l = 0; l < layers_; ++l) {
      const std::string prefix = "layer " + std::to_string(l) + ": ";
      const int until = trains_ ? 2 * layers_ - l : l + 1;
      LayerBuffers b = own ? AddLayer(prefix, l, until) : shared;
      if (s_.policy == KeepPolicy::kEverything) {
        AddRecomputed(prefix, l, until, &b);
      } else {
        b.h1 = shared.h1;
        b.h2 = shared.h2;
        b.act = shared.act;
      }
      b.x = Tokens(prefix + "residual", Part::kActivations, DType::kF32, spec_.hidden_size, std::max(0, l - 1), until);
      out_.layers.push_back(b);
    }
    if (embedding_rank_ > 0) {
      const auto low = [&](const char* name, int first) {
        return Tokens(name, Part::kActivations, DType::kF32, embedding_rank_, first, last_);
      };
      out_.embedding_low = low("embedding lora low", 0);
      if (trains_) out_.embedding_dlow = low("d embedding lora low", last_);
    }
    out_.x_last = Tokens("last residual", Part::kActivations, DType::kF32, spec_.hidden_size, layers_ - 1, layers_);
  }

  void AddHead() {
    const int64_t n = s_.max_labelled;
    const auto add = [&](const char* name, Part part, DType dtype, int64_t rows, int64_t cols) {
      return out_.plan.Add(name, part, dtype, rows, cols, layers_, layers_);
    };
    out_.hidden = add("last norm", Part::kActivations, s_.compute, n, spec_.hidden_size);
    out_.head_rstd = add("last rstd", Part::kActivations, DType::kF32, 1, n);
    out_.logits = add("logits", Part::kLogits, DType::kF32, HeadRows(), spec_.vocab_size);
    out_.losses = add("losses", Part::kLogits, DType::kF32, 1, n);
    out_.correct = add("correct", Part::kLogits, DType::kF32, 1, n);
    if (out_.token_ids >= 0 && spec_.tie_word_embeddings) {
      out_.head_token_columns = add("d logits of trained tokens", Part::kLogits, s_.compute, HeadRows(),
                                    static_cast<int64_t>(adapter_.tokens.ids.size()));
    }
    if (dora_head_)
      out_.head_direction = add("lm_head dora direction", Part::kLogits, s_.compute, HeadRows(), spec_.vocab_size);
    if (low_cols_ > 0) out_.head_low = add("lm_head lora low", Part::kLogits, s_.compute, n, low_cols_);
    if (trains_) out_.dhidden = add("d last norm", Part::kGradients, DType::kF32, n, spec_.hidden_size);
  }

  void AddGradients() {
    const auto add = [&](const char* name, DType dtype, int64_t cols) {
      return Tokens(name, Part::kGradients, dtype, cols, layers_, last_);
    };
    const bool is_f32 = s_.compute == DType::kF32;
    out_.dx = add("d residual", DType::kF32, spec_.hidden_size);
    out_.dx_c = is_f32 ? out_.dx : add("d residual, bf16", s_.compute, spec_.hidden_size);
    out_.dact = add("d activation", s_.compute, spec_.intermediate_size);
    out_.dh = add("d norm", DType::kF32, spec_.hidden_size);
    out_.dattention = add("d attention", s_.compute, q_cols_);
    out_.dq = add("dq", s_.compute, q_cols_);
    out_.dk = add("dk", s_.compute, kv_cols_);
    out_.dv = add("dv", s_.compute, kv_cols_);
    out_.dk_sum = is_f32 ? out_.dk : add("dk, f32", DType::kF32, kv_cols_);
    out_.dv_sum = is_f32 ? out_.dv : add("dv, f32", DType::kF32, kv_cols_);
    if (low_cols_ > 0) out_.dlow = add("d lora low", s_.compute, low_cols_);
  }

  const ModelSpec& spec_;
  const AdapterSpec& adapter_;
  const DecoderSettings& s_;
  DecoderPlan& out_;
  int layers_, last_ = 0;
  bool trains_ = false;
  int64_t q_cols_ = 0, kv_cols_ = 0, low_cols_ = 0, embedding_rank_ = 0;
  int64_t dora_out_[7] = {0, 0, 0, 0, 0, 0, 0};
  bool dora_head_ = false;
};

}  // namespace

int64_t AdapterSpec::MaxRank() const {
  int64_t rank = 0;
  for (const AdapterModule& module : modules) {
    if (!module.is_embedding) rank = std::max(rank, module.rank);
  }
  return rank;
}

bool AdapterSpec::HasDora(const std::string& path) const {
  return use_dora && std::any_of(modules.begin(), modules.end(),
                                 [&](const AdapterModule& m) { return m.path == path && !m.is_embedding; });
}

int64_t AdapterSpec::EmbeddingRank() const {
  for (const AdapterModule& module : modules) {
    if (module.is_embedding) return module.rank;
  }
  return 0;
}

bool AdapterSpec::Trains(const std::string& weight) const {
  const size_t dot = weight.rfind('.');
  const std::string path = weight.substr(0, dot);
  const auto at_path = [&](const auto& module) { return module.path == path; };
  if (weight.ends_with(".bias")) return std::any_of(trained_biases.begin(), trained_biases.end(), at_path);
  return std::any_of(full_modules.begin(), full_modules.end(), at_path);
}

DecoderPlan PlanDecoder(const ModelSpec& spec, const AdapterSpec& adapter, const DecoderSettings& settings) {
  DecoderPlan plan;
  Planner(spec, adapter, settings, plan).AddAll();
  return plan;
}

}  // namespace attune
