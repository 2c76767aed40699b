// What a decoder reads and writes: frozen weights, trained tensors with their gradients, and the rounded copies of
// trained matrices that bf16 products read.
#include <algorithm>

#include "models/decoder.h"

namespace attune {
namespace {

using Kind = TrainableTensor::Kind;

std::string LayerPath(int64_t layer, const std::string& name) {
  return "model.layers." + std::to_string(layer) + "." + name;
}

// Whether products in the compute dtype read this tensor. Lookups, norms and biases are f32 in any case; an embedding
// is multiplied with where it is the head too.
bool IsMultiplied(const TrainableTensor& t, const ModelSpec& spec, const AdapterSpec& adapter) {
  if (t.kind == Kind::kEmbedding) return adapter.whole_model && spec.tie_word_embeddings;
  return t.kind == Kind::kLoraA || t.kind == Kind::kLoraB || t.kind == Kind::kFullWeight;
}

// Rows in a compute copy: low ranks are padded with zeros.
int64_t CopyRows(const TrainableTensor& t, DType compute) {
  return t.kind == Kind::kLoraA || t.kind == Kind::kLoraB ? PaddedRank(t.rows, compute) : t.rows;
}

int64_t CopyBytes(const TrainableTensor& t, DType compute) {
  return AlignedBytes(BytesOf(compute, CopyRows(t, compute) * t.cols));
}

}  // namespace

std::vector<TrainableTensor> AdapterTrainables(const AdapterSpec& adapter) {
  std::vector<TrainableTensor> tensors;
  const std::string prefix = adapter.whole_model ? "" : "base_model.model.";
  for (const AdapterModule& m : adapter.modules) {
    const std::string path = prefix + m.path;
    if (m.is_embedding) {
      tensors.push_back({path + ".lora_embedding_A", m.path, Kind::kLoraEmbeddingA, m.in, m.rank});
      tensors.push_back({path + ".lora_embedding_B", m.path, Kind::kLoraEmbeddingB, m.rank, m.out});
    } else {
      tensors.push_back({path + ".lora_A.weight", m.path, Kind::kLoraA, m.rank, m.in});
      tensors.push_back({path + ".lora_B.weight", m.path, Kind::kLoraB, m.rank, m.out});
      if (adapter.lora_bias) tensors.push_back({path + ".lora_B.bias", m.path, Kind::kLoraBias, 1, m.out});
      if (adapter.use_dora) tensors.push_back({path + ".lora_magnitude_vector", m.path, Kind::kMagnitude, 1, m.out});
    }
  }
  if (!adapter.tokens.ids.empty()) {
    const std::string path = "model.embed_tokens";
    tensors.push_back({prefix + path + ".token_adapter.trainable_tokens_delta", path, Kind::kTokenRows,
                       static_cast<int64_t>(adapter.tokens.ids.size()), adapter.tokens.width});
  }
  for (const FullModule& m : adapter.full_modules) {
    const std::string key = prefix + m.path + ".weight";
    switch (m.kind) {
      case FullModule::Kind::kLinear:
        tensors.push_back({key, m.path, Kind::kFullWeight, m.out, m.in});
        break;
      case FullModule::Kind::kEmbedding:
        tensors.push_back({key, m.path, Kind::kEmbedding, m.in, m.out});
        break;
      case FullModule::Kind::kNorm:
        tensors.push_back({key, m.path, Kind::kNorm, 1, m.out});
        break;
    }
  }
  for (const TrainedBias& bias : adapter.trained_biases) {
    tensors.push_back(
        {prefix + bias.path + (bias.is_adapted ? ".base_layer.bias" : ".bias"), bias.path, Kind::kBias, 1, bias.size});
  }
  AssignTrainableOffsets(tensors);
  return tensors;
}

int64_t ComputeCopyBytes(const ModelSpec& spec, const AdapterSpec& adapter, DType compute) {
  if (compute == DType::kF32) return 0;
  int64_t bytes = 0;
  for (const TrainableTensor& t : AdapterTrainables(adapter)) {
    if (IsMultiplied(t, spec, adapter)) bytes += CopyBytes(t, compute);
  }
  return bytes;
}

void Decoder::MakeComputeCopies() {
  for (const TrainableTensor& tensor : trainables_) trained_[tensor.module].push_back(tensor);
  const int64_t bytes = ComputeCopyBytes(spec_, adapter_, settings_.compute);
  if (bytes == 0) return;
  DeviceAddress next = device_.Allocate(bytes, "compute copies of the trained weights");
  for (const TrainableTensor& t : trainables_) {
    if (!IsMultiplied(t, spec_, adapter_)) continue;
    copies_.push_back(
        {TrainableVectors::Of(vectors_->value(), t), DenseMatrix(next, settings_.compute, t.rows, t.cols)});
    next = next.Plus(CopyBytes(t, settings_.compute));
  }
}

void Decoder::RefreshTrained() {
  for (const ComputeCopy& copy : copies_) device_.Run(Copy{copy.to, copy.from, {}}, "compute copies");
  if (table_.rows) PutTokenRows();
  RefreshMagnitudes();
}

// Trained rows take the place of the base's in memory, so that lookups and the products of a tied head see them.
void Decoder::PutTokenRows() {
  for (size_t i = 0; i < adapter_.tokens.ids.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    device_.Run(Copy{table_.weight.Rows(adapter_.tokens.ids[i], 1), table_.rows.Rows(row, 1), {}}, "trained tokens");
  }
}

// What products read of a trained tensor.
Matrix Decoder::Copied(const TrainableTensor& tensor) const {
  Matrix value = TrainableVectors::Of(vectors_->value(), tensor);
  for (const ComputeCopy& copy : copies_) {
    if (copy.from.data.value != value.data.value) continue;
    value = copy.to;
    value.rows = CopyRows(tensor, settings_.compute);
  }
  return value;
}

void Decoder::BindWeights(const ModelWeights& weights) {
  BindTable(weights);
  for (int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
    Layer layer;
    for (int slot = 0; slot < 7; ++slot) {
      layer.projections[slot] = MakeLinear(LayerPath(l, kProjections[slot]), static_cast<int>(l) * 7 + slot, weights);
    }
    layer.norm1 = MakeNorm(LayerPath(l, "input_layernorm"), weights);
    layer.norm2 = MakeNorm(LayerPath(l, "post_attention_layernorm"), weights);
    if (spec_.qk_norm) {
      layer.q_norm = MakeNorm(LayerPath(l, "self_attn.q_norm"), weights);
      layer.k_norm = MakeNorm(LayerPath(l, "self_attn.k_norm"), weights);
    }
    layers_.push_back(layer);
  }
  final_norm_ = MakeNorm("model.norm", weights);
  head_ = MakeLinear("lm_head", static_cast<int>(spec_.num_hidden_layers) * 7, weights);
  if (head_.weight) return;
  head_.weight = weights.Find("model.embed_tokens.weight");
  const auto table = trained_.find("model.embed_tokens");
  if (!adapter_.whole_model || table == trained_.end()) return;
  head_.weight = Copied(table->second.front());
  head_.dweight = table_.dweight;
}

void Decoder::BindTable(const ModelWeights& weights) {
  table_.weight = weights.Find("model.embed_tokens.weight");
  for (const AdapterModule& module : adapter_.modules) {
    if (module.is_embedding) table_.scale = module.scale;
  }
  for (const TrainableTensor& tensor : trained_["model.embed_tokens"]) {
    const Matrix value = TrainableVectors::Of(vectors_->value(), tensor);
    const Matrix gradient = TrainableVectors::Of(vectors_->gradient(), tensor);
    if (tensor.kind == Kind::kEmbedding) {
      table_.weight = value;
      table_.dweight = gradient;
    } else if (tensor.kind == Kind::kLoraEmbeddingA) {
      table_.a = value;
      table_.da = gradient;
    } else if (tensor.kind == Kind::kTokenRows) {
      table_.rows = value;
      table_.drows = gradient;
    } else {
      table_.b = value;
      table_.db = gradient;
    }
  }
}

Decoder::Norm Decoder::MakeNorm(const std::string& path, const ModelWeights& weights) {
  const auto trained = trained_.find(path);
  if (trained == trained_.end()) return {weights.Find(path + ".weight"), {}};
  const TrainableTensor& tensor = trained->second.front();
  return {TrainableVectors::Of(vectors_->value(), tensor), TrainableVectors::Of(vectors_->gradient(), tensor)};
}

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
  for (const TrainableTensor& tensor : found->second) {
    const Matrix gradient = TrainableVectors::Of(vectors_->gradient(), tensor);
    switch (tensor.kind) {
      case Kind::kLoraA:
        linear->adapter.a = Copied(tensor);
        linear->adapter.da = gradient;
        break;
      case Kind::kLoraB:
        linear->adapter.b_transposed = Copied(tensor);
        linear->adapter.db_transposed = gradient;
        break;
      case Kind::kLoraBias:
        linear->adapter.bias = TrainableVectors::Of(vectors_->value(), tensor);
        linear->adapter.dbias = gradient;
        break;
      case Kind::kMagnitude:
        linear->adapter.dora.magnitude = TrainableVectors::Of(vectors_->value(), tensor);
        linear->adapter.dora.dmagnitude = gradient;
        break;
      case Kind::kBias:
        linear->bias = TrainableVectors::Of(vectors_->value(), tensor);
        linear->dbias = gradient;
        break;
      default:
        linear->weight = Copied(tensor);
        linear->dweight = gradient;
    }
  }
}

int64_t Decoder::LowestTrainedLayer() const {
  if (table_.trained()) return -1;
  for (size_t l = 0; l < layers_.size(); ++l) {
    const Layer& layer = layers_[l];
    bool trained = layer.norm1.dweight || layer.norm2.dweight || layer.q_norm.dweight || layer.k_norm.dweight;
    for (const Linear& linear : layer.projections) {
      trained = trained || linear.adapter.rank > 0 || linear.dweight || linear.dbias;
    }
    if (trained) return static_cast<int64_t>(l);
  }
  return spec_.num_hidden_layers;
}

}  // namespace attune
