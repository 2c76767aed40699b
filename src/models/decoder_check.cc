// Where numbers first went out of range: asked once a step has failed, so it may take its time.
#include "models/decoder.h"

namespace attune {

bool Decoder::HasNonFinite(const Matrix& x) {
  const Matrix answer = At(plan_.check, 1);
  int64_t index = -1;
  for (int64_t r = 0; r < x.rows && index < 0; ++r) {
    device_.Run(FindNonFinite{x.Rows(r, 1), answer});
    device_.Download(&index, answer.data, sizeof(index));
  }
  return index >= 0;
}

std::string Decoder::FirstNonFinite(const PackedBatch& batch) {
  Upload(batch);
  ForwardEmbedding();
  if (HasNonFinite(LayerInput(0))) return "model.embed_tokens";
  for (int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
    const std::string path = "model.layers." + std::to_string(l);
    const Matrix x2 = At(plan_.layers[static_cast<size_t>(l)].x2, tokens_), next = LayerInput(l + 1);
    ForwardAttention(l, LayerInput(l), x2);
    if (HasNonFinite(x2)) return path + ".self_attn";
    ForwardMlp(l, x2, next, false);
    if (HasNonFinite(next)) return path + ".mlp";
  }
  return "";
}

std::string Decoder::FirstNonFiniteGradient() {
  std::string first;
  int64_t best = -2;  // the layer: the head and the last norm come before layer L - 1 on the way back
  for (const TrainableTensor& tensor : trainables_) {
    const std::string prefix = "model.layers.";
    int64_t layer = spec_.num_hidden_layers;
    if (tensor.module.starts_with(prefix)) layer = std::stoll(tensor.module.substr(prefix.size()));
    if (tensor.module == "model.embed_tokens") layer = -1;
    if (layer <= best || !HasNonFinite(TrainableVectors::Of(vectors_->gradient(), tensor))) continue;
    best = layer;
    first = tensor.key;
  }
  return first;
}

}  // namespace attune
