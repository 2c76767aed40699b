// The backward pass of the block, written by hand: the forward pass read from the bottom up. dx holds the gradient of
// the residual stream throughout; each half of a block adds its own share to it.
#include <algorithm>
#include <cmath>

#include "models/decoder.h"

namespace attune {

BatchLoss Decoder::TrainBatch(const PackedBatch& batch, float scale) {
  Upload(batch);
  ForwardAll();
  const BatchLoss loss = RunHead(true, scale, nullptr);
  if (labelled_ > 0) BackwardAll();
  return loss;
}

// The gradient of a norm's weight, where it is trained, and of its input.
void Decoder::BackwardNorm(const Norm& norm, const RmsNormBackward& op) {
  if (norm.dweight) device_.Run(RmsNormWeightBackward{norm.dweight, op.dy, op.x, op.rstd, op.rows});
  device_.Run(op);
}

void Decoder::BackwardAll() {
  const int64_t n = labelled_, layers = spec_.num_hidden_layers;
  const Matrix dx = At(plan_.dx, tokens_), dx_c = At(plan_.dx_c, tokens_);
  const bool copies = plan_.dx_c != plan_.dx;
  device_.Run(Fill{dx, 0.0f});
  if (copies) device_.Run(Fill{dx_c, 0.0f});
  BackwardNorm(final_norm_, {dx, copies ? dx_c : Matrix{}, At(plan_.dhidden, n), LayerInput(layers), final_norm_.weight,
                             At(plan_.head_rstd, 1).Columns(0, n), At(plan_.rows, 1).Columns(0, n)});
  for (int64_t l = layers - 1; l >= std::max<int64_t>(0, lowest_trained_layer_); --l) {
    weights_.Prefetch(l - 1);
    if (settings_.policy == KeepPolicy::kBlockInputs) ForwardBlock(l, true);
    BackwardMlp(l);
    BackwardAttention(l);
    weights_.Release(l);
  }
  if (table_.trained()) BackwardEmbedding();
}

void Decoder::BackwardEmbedding() {
  const Matrix dx = At(plan_.dx, tokens_), ids = At(plan_.ids, 1).Columns(0, tokens_);
  if (table_.dweight) device_.Run(EmbeddingBackward{table_.dweight, dx, ids});
  if (table_.drows) {
    device_.Run(EmbeddingBackward{table_.drows, dx, At(plan_.token_slots, 1).Columns(0, tokens_)});
  }
  if (!table_.da) return;
  Gemm db;
  db.c = db.start = table_.db;
  db.a = At(plan_.embedding_low, tokens_);
  db.a_transposed = true;
  db.b = dx;
  db.alpha = table_.scale;
  device_.Run(db, "embedding lora dB");
  Gemm low;
  low.c = At(plan_.embedding_dlow, tokens_);
  low.a = dx;
  low.b = table_.b;
  low.b_transposed = true;
  low.alpha = table_.scale;
  device_.Run(low, "embedding lora d(low)");
  device_.Run(EmbeddingBackward{table_.da, low.c, ids});
}

// A tied head that is still the embedding trains the same rows: each is the weight of one logit.
void Decoder::AddHeadTokenGradient(const Matrix& dlogits, const Matrix& x) {
  if (head_.weight.data.value != table_.weight.data.value) return;
  const Matrix columns = At(plan_.head_token_columns, dlogits.rows);
  device_.Run(GatherColumns{columns, dlogits, At(plan_.token_ids, 1)});
  Gemm rows;
  rows.c = rows.start = table_.drows;
  rows.a = columns;
  rows.a_transposed = true;
  rows.b = x;
  device_.Run(rows, "trained tokens");
}

void Decoder::BackwardMlp(int64_t layer) {
  const LayerBuffers& b = plan_.layers[static_cast<size_t>(layer)];
  const Layer& w = layers_[static_cast<size_t>(layer)];
  const LinearContext context = Context();
  const auto low = [&](StepPlan::Id id, int i) { return Low(id, w.projections[i]); };
  const auto direction = [&](int i) { return Direction(b.direction[i], w.projections[i]); };
  const Matrix dx = At(plan_.dx, tokens_), dx_c = At(plan_.dx_c, tokens_), dh = At(plan_.dh, tokens_);
  const Matrix gate = At(b.gate, tokens_), up = At(b.up, tokens_), act = At(b.act, tokens_);
  const Matrix dact = At(plan_.dact, tokens_), h = At(b.h2, tokens_);
  if (settings_.policy == KeepPolicy::kExpensiveParts) device_.Run(SwiGlu{act, gate, up}, "swiglu again");
  LinearBackward(context, w.projections[6], act, dx_c, dact, {}, low(b.low[6], 6), low(plan_.dlow, 6), direction(6));
  device_.Run(SwiGluBackward{gate, up, dact, {}});
  if (settings_.policy == KeepPolicy::kExpensiveParts) NormInto(h, At(b.x2, tokens_), w.norm2, {});
  LinearBackward(context, w.projections[4], h, gate, dh, {}, low(b.low[4], 4), low(plan_.dlow, 4), direction(4));
  LinearBackward(context, w.projections[5], h, up, dh, dh, low(b.low[5], 5), low(plan_.dlow, 5), direction(5));
  BackwardNorm(w.norm2, {dx,
                         plan_.dx_c != plan_.dx ? dx_c : Matrix{},
                         dh,
                         At(b.x2, tokens_),
                         w.norm2.weight,
                         At(b.rstd2, 1).Columns(0, tokens_),
                         {}});
}

void Decoder::BackwardHeadNorms(int64_t layer, const Matrix& dq, const Matrix& dk) {
  const LayerBuffers& b = plan_.layers[static_cast<size_t>(layer)];
  const Layer& w = layers_[static_cast<size_t>(layer)];
  const auto backward = [&](const Norm& norm, const Matrix& dy, const Matrix& x, const Matrix& rstd) {
    if (norm.dweight) device_.Run(HeadNormWeightBackward{norm.dweight, dy, x, rstd});
    device_.Run(HeadNormBackward{dy, x, norm.weight, rstd});
  };
  backward(w.q_norm, dq, At(b.plain_q, tokens_), At(b.rstd_q, tokens_));
  backward(w.k_norm, dk, At(b.plain_k, tokens_), At(b.rstd_k, tokens_));
}

void Decoder::BackwardAttention(int64_t layer) {
  const LayerBuffers& b = plan_.layers[static_cast<size_t>(layer)];
  const Layer& w = layers_[static_cast<size_t>(layer)];
  const LinearContext context = Context();
  const auto low = [&](StepPlan::Id id, int i) { return Low(id, w.projections[i]); };
  const auto direction = [&](int i) { return Direction(b.direction[i], w.projections[i]); };
  const Matrix dx = At(plan_.dx, tokens_), dx_c = At(plan_.dx_c, tokens_), dh = At(plan_.dh, tokens_);
  AttentionBackward a;
  a.dout = At(plan_.dattention, tokens_);
  a.out = At(b.attention, tokens_);
  LinearBackward(context, w.projections[3], a.out, dx_c, a.dout, {}, low(b.low[3], 3), low(plan_.dlow, 3),
                 direction(3));
  a.dq = At(plan_.dq, tokens_);
  a.dk = At(plan_.dk, tokens_);
  a.dv = At(plan_.dv, tokens_);
  a.dk_sum = At(plan_.dk_sum, tokens_);
  a.dv_sum = At(plan_.dv_sum, tokens_);
  a.lse = At(b.lse, tokens_);
  a.q = At(b.q, tokens_);
  a.k = At(b.k, tokens_);
  a.v = At(b.v, tokens_);
  a.starts = At(plan_.starts, 1).Columns(0, sequences_ + 1);
  a.shape = ShapeOf(layer);
  device_.Run(a);
  RunRope(layer, a.dq, a.dk, true);
  if (spec_.qk_norm) BackwardHeadNorms(layer, a.dq, a.dk);
  const Matrix h = At(b.h1, tokens_), x = LayerInput(layer);
  if (settings_.policy == KeepPolicy::kExpensiveParts) NormInto(h, x, w.norm1, {});
  // Below the lowest trained layer no gradient is needed.
  const bool needs_dx = layer > lowest_trained_layer_ || w.norm1.dweight;
  const Matrix gradients[3] = {a.dq, a.dk, a.dv};
  for (int i = 0; i < 3; ++i) {
    LinearBackward(context, w.projections[i], h, gradients[i], needs_dx ? dh : Matrix{},
                   needs_dx && i > 0 ? dh : Matrix{}, low(b.low[i], i), low(plan_.dlow, i), direction(i));
  }
  if (!needs_dx) return;
  BackwardNorm(
      w.norm1,
      {dx, plan_.dx_c != plan_.dx ? dx_c : Matrix{}, dh, x, w.norm1.weight, At(b.rstd1, 1).Columns(0, tokens_), {}});
}

}  // namespace attune
