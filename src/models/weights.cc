#include "models/weights.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/threads.h"
#include "models/stored_upload.h"

namespace attune {
namespace {

std::vector<ExpectedTensor> FrozenTensors(const ModelSpec& spec, const AdapterSpec& adapter) {
  std::vector<ExpectedTensor> frozen = ExpectedTensors(spec);
  std::erase_if(frozen, [&](const ExpectedTensor& tensor) {
    // An adapter's copy of a tied embedding leaves the head with the frozen one.
    const bool is_head = tensor.name == "model.embed_tokens.weight" && spec.tie_word_embeddings && !adapter.whole_model;
    return !is_head && adapter.Trains(tensor.name);
  });
  return frozen;
}

// The format of each tensor: what an adapter changes in memory, weights of its modules or rows of the embedding, is
// held as it is computed with; where weights are quantised while they are read, what is left of them is quantised.
class Formats {
 public:
  Formats(const BaseStorage& storage, const AdapterSpec& adapter) : storage_(storage), computed_(storage.compute()) {
    if (!adapter.tokens.ids.empty()) changed_.insert("model.embed_tokens.weight");
    if (!adapter.changes_base) return;
    for (const AdapterModule& m : adapter.modules) changed_.insert(m.path + ".weight");
  }
  const BaseStorage& For(const ExpectedTensor& tensor) const {
    const DType held = storage_.FormatOf(tensor).dtype;
    const bool is_quantized = held == DType::kBnb4 || held == DType::kInt8Rows;
    return changed_.contains(tensor.name) && !is_quantized ? computed_ : storage_;
  }

