#include "models/inference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "models/damaged_weights.h"
#include "models/stored_upload.h"

namespace attune {
namespace {

constexpr int64_t kPieceRows = 512;  // rows of a prompt that run together
constexpr int64_t kFewRows = 16;     // up to here a weight is read once, block by block, for all rows

// What LoadFactor works in, for the largest module.
int64_t DoraRoomBytes(const AdapterSpec& spec) {
  int64_t bytes = 0;
  for (const AdapterModule& m : spec.modules) {
    if (!spec.HasDora(m.path)) continue;
    bytes = std::max(
        bytes, 3 * AlignedBytes(m.out * 4) + 2 * AlignedBytes(m.rank * m.out * 4) + AlignedBytes(m.rank * m.rank * 4));
  }
  return bytes;
}

}  // namespace

InferenceModel::InferenceModel(Device& device, const ModelFiles& files, const AdapterValues* adapter, int64_t capacity)
    : device_(device), files_(files), storage_(files, DType::kF32), spec_(files.spec()), capacity_(capacity) {
  RefuseWhatTheDecoderLacks(spec_);
  const int64_t q_cols = spec_.num_attention_heads * spec_.head_dim,
                kv_cols = spec_.num_key_value_heads * spec_.head_dim;
  int64_t rank = 1;
  if (adapter != nullptr) dora_room_ = device.Allocate(DoraRoomBytes(adapter->spec), "the norms of DoRA");
  for (int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
    const std::string path = "model.layers." + std::to_string(l) + ".";
    Block block;
    for (int p = 0; p < 7; ++p) {
      block.projections[p] = Load(path + kProjections[p], adapter);
      rank = std::max(rank, block.projections[p].low_a.rows);
    }
    block.norm1 = LoadNorm(path + "input_layernorm", adapter);
    block.norm2 = LoadNorm(path + "post_attention_layernorm", adapter);
    if (spec_.qk_norm) {
      block.q_norm = LoadNorm(path + "self_attn.q_norm", adapter);
      block.k_norm = LoadNorm(path + "self_attn.k_norm", adapter);
    }
    block.k_cache =
        DenseMatrix(device.Allocate(capacity * kv_cols * 4, "the key cache"), DType::kF32, capacity, kv_cols);
    block.v_cache =
        DenseMatrix(device.Allocate(capacity * kv_cols * 4, "the value cache"), DType::kF32, capacity, kv_cols);
    blocks_.push_back(block);
  }
  embedding_ = LoadEmbedding(adapter);
  final_norm_ = LoadNorm("model.norm", adapter);
  head_ = Load("lm_head", adapter);
  // A tied head stays with the base's embedding, whatever an adapter makes of that one; trained tokens are both's.
  if (!head_.weight && (adapter == nullptr || !adapter->UntiesHead())) head_.weight = embedding_;
  if (!head_.weight) head_.weight = UploadStored("model.embed_tokens.weight");
  rank = std::max(rank, head_.low_a.rows);

  const int64_t rows = std::min(kPieceRows, capacity);
  const auto room = [&](DType dtype, int64_t r, int64_t c) {
    const int64_t stride = SpreadStride(dtype, r, c);
    return Matrix{device.Allocate(BytesOf(dtype, r * stride), "activations"), dtype, r, c, stride};
  };
  ids_ = room(DType::kI32, 1, rows);
  positions_ = room(DType::kI32, 1, rows);
  starts_ = room(DType::kI32, 1, 2);
  x_ = room(DType::kF32, rows, spec_.hidden_size);
  x2_ = room(DType::kF32, rows, spec_.hidden_size);
  h_ = room(DType::kF32, rows, spec_.hidden_size);
  q_ = room(DType::kF32, rows, q_cols);
  attention_ = room(DType::kF32, rows, q_cols);
  gate_ = room(DType::kF32, rows, spec_.intermediate_size);
  up_ = room(DType::kF32, rows, spec_.intermediate_size);
  low_ = room(DType::kF32, rows, rank);
  logits_ = room(DType::kF32, 1, spec_.vocab_size);
  host_logits_.resize(static_cast<size_t>(spec_.vocab_size));

  const RopeTables rope = MakeRopeTables(spec_, capacity);
  cos_ = UploadFloats(rope.cos, capacity, spec_.head_dim / 2);
  sin_ = UploadFloats(rope.sin, capacity, spec_.head_dim / 2);
}

Matrix InferenceModel::UploadFloats(const std::vector<float>& values, int64_t rows, int64_t cols) {
  const Matrix m = DenseMatrix(device_.Allocate(rows * cols * 4, "weights"), DType::kF32, rows, cols);
  device_.Upload(m.data, values.data(), rows * cols * 4);
  return m;
}

// Matrices keep the type they are stored in; vectors become f32.
Matrix InferenceModel::UploadStored(const std::string& name) {
  const StoredTensor* tensor = files_.Find(name);
  if (tensor == nullptr) return {};
  const ExpectedTensor expected{name, "", tensor->shape};
  const StoredFormat format = storage_.FormatOf(expected);
  const bool is_vector = tensor->shape.size() == 1;
  const Matrix m = DenseMatrix(device_.Allocate(storage_.BytesOfTensor(expected), name), format.dtype,
                               is_vector ? 1 : tensor->rows(), tensor->shape.back());
  std::vector<std::byte> room;
  for (int64_t row = 0, step = RowsOfPiece(*tensor, format); row < tensor->rows(); row += step) {
    UploadPiece(device_, files_, *tensor, format, row, std::min(step, tensor->rows() - row), m.data, room);
  }
  files_.DropPages(*tensor);
  return m;
}

InferenceModel::StoredLayer InferenceModel::Load(const std::string& path, const AdapterValues* adapter) {
  StoredLayer layer;
  layer.weight = UploadStored(path + ".weight");
  layer.bias = UploadStored(path + ".bias");
  if (adapter == nullptr) return layer;
  if (const auto* weight = adapter->Replacement(path, false)) {
    const auto rows = static_cast<int64_t>(spec_.vocab_size),
               cols = spec_.hidden_size;  // of a tied head, which has no file
    layer.weight =
        layer.weight ? UploadFloats(*weight, layer.weight.rows, layer.weight.cols) : UploadFloats(*weight, rows, cols);
  }
  if (const auto* bias = adapter->Replacement(path, true)) layer.bias = UploadFloats(*bias, 1, layer.bias.cols);
  if (const auto* added = adapter->Find(path, TrainableTensor::Kind::kLoraBias)) {
    const int64_t out = std::ssize(*added);
    if (!layer.bias) layer.bias = UploadFloats(std::vector<float>(added->size()), 1, out);
    device_.Run(AddBias{layer.bias, UploadFloats(*added, 1, out), adapter->FindModule(path)->scale});
  }
  if (const AdapterModule* m = adapter->FindModule(path)) {
    std::vector<float> b = *adapter->Find(path, TrainableTensor::Kind::kLoraB);
    for (float& value : b) value *= m->scale;
    layer.low_a = UploadFloats(*adapter->Find(path, TrainableTensor::Kind::kLoraA), m->rank, m->in);
    layer.low_b = UploadFloats(b, m->out, m->rank);
    if (adapter->spec.HasDora(path)) layer.factor = LoadFactor(layer, *m, *adapter);
  }
  return layer;
}

// Magnitude over norm, row by row: weights do not change here, so once is enough.
Matrix InferenceModel::LoadFactor(const StoredLayer& layer, const AdapterModule& m, const AdapterValues& adapter) {
  const auto row = [&](int index) {
    return DenseMatrix(dora_room_.Plus(index * AlignedBytes(m.out * 4)), DType::kF32, 1, m.out);
  };
  DeviceAddress next = row(3).data;
  const auto matrix = [&](int64_t rows, int64_t cols) {
    const Matrix taken = DenseMatrix(next, DType::kF32, rows, cols);
    next = next.Plus(AlignedBytes(rows * cols * 4));
    return taken;
  };
  DoraFactors factors;
  factors.norm = row(0);
  factors.squares = row(1);
  factors.magnitude = row(2);
  factors.factor = UploadFloats(*adapter.Find(m.path, TrainableTensor::Kind::kMagnitude), 1, m.out);
  factors.cross = matrix(m.rank, m.out);
  factors.gram = matrix(m.rank, m.rank);
  factors.b_transposed = matrix(m.rank, m.out);
  const std::vector<float>& b = *adapter.Find(m.path, TrainableTensor::Kind::kLoraB);
  std::vector<float> transposed(b.size());
  for (int64_t i = 0; i < m.out; ++i) {
    for (int64_t r = 0; r < m.rank; ++r)
      transposed[static_cast<size_t>(r * m.out + i)] = b[static_cast<size_t>(i * m.rank + r)];
  }
  device_.Upload(factors.b_transposed.data, transposed.data(), static_cast<int64_t>(transposed.size()) * 4);
  factors.scale = m.scale;
  device_.Run(RowSquares{factors.squares, layer.weight});
  device_.Run(StoredLinear{factors.cross, layer.low_a, layer.weight, {}});
  device_.Run(StoredLinear{factors.gram, layer.low_a, layer.low_a, {}});
  device_.Run(Copy{factors.magnitude, factors.factor, {}});
  device_.Run(factors);
  return factors.factor;
}

Matrix InferenceModel::LoadNorm(const std::string& path, const AdapterValues* adapter) {
  const auto* values = adapter != nullptr ? adapter->Replacement(path, false) : nullptr;
  return values != nullptr ? UploadFloats(*values, 1, static_cast<int64_t>(values->size()))
                           : UploadStored(path + ".weight");
}

// The table that tokens are looked up in, with what an adapter does to it.
Matrix InferenceModel::LoadEmbedding(const AdapterValues* adapter) {
  const std::string path = "model.embed_tokens";
  if (adapter == nullptr || (!adapter->UntiesHead() && adapter->spec.tokens.ids.empty()))
    return UploadStored(path + ".weight");
  if (const auto* values = adapter->Replacement(path, false))
    return UploadFloats(*values, spec_.vocab_size, spec_.hidden_size);
  const StoredTensor& stored = *files_.Find(path + ".weight");
  std::vector<float> values(static_cast<size_t>(stored.rows() * stored.columns()));
  files_.ReadRows(stored, 0, stored.rows(), values.data());
  files_.DropPages(stored);
  if (const AdapterModule* m = adapter->FindModule(path)) adapter->Merge(*m, values);
  adapter->PutTokenRows(values);
  return UploadFloats(values, spec_.vocab_size, spec_.hidden_size);
}

void InferenceModel::RunLinear(const StoredLayer& layer, const Matrix& x, const Matrix& y, const Matrix& start) {
  const Matrix first = layer.factor ? Matrix{} : start;
  if (x.rows <= kFewRows) {
    device_.Run(StoredLinear{y, x, layer.weight, first});
  } else {
    Gemm product;
    product.c = y;
    product.a = x;
    product.b = layer.weight;
    product.b_transposed = true;
    product.start = first;
    device_.Run(product);
  }
  if (layer.bias && !layer.factor) device_.Run(AddBias{y, layer.bias});
  if (layer.low_a) {
    const Matrix low = DenseMatrix(low_.data, DType::kF32, x.rows, layer.low_a.rows);
    device_.Run(StoredLinear{low, x, layer.low_a, {}});
    device_.Run(StoredLinear{y, low, layer.low_b, y});
  }
  if (layer.factor) device_.Run(ScaleColumns{y, y, layer.factor, layer.bias, start});
}

// After the last block only the last row is looked at, so only keys and values are made of the others there.
void InferenceModel::RunBlock(int64_t layer, int64_t m) {
  const Block& b = blocks_[static_cast<size_t>(layer)];
  const auto eps = static_cast<float>(spec_.rms_norm_eps);
  const int64_t first = layer + 1 == spec_.num_hidden_layers ? m - 1 : 0, rows = m - first;
  const Matrix x = x_.Rows(first, rows), x2 = x2_.Rows(0, rows), h = h_.Rows(0, m), q = q_.Rows(0, rows);
  const Matrix k = b.k_cache.Rows(length_, m), v = b.v_cache.Rows(length_, m);
  device_.Run(RmsNorm{h, x_.Rows(0, m), b.norm1, {}, {}, eps});
  RunLinear(b.projections[0], h.Rows(first, rows), q, {});
  RunLinear(b.projections[1], h, k, {});
  RunLinear(b.projections[2], h, v, {});
  if (spec_.qk_norm) {
    device_.Run(HeadNorm{q, q, b.q_norm, {}, eps});
    device_.Run(HeadNorm{k, k, b.k_norm, {}, eps});
  }
  if (spec_.uses_rope[static_cast<size_t>(layer)]) {
    device_.Run(Rope{q, positions_.Columns(first, rows), cos_, sin_, spec_.head_dim, false});
    device_.Run(Rope{k, positions_.Columns(0, m), cos_, sin_, spec_.head_dim, false});
  }
  const Matrix attended = attention_.Rows(0, rows);
  const AttentionShape shape = {spec_.num_attention_heads, spec_.num_key_value_heads, spec_.head_dim,
                                spec_.sliding_window[static_cast<size_t>(layer)],
                                1.0f / std::sqrt(static_cast<float>(spec_.head_dim))};
  if (rows <= kFewRows) {
    device_.Run(AttentionCached{attended, q, b.k_cache, b.v_cache, length_ + first, shape});
  } else {
    device_.Run(Attention{attended, {}, q, b.k_cache, b.v_cache, starts_, shape, length_});
  }
  RunLinear(b.projections[3], attended, x2, x);
  const Matrix normed = h_.Rows(0, rows);
  device_.Run(RmsNorm{normed, x2, b.norm2, {}, {}, eps});
  const Matrix gate = gate_.Rows(0, rows), up = up_.Rows(0, rows);
  RunLinear(b.projections[4], normed, gate, {});
  RunLinear(b.projections[5], normed, up, {});
  device_.Run(SwiGlu{gate, gate, up});
  RunLinear(b.projections[6], gate, x, x2);
}

void InferenceModel::Piece(std::span<const int32_t> ids) {
  const auto m = static_cast<int64_t>(ids.size());
  std::vector<int32_t> positions(ids.size());
  std::iota(positions.begin(), positions.end(), static_cast<int32_t>(length_));
  device_.Upload(ids_.data, ids.data(), m * 4);
  device_.Upload(positions_.data, positions.data(), m * 4);
  const int32_t starts[2] = {0, static_cast<int32_t>(length_ + m)};
  device_.Upload(starts_.data, starts, sizeof(starts));
  device_.Run(Embedding{x_.Rows(0, m), embedding_, ids_.Columns(0, m)});
  for (int64_t l = 0; l < spec_.num_hidden_layers; ++l) RunBlock(l, m);
  length_ += m;
}

std::span<const float> InferenceModel::Append(std::span<const int32_t> ids) {
  if (length_ + static_cast<int64_t>(ids.size()) > capacity_) {
    BadInput("{} tokens do not fit the context of {}", length_ + static_cast<int64_t>(ids.size()), capacity_);
  }
  for (const int32_t id : ids) {
    if (id < 0 || id >= spec_.vocab_size)
      BadInput("token id {} is outside the model's vocabulary of {}", id, spec_.vocab_size);
  }
  int64_t last = 0;
  for (size_t first = 0; first < ids.size(); first += kPieceRows) {
    const auto piece = ids.subspan(first, std::min<size_t>(kPieceRows, ids.size() - first));
    Piece(piece);
    last = static_cast<int64_t>(piece.size()) - 1;
  }
  const Matrix h = h_.Rows(0, 1);
  device_.Run(RmsNorm{h, x_.Rows(last, 1), final_norm_, {}, {}, static_cast<float>(spec_.rms_norm_eps)});
  RunLinear(head_, h, logits_, {});
  device_.Download(host_logits_.data(), logits_.data, spec_.vocab_size * 4);
  if (!AllFinite(host_logits_)) {
    RefuseNonFinite(files_.path(), fmt::format("what it predicts after {} tokens", length_));
  }
  return host_logits_;
}

}  // namespace attune
