// Construction and the forward pass. decoder_backward.cc has the other direction.
#include "models/decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace attune {
namespace {

std::string LayerPath(int64_t layer, const std::string& name) {
  return "model.layers." + std::to_string(layer) + "." + name;
}

// cos and sin of position * frequency for every position, in f32 as transformers computes them.
void UploadRopeTables(Device& device, const ModelSpec& spec, int64_t positions, DeviceAddress cos, DeviceAddress sin) {
  const std::vector<float> frequencies = RopeInverseFrequencies(spec);
  const size_t half = frequencies.size();
  std::vector<float> c(static_cast<size_t>(positions) * half), s(c.size());
  for (size_t p = 0; p < static_cast<size_t>(positions); ++p) {
    for (size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(p) * frequencies[i];
      c[p * half + i] = std::cos(angle);
      s[p * half + i] = std::sin(angle);
    }
  }
  device.Upload(cos, c.data(), static_cast<int64_t>(c.size() * sizeof(float)));
  device.Upload(sin, s.data(), static_cast<int64_t>(s.size() * sizeof(float)));
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

std::vector<TrainableTensor> AdapterTrainables(const AdapterSpec& adapter) {
  std::vector<TrainableTensor> tensors;
  const std::string prefix = "base_model.model.";
  for (const AdapterModule& m : adapter.modules) {
    tensors.push_back({prefix + m.path + ".lora_A.weight", m.path, TrainableTensor::Kind::kLoraA, m.rank, m.in});
    tensors.push_back({prefix + m.path + ".lora_B.weight", m.path, TrainableTensor::Kind::kLoraB, m.rank, m.out});
  }
  for (const FullModule& m : adapter.full_modules) {
    tensors.push_back({prefix + m.path + ".weight", m.path, TrainableTensor::Kind::kFullWeight,
                       m.is_embedding ? m.in : m.out, m.is_embedding ? m.out : m.in});
  }
  for (const TrainedBias& bias : adapter.trained_biases) {
    tensors.push_back({prefix + bias.path + (bias.is_adapted ? ".base_layer.bias" : ".bias"), bias.path,
                       TrainableTensor::Kind::kBias, 1, bias.size});
  }
  AssignTrainableOffsets(tensors);
  return tensors;
}

int64_t ComputeCopyBytes(const std::vector<TrainableTensor>& trainables, DType compute) {
  if (compute == DType::kF32) return 0;
  int64_t bytes = 0;
  for (const TrainableTensor& t : trainables) {
    const bool lora = t.kind == TrainableTensor::Kind::kLoraA || t.kind == TrainableTensor::Kind::kLoraB;
    bytes += ((lora ? PaddedRank(t.rows, compute) : t.rows) * t.cols * 2 + 63) / 64 * 64;
  }
  return bytes;
}

Decoder::Decoder(Device& device, const ModelSpec& spec, const ModelWeights& weights, const AdapterSpec& adapter,
                 const std::vector<TrainableTensor>& trainables, const TrainableVectors* vectors,
                 const DecoderSettings& settings)
    : device_(device), spec_(spec), settings_(settings), adapter_(adapter), plan_(PlanDecoder(spec, adapter, settings)) {
  RefuseWhatTheDecoderLacks(spec_);
  arena_ = device.Allocate(plan_.plan.arena_bytes(), "activations");
  UploadRopeTables(device, spec, settings.max_length, At(plan_.cos, 1).data, At(plan_.sin, 1).data);

  DeviceAddress copies{};
  const int64_t copy_bytes = ComputeCopyBytes(trainables, settings.compute);
  if (copy_bytes > 0) copies = device.Allocate(copy_bytes, "the adapter's compute copies");
  for (const TrainableTensor& tensor : trainables) {
    trained_[tensor.module].emplace_back(tensor, vectors);
    if (copy_bytes == 0) continue;
    const Matrix from = TrainableVectors::Of(vectors->value(), tensor);
    copies_.push_back({from, DenseMatrix(copies, settings.compute, tensor.rows, tensor.cols)});
    copies = copies.Plus((PaddedRank(tensor.rows, settings.compute) * tensor.cols * 2 + 63) / 64 * 64);
  }

  embedding_ = weights.Find("model.embed_tokens.weight");
  final_norm_ = weights.Find("model.norm.weight");
  for (int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    Layer layer;
    for (int slot = 0; slot < 7; ++slot) {
      layer.projections[slot] = MakeLinear(LayerPath(l, kProjections[slot]), static_cast<int>(l) * 7 + slot, weights);
    }
    layer.norm1 = weights.Find(LayerPath(l, "input_layernorm.weight"));
    layer.norm2 = weights.Find(LayerPath(l, "post_attention_layernorm.weight"));
    layers_.push_back(layer);
  }
  head_ = MakeLinear("lm_head", static_cast<int>(spec.num_hidden_layers) * 7, weights);
  if (!head_.weight) head_.weight = embedding_;
  // A trained embedding is a copy of its own: a tied head keeps the frozen one, as in PEFT.
  Linear table;
  BindTrained("model.embed_tokens", &table);
  if (table.dweight) {
    embedding_ = table.weight;
    dembedding_ = table.dweight;
  }
  RefreshTrained();
}

Decoder::~Decoder() = default;

Linear Decoder::MakeLinear(const std::string& path, int slot, const ModelWeights& weights) {
  Linear linear;
  const size_t dot = path.rfind('.');
  linear.tag = dot == std::string::npos ? path : path.substr(dot + 1);
  linear.weight = weights.Find(path + ".weight");
  linear.bias = weights.Find(path + ".bias");
  linear.adapter.module = static_cast<uint32_t>(slot);
  for (const AdapterModule& module : adapter_.modules) {
    if (module.path != path) continue;
    linear.adapter.rank = module.rank;
    linear.adapter.scale = module.scale;
    linear.adapter.dropout = adapter_.dropout;
  }
  BindTrained(path, &linear);
  return linear;
}

// Points a layer at its trained tensors: products read the compute copy, gradients go to the flat vector.
void Decoder::BindTrained(const std::string& path, Linear* linear) {
  const auto found = trained_.find(path);
  if (found == trained_.end()) return;
  for (const auto& [tensor, vectors] : found->second) {
    const Matrix value = TrainableVectors::Of(vectors->value(), tensor);
    const Matrix gradient = TrainableVectors::Of(vectors->gradient(), tensor);
    Matrix used = value;
    for (const ComputeCopy& copy : copies_) {
      if (copy.from.data.value != value.data.value) continue;
      used = copy.to;
      if (tensor.kind != TrainableTensor::Kind::kFullWeight) used.rows = PaddedRank(used.rows, settings_.compute);
    }
    switch (tensor.kind) {
      case TrainableTensor::Kind::kLoraA:
        linear->adapter.a = used;
        linear->adapter.da = gradient;
        break;
      case TrainableTensor::Kind::kLoraB:
        linear->adapter.b_transposed = used;
        linear->adapter.db_transposed = gradient;
        break;
      case TrainableTensor::Kind::kFullWeight:
        linear->weight = used;
        linear->dweight = gradient;
        break;
      case TrainableTensor::Kind::kBias:
        linear->bias = value;
        linear->dbias = gradient;
        break;
    }
  }
}

void Decoder::RefreshTrained() {
  for (const ComputeCopy& copy : copies_) device_.Run(Copy{copy.to, copy.from, {}});
}

LinearContext Decoder::Context() const {
  return {device_, dropout_ ? At(plan_.keys, 1).Columns(0, tokens_) : Matrix{},
          plan_.mask >= 0 ? At(plan_.mask, 1).data : DeviceAddress{}};
}

void Decoder::UploadInts(StepPlan::Id id, const std::vector<int32_t>& values) {
  if (!values.empty()) device_.Upload(At(id, 1).data, values.data(), static_cast<int64_t>(values.size()) * 4);
}

void Decoder::Upload(const PackedBatch& batch) {
  tokens_ = batch.tokens();
  sequences_ = static_cast<int64_t>(batch.starts.size()) - 1;
  labelled_ = static_cast<int64_t>(batch.rows.size());
  dropout_ = !batch.keys.empty() && adapter_.dropout > 0 && !adapter_.modules.empty();
  if (tokens_ > settings_.max_tokens || sequences_ > settings_.max_sequences || labelled_ > settings_.max_labelled) {
    Failed("a batch of {} tokens in {} sequences with {} labels exceeds the plan ({}, {}, {})", tokens_, sequences_,
           labelled_, settings_.max_tokens, settings_.max_sequences, settings_.max_labelled);
  }
  UploadInts(plan_.ids, batch.input_ids);
  UploadInts(plan_.positions, batch.positions);
  UploadInts(plan_.starts, batch.starts);
  UploadInts(plan_.rows, batch.rows);
  UploadInts(plan_.targets, batch.targets);
  if (dropout_) {
    UploadInts(plan_.keys, batch.keys);
    std::vector<int32_t> row_keys;
    for (const int32_t row : batch.rows) row_keys.push_back(batch.keys[static_cast<size_t>(row)]);
    UploadInts(plan_.row_keys, row_keys);
  }
}

Matrix Decoder::LayerInput(int64_t layer) const {
  const bool last = layer == spec_.num_hidden_layers;
  return At(last ? plan_.x_last : plan_.layers[static_cast<size_t>(layer)].x, tokens_);
}

void Decoder::NormInto(const Matrix& out, const Matrix& x, const Matrix& weight, const Matrix& rstd) {
  device_.Run(RmsNorm{out, x, weight, rstd, {}, static_cast<float>(spec_.rms_norm_eps)});
}

void Decoder::ForwardAttention(int64_t layer, const Matrix& x, const Matrix& x2) {
  const LayerBuffers& b = plan_.layers[static_cast<size_t>(layer)];
  const Layer& w = layers_[static_cast<size_t>(layer)];
  const LinearContext context = Context();
  const Matrix h = At(b.h1, tokens_);
  NormInto(h, x, w.norm1, At(b.rstd1, 1).Columns(0, tokens_));
  const StepPlan::Id outputs[3] = {b.q, b.k, b.v};
  for (int i = 0; i < 3; ++i) {
    const Matrix low = b.low[i] >= 0 ? At(b.low[i], tokens_).Columns(0, w.projections[i].adapter.a.rows) : Matrix{};
    LinearForward(context, w.projections[i], h, At(outputs[i], tokens_), {}, low);
  }
  const Matrix positions = At(plan_.positions, 1).Columns(0, tokens_);
  const Matrix cos = At(plan_.cos, settings_.max_length), sin = At(plan_.sin, settings_.max_length);
  if (spec_.uses_rope[static_cast<size_t>(layer)]) {
    for (const StepPlan::Id id : {b.q, b.k}) {
      device_.Run(Rope{At(id, tokens_), positions, cos, sin, spec_.head_dim, false});
    }
  }
  Attention attention;
  attention.out = At(b.attention, tokens_);
  attention.lse = At(b.lse, tokens_);
  attention.q = At(b.q, tokens_);
  attention.k = At(b.k, tokens_);
  attention.v = At(b.v, tokens_);
  attention.starts = At(plan_.starts, 1).Columns(0, sequences_ + 1);
  attention.shape = {spec_.num_attention_heads, spec_.num_key_value_heads, spec_.head_dim,
                     spec_.sliding_window[static_cast<size_t>(layer)],
                     1.0f / std::sqrt(static_cast<float>(spec_.head_dim))};
  device_.Run(attention);
  const Linear& o = w.projections[3];
  LinearForward(context, o, attention.out, x2, x, b.low[3] >= 0 ? At(b.low[3], tokens_).Columns(0, o.adapter.a.rows) : Matrix{});
}

void Decoder::ForwardMlp(int64_t layer, const Matrix& x2, const Matrix& x_next, bool recompute) {
  const LayerBuffers& b = plan_.layers[static_cast<size_t>(layer)];
  const Layer& w = layers_[static_cast<size_t>(layer)];
  const LinearContext context = Context();
  const auto low = [&](int i) {
    return b.low[i] >= 0 ? At(b.low[i], tokens_).Columns(0, w.projections[i].adapter.a.rows) : Matrix{};
  };
  const Matrix h = At(b.h2, tokens_), gate = At(b.gate, tokens_), up = At(b.up, tokens_), act = At(b.act, tokens_);
  NormInto(h, x2, w.norm2, At(b.rstd2, 1).Columns(0, tokens_));
  LinearForward(context, w.projections[4], h, gate, {}, low(4));
  LinearForward(context, w.projections[5], h, up, {}, low(5));
  device_.Run(SwiGlu{act, gate, up});
  if (!recompute) {
    LinearForward(context, w.projections[6], act, x_next, x2, low(6));
  } else if (w.projections[6].adapter.rank > 0) {
    LowRankForward(context, w.projections[6], act, low(6));
  }
}

void Decoder::ForwardBlock(int64_t layer, bool recompute) {
  const Matrix x2 = At(plan_.layers[static_cast<size_t>(layer)].x2, tokens_);
  ForwardAttention(layer, LayerInput(layer), x2);
  ForwardMlp(layer, x2, LayerInput(layer + 1), recompute);
}

void Decoder::ForwardAll() {
  device_.Run(Embedding{LayerInput(0), embedding_, At(plan_.ids, 1).Columns(0, tokens_)});
  for (int64_t l = 0; l < spec_.num_hidden_layers; ++l) ForwardBlock(l, false);
}

BatchLoss Decoder::RunHead(bool train, float scale) {
  const int64_t n = labelled_;
  BatchLoss loss;
  loss.rows = n;
  if (n == 0) return loss;
  const Matrix rows = At(plan_.rows, 1).Columns(0, n);
  const Matrix hidden = At(plan_.hidden, n), rstd = At(plan_.head_rstd, 1).Columns(0, n);
  device_.Run(RmsNorm{hidden, LayerInput(spec_.num_hidden_layers), final_norm_, rstd, rows,
                      static_cast<float>(spec_.rms_norm_eps)});
  LinearContext context = Context();
  for (int64_t first = 0; first < n; first += settings_.logit_rows) {
    const int64_t count = std::min(settings_.logit_rows, n - first);
    if (dropout_) context.keys = At(plan_.row_keys, 1).Columns(first, count);
    const Matrix x = hidden.Rows(first, count), logits = At(plan_.logits, count);
    const Matrix low =
        head_.adapter.rank > 0 ? At(plan_.head_low, n).Rows(first, count).Columns(0, head_.adapter.a.rows) : Matrix{};
    LinearForward(context, head_, x, logits, {}, low);
    CrossEntropy ce;
    ce.logits = logits;
    ce.targets = At(plan_.targets, 1).Columns(first, count);
    ce.losses = At(plan_.losses, 1).Columns(first, count);
    ce.correct = At(plan_.correct, 1).Columns(first, count);
    ce.scale = scale;
    if (train) {
      // The gradient overwrites the logits; bf16 values take the first half of each row's bytes.
      ce.gradient = logits;
      ce.gradient.dtype = settings_.compute;
      if (settings_.compute == DType::kBF16) ce.gradient.stride *= 2;
    }
    device_.Run(ce);
    if (!train) continue;
    const Matrix dlow = head_.adapter.rank > 0 ? At(plan_.dlow, count).Columns(0, head_.adapter.a.rows) : Matrix{};
    LinearBackward(context, head_, x, ce.gradient, At(plan_.dhidden, n).Rows(first, count), {}, low, dlow);
  }
  std::vector<float> losses(static_cast<size_t>(n)), correct(losses.size());
  device_.Download(losses.data(), At(plan_.losses, 1).data, n * 4);
  device_.Download(correct.data(), At(plan_.correct, 1).data, n * 4);
  loss.sum = std::accumulate(losses.begin(), losses.end(), 0.0);
  loss.correct = static_cast<int64_t>(std::accumulate(correct.begin(), correct.end(), 0.0));
  return loss;
}

BatchLoss Decoder::EvaluateBatch(const PackedBatch& batch) {
  Upload(batch);
  dropout_ = false;
  ForwardAll();
  return RunHead(false, 1.0f);
}

void Decoder::Logits(const PackedBatch& batch, const std::function<void(int64_t, std::span<const float>)>& sink) {
  Upload(batch);
  dropout_ = false;
  ForwardAll();
  const int64_t n = labelled_;
  const Matrix hidden = At(plan_.hidden, n);
  device_.Run(RmsNorm{hidden, LayerInput(spec_.num_hidden_layers), final_norm_, At(plan_.head_rstd, 1).Columns(0, n),
                      At(plan_.rows, 1).Columns(0, n), static_cast<float>(spec_.rms_norm_eps)});
  std::vector<float> host;
  for (int64_t first = 0; first < n; first += settings_.logit_rows) {
    const int64_t count = std::min(settings_.logit_rows, n - first);
    const Matrix logits = At(plan_.logits, count);
    const Matrix low =
        head_.adapter.rank > 0 ? At(plan_.head_low, n).Rows(first, count).Columns(0, head_.adapter.a.rows) : Matrix{};
    LinearForward(Context(), head_, hidden.Rows(first, count), logits, {}, low);
    host.resize(static_cast<size_t>(count * spec_.vocab_size));
    device_.Download(host.data(), logits.data, static_cast<int64_t>(host.size()) * 4);
    sink(first, host);
  }
}

}  // namespace attune