 private:
  const BaseStorage& storage_;
  BaseStorage computed_;
  std::set<std::string> changed_;
};

// Some rows of one tensor.
struct Piece {
  const StoredTensor* tensor;
  StoredFormat format;
  int64_t first_row, rows;
  DeviceAddress tensor_at;
};

// -1: the embedding; `layers`: the head and what else has no layer.
int64_t LayerOf(const std::string& name, int64_t layers) {
  const std::string prefix = "model.layers.";
  if (name.starts_with(prefix)) return std::stoll(name.substr(prefix.size()));
  return name == "model.embed_tokens.weight" ? -1 : layers;
}

Matrix MatrixOf(const ExpectedTensor& tensor, const StoredFormat& format, DeviceAddress at) {
  return DenseMatrix(at, format.dtype, tensor.shape.size() == 1 ? 1 : tensor.shape[0], tensor.shape.back());
}

int64_t AllocatedBytes(const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage) {
  const Formats formats(storage, adapter);
  int64_t bytes = 0;
  for (const ExpectedTensor& tensor : FrozenTensors(spec, adapter)) {
    const BaseStorage& its = formats.For(tensor);
    bytes += its.BytesOfTensor(tensor) - its.MappedBytesOf(tensor);
  }
  return bytes;
}

// Bytes used in their files, by layer.
std::map<int64_t, int64_t> MappedBytesByLayer(const ModelSpec& spec, const AdapterSpec& adapter,
                                              const BaseStorage& storage) {
  const Formats formats(storage, adapter);
  std::map<int64_t, int64_t> bytes;
  for (const ExpectedTensor& tensor : FrozenTensors(spec, adapter)) {
    bytes[LayerOf(tensor.name, spec.num_hidden_layers)] += formats.For(tensor).MappedBytesOf(tensor);
  }
  return bytes;
}

}  // namespace

int64_t ModelWeights::PlannedBytes(const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage) {
  int64_t largest = 0;
  for (const auto& [layer, bytes] : MappedBytesByLayer(spec, adapter, storage)) largest = std::max(largest, bytes);
  return AllocatedBytes(spec, adapter, storage) + largest;
}

int64_t ModelWeights::BytesHeldAs(DType type, const ModelSpec& spec, const AdapterSpec& adapter,
                                  const BaseStorage& storage) {
  const Formats formats(storage, adapter);
  int64_t bytes = 0;
  for (const ExpectedTensor& tensor : FrozenTensors(spec, adapter)) {
    const BaseStorage& its = formats.For(tensor);
    if (tensor.shape.size() == 2 && its.FormatOf(tensor).dtype == type) bytes += its.BytesOfTensor(tensor);
  }
  return bytes;
}

int64_t ModelWeights::MappedBytes(const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage) {
  int64_t total = 0;
  for (const auto& [layer, bytes] : MappedBytesByLayer(spec, adapter, storage)) total += bytes;
  return total;
}

void ModelWeights::Prefetch(int64_t layer) const {
  const auto found = mapped_.find(layer);
  if (found == mapped_.end()) return;
  for (const StoredTensor* tensor : found->second) files_->Prefetch(*tensor);
}

void ModelWeights::Release(int64_t layer) const {
  const auto found = mapped_.find(layer);
  if (found == mapped_.end()) return;
  for (const StoredTensor* tensor : found->second) files_->DropPages(*tensor);
}

ModelWeights::ModelWeights(Device& device, const ModelFiles& files, const AdapterSpec& adapter,
                           const BaseStorage& storage)
    : files_(&files) {
  const std::vector<ExpectedTensor> frozen = FrozenTensors(files.spec(), adapter);
  DeviceAddress next = device.Allocate(AllocatedBytes(files.spec(), adapter, storage), "the base weights");
  const Formats formats(storage, adapter);
  std::vector<Piece> pieces;
  for (const ExpectedTensor& expected : frozen) {
    const BaseStorage& its = formats.For(expected);
    const StoredFormat format = its.FormatOf(expected);
    Matrix& matrix = held_.emplace(expected.name, Held{MatrixOf(expected, format, next), format}).first->second.matrix;
    const StoredTensor* stored = files.Find(expected.name);
    const DeviceAddress place = next;
    next = next.Plus(its.BytesOfTensor(expected) - its.MappedBytesOf(expected));
    if (its.IsMapped(expected)) {
      matrix.data = AdoptStored(device, *stored, format, place);
      mapped_[LayerOf(expected.name, files.spec().num_hidden_layers)].push_back(stored);
      continue;
    }
    const int64_t rows = RowsOfPiece(*stored, format);
    for (int64_t row = 0; row < stored->rows(); row += rows) {
      pieces.push_back({stored, format, row, std::min(rows, stored->rows() - row), place});
    }
  }
  InThreads<std::vector<std::byte>>(device.threads(), pieces.size(), [&](size_t i, std::vector<std::byte>& room) {
    const Piece& p = pieces[i];
    UploadPiece(device, files, *p.tensor, p.format, p.first_row, p.rows, p.tensor_at, room);
    if (p.first_row + p.rows == p.tensor->rows()) files.DropPages(*p.tensor);
  });
  // Another thread may have been reading an earlier piece of it then.
  for (const Piece& p : pieces) files.DropPages(*p.tensor);
}

ModelWeights::ModelWeights(Device& device, const ModelSpec& spec, const AdapterSpec& adapter,
                           const BaseStorage& storage) {
  const Formats formats(storage, adapter);
  for (const ExpectedTensor& expected : FrozenTensors(spec, adapter)) {
    const BaseStorage& its = formats.For(expected);
    const StoredFormat format = its.FormatOf(expected);
    held_[expected.name] = {MatrixOf(expected, format, device.Allocate(its.BytesOfTensor(expected), expected.name)),
                            format};
  }
}

Matrix ModelWeights::Find(const std::string& name) const {
  const auto found = held_.find(name);
  return found == held_.end() ? Matrix{} : found->second.matrix;
}

void ModelWeights::Replace(Device& device, const std::string& name, std::span<const float> values,
                           std::vector<std::byte>& room) const {
  const Held& held = held_.at(name);
  const int64_t rows = held.matrix.rows;
  const StoredTensor plain{name, DType::kF32, {rows, held.matrix.cols}, std::as_bytes(values), {}, {}, 0};
  UploadPiece(device, *files_, plain, held.format, 0, rows, held.matrix.data, room);
}

}  // namespace attune
