#include "models/trained_files.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "quant/gguf_blocks.h"

namespace attune {
namespace {

constexpr int64_t kHashedBytes = int64_t{1} << 22;

std::vector<float> Transposed(const std::vector<float>& values, int64_t rows, int64_t cols) {
  std::vector<float> out(values.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j)
      out[static_cast<size_t>(j * rows + i)] = values[static_cast<size_t>(i * cols + j)];
  }
  return out;
}

std::vector<float> ReadValues(const TrainableTensor& t, const SafetensorsFile& file) {
  const TensorView& view = *file.Find(t.key);
  std::vector<float> values(static_cast<size_t>(t.rows * t.cols));
  DecodeBlocks(view.dtype, view.bytes.data(), t.rows * t.cols, values.data());
  return values;
}

}  // namespace

std::vector<int64_t> FileShape(const TrainableTensor& t) {
  if (t.is_vector()) return {t.cols};
  if (t.is_transposed()) return {t.cols, t.rows};
  return {t.rows, t.cols};
}

std::vector<float> DownloadTrained(Device& device, const Matrix& vector, const TrainableTensor& t) {
  std::vector<float> values(static_cast<size_t>(t.rows * t.cols));
  device.Download(values.data(), TrainableVectors::Of(vector, t).data, static_cast<int64_t>(values.size()) * 4);
  if (t.is_transposed()) values = Transposed(values, t.rows, t.cols);
  return values;
}

void UploadTrained(Device& device, const Matrix& vector, const TrainableTensor& t, std::vector<float> values) {
  if (t.is_transposed()) values = Transposed(values, t.cols, t.rows);
  device.Upload(TrainableVectors::Of(vector, t).data, values.data(), static_cast<int64_t>(values.size()) * 4);
}

void WriteMatrix(Device& device, const Matrix& matrix, const std::string& name, SafetensorsWriter& writer) {
  const int64_t bytes = BytesOf(matrix.dtype, matrix.rows * matrix.cols);
  std::vector<std::byte> piece;
  for (int64_t first = 0; first < bytes; first += kHashedBytes) {
    piece.resize(static_cast<size_t>(std::min(kHashedBytes, bytes - first)));
    device.Download(piece.data(), matrix.data.Plus(first), std::ssize(piece));
    writer.Write(name, piece);
  }
}

void WriteTrainedFile(Device& device, const Matrix& vector, const std::vector<TrainableTensor>& tensors,
                      const std::string& path) {
  std::vector<TensorDeclaration> declarations;
  for (const TrainableTensor& t : tensors) declarations.push_back({t.key, DType::kF32, FileShape(t)});
  SafetensorsWriter writer(path, declarations);
  for (const TensorDeclaration& declared : writer.order()) {
    const auto t = std::find_if(tensors.begin(), tensors.end(), [&](const auto& x) { return x.key == declared.name; });
    if (t->is_transposed()) {  // of an adapter, and small
      const std::vector<float> values = DownloadTrained(device, vector, *t);
      writer.Write(t->key, std::as_bytes(std::span(values)));
    } else {
      WriteMatrix(device, TrainableVectors::Of(vector, *t), t->key, writer);
    }
  }
  writer.Commit();
}

SafetensorsFile OpenTrainedFile(const std::vector<TrainableTensor>& tensors, const std::string& path,
                                OtherTensors others) {
  SafetensorsFile file(path);
  std::set<std::string> known;
  for (const TrainableTensor& t : tensors) {
    known.insert(t.key);
    const TensorView* view = file.Find(t.key);
    if (view == nullptr) {
      BadInput("{}: tensor \"{}\" is missing: this file was made for another base model or configuration", path, t.key);
    }
    if (view->shape != FileShape(t)) {
      BadInput("{}: tensor \"{}\" has shape {}, this base model needs {}: it was made for another base", path, t.key,
               ShapeText(view->shape), ShapeText(FileShape(t)));
    }
    if (!CanDecode(view->dtype)) {
      BadInput("{}: tensor \"{}\" has type {}, expected F32, F16 or BF16", path, t.key, NameOf(view->dtype));
    }
  }
  for (const TensorView& view : file.tensors()) {
    // PEFT also saves the frozen table of an embedding that has an adapter.
    if (known.contains(view.name) || others == OtherTensors::kIgnore || view.name.ends_with(".base_layer.weight"))
      continue;
    BadInput(
        "{}: tensor \"{}\" has no place in this base model: it was made for another base or by a method that is not "
        "supported",
        path, view.name);
  }
  return file;
}

void LoadTrainedFile(Device& device, const Matrix& vector, const std::vector<TrainableTensor>& tensors,
                     const SafetensorsFile& file) {
  for (const TrainableTensor& t : tensors) UploadTrained(device, vector, t, ReadValues(t, file));
}

std::vector<std::vector<float>> ReadTrainedValues(const std::vector<TrainableTensor>& tensors,
                                                  const SafetensorsFile& file) {
  std::vector<std::vector<float>> all;
  for (const TrainableTensor& t : tensors) all.push_back(ReadValues(t, file));
  return all;
}

void LoadTrained(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                 const std::vector<std::vector<float>>& values) {
  for (size_t i = 0; i < tensors.size(); ++i) UploadTrained(device, vectors.value(), tensors[i], values[i]);
}

}  // namespace attune
