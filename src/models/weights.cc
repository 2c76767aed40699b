#include "models/weights.h"

#include <algorithm>
#include <mutex>

#include "base/threads.h"

namespace attune {
namespace {

constexpr int64_t kPieceElements = int64_t{1} << 18;  // decoded at a time: stays in the cache until it is uploaded

// A vector (norm, bias) is one row of f32; a matrix has the compute dtype.
Matrix Layout(const ExpectedTensor& tensor, DType compute) {
  if (tensor.shape.size() == 1) return DenseMatrix({}, DType::kF32, 1, tensor.shape[0]);
  return DenseMatrix({}, compute, tensor.shape[0], tensor.shape[1]);
}

int64_t BytesInMemory(const Matrix& m) { return AlignedBytes(BytesOf(m.dtype, m.rows * m.cols)); }

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
  int64_t first_row, rows;
  DeviceAddress to;
  DType dtype;
};

void ReadPiece(Device& device, const ModelFiles& files, const Piece& piece, std::vector<float>& room, std::mutex& mutex) {
  const int64_t elements = piece.rows * piece.tensor->columns();
  room.resize(static_cast<size_t>(elements));
  if (piece.dtype == DType::kBF16) {
    files.ReadRowsBf16(*piece.tensor, piece.first_row, piece.rows, reinterpret_cast<uint16_t*>(room.data()));
  } else {
    files.ReadRows(*piece.tensor, piece.first_row, piece.rows, room.data());
  }
  const std::lock_guard lock(mutex);  // a guarded device opens its memory to one copy at a time
  device.Upload(piece.to, room.data(), BytesOf(piece.dtype, elements));
}

}  // namespace

int64_t ModelWeights::PlannedBytes(const ModelSpec& spec, const AdapterSpec& adapter, DType compute) {
  int64_t bytes = 0;
  for (const ExpectedTensor& tensor : FrozenTensors(spec, adapter)) bytes += BytesInMemory(Layout(tensor, compute));
  return bytes;
}

ModelWeights::ModelWeights(Device& device, const ModelFiles& files, const AdapterSpec& adapter, DType compute)
    : compute_(compute) {
  const std::vector<ExpectedTensor> frozen = FrozenTensors(files.spec(), adapter);
  bytes_ = PlannedBytes(files.spec(), adapter, compute);
  DeviceAddress next = device.Allocate(bytes_, "the base weights");
  std::vector<Piece> pieces;
  for (const ExpectedTensor& expected : frozen) {
    Matrix matrix = Layout(expected, compute);
    matrix.data = next;
    next = next.Plus(BytesInMemory(matrix));
    matrices_[expected.name] = matrix;
    const StoredTensor* stored = files.Find(expected.name);
    // A permuted tensor is read whole heads at a time.
    const int64_t unit = std::max<int64_t>(1, stored->permuted_head_dim);
    const int64_t rows = std::max(unit, kPieceElements / stored->columns() / unit * unit);
    for (int64_t row = 0; row < stored->rows(); row += rows) {
      const int64_t count = std::min(rows, stored->rows() - row);
      pieces.push_back({stored, row, count, matrix.data.Plus(BytesOf(matrix.dtype, row * stored->columns())), matrix.dtype});
    }
  }
  std::mutex mutex;
  InThreads<std::vector<float>>(device.threads(), pieces.size(), [&](size_t i, std::vector<float>& room) {
    ReadPiece(device, files, pieces[i], room, mutex);
  });
  for (const ExpectedTensor& expected : frozen) files.DropPages(*files.Find(expected.name));
}

Matrix ModelWeights::Find(const std::string& name) const {
  const auto found = matrices_.find(name);
  return found == matrices_.end() ? Matrix{} : found->second;
}

}  // namespace attune
