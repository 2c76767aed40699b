#include "models/weights.h"

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

// Some rows of one tensor.
struct Piece {
  const StoredTensor* tensor;
  StoredFormat format;
  int64_t first_row, rows;
  DeviceAddress tensor_at;
};

}  // namespace

int64_t ModelWeights::PlannedBytes(const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage) {
  int64_t bytes = 0;
  for (const ExpectedTensor& tensor : FrozenTensors(spec, adapter)) bytes += storage.BytesOfTensor(tensor);
  return bytes;
}

ModelWeights::ModelWeights(Device& device, const ModelFiles& files, const AdapterSpec& adapter, const BaseStorage& storage) {
  const std::vector<ExpectedTensor> frozen = FrozenTensors(files.spec(), adapter);
  DeviceAddress next = device.Allocate(PlannedBytes(files.spec(), adapter, storage), "the base weights");
  std::vector<Piece> pieces;
  for (const ExpectedTensor& expected : frozen) {
    const StoredFormat format = storage.FormatOf(expected);
    const bool is_vector = expected.shape.size() == 1;
    matrices_[expected.name] = DenseMatrix(next, format.dtype, is_vector ? 1 : expected.shape[0], expected.shape.back());
    const StoredTensor* stored = files.Find(expected.name);
    const int64_t rows = RowsOfPiece(*stored, format);
    for (int64_t row = 0; row < stored->rows(); row += rows) {
      pieces.push_back({stored, format, row, std::min(rows, stored->rows() - row), next});
    }
    next = next.Plus(storage.BytesOfTensor(expected));
  }
  InThreads<std::vector<std::byte>>(device.threads(), pieces.size(), [&](size_t i, std::vector<std::byte>& room) {
    const Piece& p = pieces[i];
    UploadPiece(device, files, *p.tensor, p.format, p.first_row, p.rows, p.tensor_at, room);
    if (p.first_row + p.rows == p.tensor->rows()) files.DropPages(*p.tensor);
  });
}

Matrix ModelWeights::Find(const std::string& name) const {
  const auto found = matrices_.find(name);
  return found == matrices_.end() ? Matrix{} : found->second;
}

}  // namespace attune
