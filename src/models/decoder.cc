// The forward pass. decoder_backward.cc has the other direction, decoder_weights.cc what both of them read and write.
#include "models/decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "quant/float16.h"

namespace attune {
namespace {

// Rows to the host, one behind the other.
template <class T>
void DownloadRows(Device& device, const Matrix& from, T* to) {
  for (int64_t r = 0; r < from.rows; ++r, to += from.cols) {
    device.Download(to, from.Rows(r, 1).data, from.cols * static_cast<int64_t>(sizeof(T)));
  }
}

}  // namespace

void PackedBatch::Append(std::span<const int32_t> ids, std::span<const int32_t> labels) {
  if (starts.empty()) starts.push_back(0);
  const auto first = static_cast<int32_t>(input_ids.size());
  for (size_t t = 0; t < ids.size(); ++t) {
    input_ids.push_back(ids[t]);
    positions.push_back(static_cast<int32_t>(t));
    if (t + 1 < ids.size() && labels[t + 1] >= 0) {
      rows.push_back(first + static_cast<int32_t>(t));
      targets.push_back(labels[t + 1]);
    }
  }
  starts.push_back(static_cast<int32_t>(input_ids.size()));
}

int32_t DropoutKey(uint64_t seed, int64_t step, int64_t example, int64_t position) {
  uint64_t state = seed;
  for (const int64_t part : {step, example, position}) {  // splitmix64 (Steele et al. 2014) of each in turn
    state += static_cast<uint64_t>(part) * 0x9e3779b97f4a7c15u + 0x9e3779b97f4a7c15u;
    state = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    state = (state ^ (state >> 27)) * 0x94d049bb133111ebu;
    state ^= state >> 31;
  }
  return static_cast<int32_t>(state >> 32);
}

Decoder::Decoder(Device& device, const ModelSpec& spec, const ModelWeights& weights, const AdapterSpec& adapter,
                 const std::vector<TrainableTensor>& trainables, const TrainableVectors* vectors,
                 const DecoderSettings& settings)
    : device_(device),
      spec_(spec),
      weights_(weights),
      settings_(settings),
      adapter_(adapter),
      plan_(PlanDecoder(spec, adapter, settings)),
      vectors_(vectors),
      trainables_(trainables) {
  RefuseWhatTheDecoderLacks(spec_);
  arena_ = device.Allocate(plan_.plan.arena_bytes(), "activations");
  const RopeTables rope = MakeRopeTables(spec, settings.max_length);
  device.Upload(At(plan_.cos, 1).data, rope.cos.data(), static_cast<int64_t>(rope.cos.size() * sizeof(float)));
  device.Upload(At(plan_.sin, 1).data, rope.sin.data(), static_cast<int64_t>(rope.sin.size() * sizeof(float)));
  MakeComputeCopies();
  BindWeights(weights);
  MakeDora();
  lowest_trained_layer_ = LowestTrainedLayer();
  RefreshTrained();
}

Decoder::~Decoder() = default;

LinearContext Decoder::Context() const {
  const auto room = [&](StepPlan::Id id) { return id >= 0 ? At(id, 1).data : DeviceAddress{}; };
  return {device_,
          dropout_ ? At(plan_.keys, 1).Columns(0, tokens_) : Matrix{},
          room(plan_.mask),
          {room(plan_.dora_out), room(plan_.dora_in), room(plan_.dora_in2)}};
}

void Decoder::UploadInts(StepPlan::Id id, const std::vector<int32_t>& values) {
  if (!values.empty()) device_.Upload(At(id, 1).data, values.data(), static_cast<int64_t>(values.size()) * 4);
}

void Decoder::Upload(const PackedBatch& batch) {
  tokens_ = batch.tokens();
  sequences_ = static_cast<int64_t>(batch.starts.size()) - 1;
  labelled_ = static_cast<int64_t>(batch.rows.size());
  has_keys_ = !batch.keys.empty();
  dropout_ = has_keys_ && adapter_.dropout > 0 && !adapter_.modules.empty();
  if (tokens_ > settings_.max_tokens || sequences_ > settings_.max_sequences || labelled_ > settings_.max_labelled) {
    Failed("a batch of {} tokens in {} sequences with {} labels exceeds the plan ({}, {}, {})", tokens_, sequences_,
           labelled_, settings_.max_tokens, settings_.max_sequences, settings_.max_labelled);
  }
  UploadInts(plan_.ids, batch.input_ids);
  UploadInts(plan_.positions, batch.positions);
  UploadInts(plan_.starts, batch.starts);
  starts_ = batch.starts;
  UploadInts(plan_.rows, batch.rows);
  UploadInts(plan_.targets, batch.targets);
  if (plan_.token_slots >= 0) UploadTokenSlots(batch);
  if (has_keys_) UploadInts(plan_.keys, batch.keys);
  if (dropout_) {
    std::vector<int32_t> row_keys;
    for (const int32_t row : batch.rows) row_keys.push_back(batch.keys[static_cast<size_t>(row)]);
    UploadInts(plan_.row_keys, row_keys);
  }
}

void Decoder::UploadTokenSlots(const PackedBatch& batch) {
  std::unordered_map<int32_t, int32_t> slot_of;
  for (const int32_t id : adapter_.tokens.ids) slot_of.emplace(id, static_cast<int32_t>(slot_of.size()));
  std::vector<int32_t> slots;
  for (const int32_t id : batch.input_ids) {
    const auto found = slot_of.find(id);
    slots.push_back(found == slot_of.end() ? -1 : found->second);
  }
  UploadInts(plan_.token_slots, slots);
  UploadInts(plan_.token_ids, adapter_.tokens.ids);
}

Matrix Decoder::LayerInput(int64_t layer) const {
  const bool last = layer == spec_.num_hidden_layers;
  return At(last ? plan_.x_last : plan_.layers[static_cast<size_t>(layer)].x, tokens_);
}

void Decoder::NormInto(const Matrix& out, const Matrix& x, const Norm& norm, const Matrix& rstd) {
  device_.Run(RmsNorm{out, x, norm.weight, rstd, {}, static_cast<float>(spec_.rms_norm_eps)});
}

Matrix Decoder::Low(StepPlan::Id id, const Linear& linear) const {
  return linear.adapter.rank > 0 ? At(id, tokens_).Columns(0, linear.adapter.a.rows) : Matrix{};
}

Matrix Decoder::Direction(StepPlan::Id id, const Linear& linear) const {
  return linear.adapter.dora.magnitude ? At(id, tokens_) : Matrix{};
}

AttentionShape Decoder::ShapeOf(int64_t layer) const {
  const int64_t window = spec_.sliding_window[static_cast<size_t>(layer)];
  return {spec_.num_attention_heads,
          spec_.num_key_value_heads,
          spec_.head_dim,
          window,
          1.0f / std::sqrt(static_cast<float>(spec_.head_dim)),
          CountPairs(starts_, window)};
}

void Decoder::RunRope(int64_t layer, const Matrix& q, const Matrix& k, bool inverse) {
  if (!spec_.uses_rope[static_cast<size_t>(layer)]) return;
  const Matrix positions = At(plan_.positions, 1).Columns(0, tokens_);
  const Matrix cos = At(plan_.cos, settings_.max_length), sin = At(plan_.sin, settings_.max_length);
  for (const Matrix& x : {q, k}) device_.Run(Rope{x, positions, cos, sin, spec_.head_dim, inverse});
}

void Decoder::NormHeads(int64_t layer, const Matrix& q, const Matrix& k) {
  const LayerBuffers& b = plan_.layers[static_cast<size_t>(layer)];
  const Layer& w = layers_[static_cast<size_t>(layer)];
  const auto eps = static_cast<float>(spec_.rms_norm_eps);
  device_.Run(HeadNorm{q, At(b.plain_q, tokens_), w.q_norm.weight, At(b.rstd_q, tokens_), eps});
  device_.Run(HeadNorm{k, At(b.plain_k, tokens_), w.k_norm.weight, At(b.rstd_k, tokens_), eps});
}

void Decoder::ForwardAttention(int64_t layer, const Matrix& x, const Matrix& x2) {
  const LayerBuffers& b = plan_.layers[static_cast<size_t>(layer)];
  const Layer& w = layers_[static_cast<size_t>(layer)];
  const LinearContext context = Context();
  const Matrix h = At(b.h1, tokens_);
  NormInto(h, x, w.norm1, At(b.rstd1, 1).Columns(0, tokens_));
  Attention attention;
  attention.out = At(b.attention, tokens_);
  attention.lse = At(b.lse, tokens_);
  attention.q = At(b.q, tokens_);
  attention.k = At(b.k, tokens_);
  attention.v = At(b.v, tokens_);
  attention.starts = At(plan_.starts, 1).Columns(0, sequences_ + 1);
  attention.shape = ShapeOf(layer);
  if (observer_) observer_(layer, 0, h);
  const Matrix outputs[3] = {spec_.qk_norm ? At(b.plain_q, tokens_) : attention.q,
                             spec_.qk_norm ? At(b.plain_k, tokens_) : attention.k, attention.v};
  for (int i = 0; i < 3; ++i) {
    LinearForward(context, w.projections[i], h, outputs[i], {}, Low(b.low[i], w.projections[i]),
                  Direction(b.direction[i], w.projections[i]));
  }
  if (spec_.qk_norm) NormHeads(layer, attention.q, attention.k);
  RunRope(layer, attention.q, attention.k, false);
  device_.Run(attention);
  if (observer_) observer_(layer, 3, attention.out);
  LinearForward(context, w.projections[3], attention.out, x2, x, Low(b.low[3], w.projections[3]),
                Direction(b.direction[3], w.projections[3]));
}

void Decoder::ForwardMlp(int64_t layer, const Matrix& x2, const Matrix& x_next, bool recompute) {
  const LayerBuffers& b = plan_.layers[static_cast<size_t>(layer)];
  const Layer& w = layers_[static_cast<size_t>(layer)];
  const LinearContext context = Context();
  const auto low = [&](int i) { return Low(b.low[i], w.projections[i]); };
  const auto direction = [&](int i) { return Direction(b.direction[i], w.projections[i]); };
  const Matrix h = At(b.h2, tokens_), gate = At(b.gate, tokens_), up = At(b.up, tokens_), act = At(b.act, tokens_);
  NormInto(h, x2, w.norm2, At(b.rstd2, 1).Columns(0, tokens_));
  if (observer_) observer_(layer, 4, h);
  LinearForward(context, w.projections[4], h, gate, {}, low(4), direction(4));
  LinearForward(context, w.projections[5], h, up, {}, low(5), direction(5));
  device_.Run(SwiGlu{act, gate, up});
  if (observer_) observer_(layer, 6, act);
  if (!recompute) {
    LinearForward(context, w.projections[6], act, x_next, x2, low(6), direction(6));
  } else if (w.projections[6].adapter.rank > 0) {
    AdapterForward(context, w.projections[6], act, low(6), direction(6));
  }
}

void Decoder::ForwardBlock(int64_t layer, bool recompute) {
  const Matrix x2 = At(plan_.layers[static_cast<size_t>(layer)].x2, tokens_);
  ForwardAttention(layer, LayerInput(layer), x2);
  ForwardMlp(layer, x2, LayerInput(layer + 1), recompute);
}

void Decoder::ForwardEmbedding() {
  const Matrix x = LayerInput(0), ids = At(plan_.ids, 1).Columns(0, tokens_);
  device_.Run(Embedding{x, table_.weight, ids});
  if (table_.a) AddEmbeddingAdapter(x, ids);
  if (has_keys_ && settings_.neftune_noise_alpha > 0) {
    device_.Run(EmbeddingNoise{x, At(plan_.keys, 1).Columns(0, tokens_), At(plan_.starts, 1).Columns(0, sequences_ + 1),
                               settings_.neftune_noise_alpha});
  }
}

void Decoder::AddEmbeddingAdapter(const Matrix& x, const Matrix& ids) {
  const Matrix low = At(plan_.embedding_low, tokens_);
  device_.Run(Embedding{low, table_.a, ids});
  Gemm product;
  product.c = product.start = x;
  product.a = low;
  product.b = table_.b;
  product.alpha = table_.scale;
  device_.Run(product, "embedding lora");
}

void Decoder::ForwardAll() {
  ForwardEmbedding();
  weights_.Release(-1);
  for (int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
    weights_.Prefetch(l + 1);
    ForwardBlock(l, false);
    weights_.Release(l);
  }
}

void Decoder::ReleaseHead() {
  weights_.Release(spec_.num_hidden_layers);
  weights_.Release(-1);  // a tied one
}

void Decoder::NormHeadRows(int64_t rows) {
  device_.Run(RmsNorm{At(plan_.hidden, rows), LayerInput(spec_.num_hidden_layers), final_norm_.weight,
                      At(plan_.head_rstd, 1).Columns(0, rows), At(plan_.rows, 1).Columns(0, rows),
                      static_cast<float>(spec_.rms_norm_eps)});
}

BatchLoss Decoder::RunHead(bool train, float scale, std::vector<float>* row_losses) {
  const int64_t n = labelled_;
  BatchLoss loss;
  loss.rows = n;
  if (row_losses != nullptr) row_losses->clear();
  if (n == 0) return loss;
  const Matrix hidden = At(plan_.hidden, n);
  NormHeadRows(n);
  LinearContext context = Context();
  for (int64_t first = 0; first < n; first += settings_.logit_rows) {
    const int64_t count = std::min(settings_.logit_rows, n - first);
    if (dropout_) context.keys = At(plan_.row_keys, 1).Columns(first, count);
    const Matrix x = hidden.Rows(first, count), logits = At(plan_.logits, count);
    const Matrix low =
        head_.adapter.rank > 0 ? At(plan_.head_low, n).Rows(first, count).Columns(0, head_.adapter.a.rows) : Matrix{};
    const Matrix direction = plan_.head_direction >= 0 ? At(plan_.head_direction, count) : Matrix{};
    LinearForward(context, head_, x, logits, {}, low, direction);
    CrossEntropy ce;
    ce.logits = logits;
    ce.targets = At(plan_.targets, 1).Columns(first, count);
    ce.losses = At(plan_.losses, 1).Columns(first, count);
    ce.correct = At(plan_.correct, 1).Columns(first, count);
    ce.scale = scale;
    if (train) {
      ce.label_smoothing = settings_.label_smoothing;
      // The gradient overwrites the logits; bf16 values take the first half of each row's bytes.
      ce.gradient = logits;
      ce.gradient.dtype = settings_.compute;
      if (settings_.compute == DType::kBF16) ce.gradient.stride *= 2;
    }
    device_.Run(ce);
    if (!train) continue;
    const Matrix dlow = head_.adapter.rank > 0 ? At(plan_.dlow, count).Columns(0, head_.adapter.a.rows) : Matrix{};
    LinearBackward(context, head_, x, ce.gradient, At(plan_.dhidden, n).Rows(first, count), {}, low, dlow, direction);
    if (plan_.head_token_columns >= 0) AddHeadTokenGradient(ce.gradient, x);
  }
  ReleaseHead();
  std::vector<float> losses(static_cast<size_t>(n)), correct(losses.size());
  device_.Download(losses.data(), At(plan_.losses, 1).data, n * 4);
  device_.Download(correct.data(), At(plan_.correct, 1).data, n * 4);
  loss.sum = std::accumulate(losses.begin(), losses.end(), 0.0);
  loss.correct = static_cast<int64_t>(std::accumulate(correct.begin(), correct.end(), 0.0));
  if (row_losses != nullptr) *row_losses = std::move(losses);
  return loss;
}

void Decoder::ObserveInputs(const PackedBatch& batch, const InputObserver& observer) {
  Upload(batch);
  has_keys_ = dropout_ = false;
  observer_ = observer;
  ForwardAll();
  observer_ = nullptr;
}

BatchLoss Decoder::EvaluateBatch(const PackedBatch& batch, std::vector<float>* losses) {
  Upload(batch);
  has_keys_ = dropout_ = false;
  ForwardAll();
  return RunHead(false, 1.0f, losses);
}

std::vector<float> Decoder::LastHidden(const PackedBatch& batch) {
  Upload(batch);
  has_keys_ = dropout_ = false;
  ForwardAll();
  NormHeadRows(labelled_);
  const size_t count = static_cast<size_t>(labelled_ * spec_.hidden_size);
  std::vector<float> hidden(count);
  const Matrix from = At(plan_.hidden, labelled_);
  if (settings_.compute == DType::kF32) {
    DownloadRows(device_, from, hidden.data());
    return hidden;
  }
  std::vector<uint16_t> stored(count);
  DownloadRows(device_, from, stored.data());
  for (size_t i = 0; i < count; ++i) hidden[i] = Bf16ToFloat(stored[i]);
  return hidden;
}

void Decoder::Logits(const PackedBatch& batch, const std::function<void(int64_t, std::span<const float>)>& sink) {
  Upload(batch);
  has_keys_ = dropout_ = false;
  ForwardAll();
  const int64_t n = labelled_;
  const Matrix hidden = At(plan_.hidden, n);
  NormHeadRows(n);
  std::vector<float> host;
  for (int64_t first = 0; first < n; first += settings_.logit_rows) {
    const int64_t count = std::min(settings_.logit_rows, n - first);
    const Matrix logits = At(plan_.logits, count);
    const Matrix low =
        head_.adapter.rank > 0 ? At(plan_.head_low, n).Rows(first, count).Columns(0, head_.adapter.a.rows) : Matrix{};
    LinearForward(Context(), head_, hidden.Rows(first, count), logits, {}, low,
                  plan_.head_direction >= 0 ? At(plan_.head_direction, count) : Matrix{});
    host.resize(static_cast<size_t>(count * spec_.vocab_size));
    DownloadRows(device_, logits, host.data());
    sink(first, host);
  }
  ReleaseHead();
}

}  // namespace attune
