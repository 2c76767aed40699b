// SafetensorsWriter: the header first, then bytes as they come.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/safetensors.h"

namespace attune {
namespace {

// The reference writer sorts by its enumeration of types, widest last, downwards.
int WriterRank(DType type) {
  switch (type) {
    case DType::kBool:
      return 0;
    case DType::kU8:
      return 1;
    case DType::kI8:
      return 2;
    case DType::kI16:
      return 3;
    case DType::kF16:
      return 4;
    case DType::kBF16:
      return 5;
    case DType::kI32:
      return 6;
    case DType::kF32:
      return 7;
    case DType::kF64:
      return 8;
    case DType::kI64:
      return 9;
    default:
      return -1;  // a block type: safetensors has no name for it
  }
}

std::string Quoted(const std::string& text, const std::string& path) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    Failed("{}: a tensor name or metadata text is not UTF-8", path);
  }
}

}  // namespace

std::string SafetensorsHeaderText(const std::vector<TensorDeclaration>& tensors, const Metadata& metadata,
                                  const std::string& path) {
  std::string text = "{";
  const auto separate = [&] {
    if (text.size() > 1) text += ',';
  };
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (size_t i = 0; i < metadata.size(); ++i) {
      if (i > 0) text += ',';
      text += Quoted(metadata[i].first, path) + ':' + Quoted(metadata[i].second, path);
    }
    text += '}';
  }
  int64_t begin = 0;
  for (const TensorDeclaration& tensor : tensors) {
    const std::optional<int64_t> size = ByteCount(tensor.dtype, tensor.shape);
    if (!size || WriterRank(tensor.dtype) < 0) {
      Failed("{}: tensor \"{}\" of type {} and shape {} cannot be stored", path, tensor.name, NameOf(tensor.dtype),
             ShapeText(tensor.shape));
    }
    separate();
    text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", Quoted(tensor.name, path),
                        NameOf(tensor.dtype), fmt::join(tensor.shape, ","), begin, begin + *size);
    begin += *size;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void SortForSafetensors(std::vector<TensorDeclaration>* tensors) {
  std::sort(tensors->begin(), tensors->end(), [](const TensorDeclaration& a, const TensorDeclaration& b) {
    const int rank_a = WriterRank(a.dtype), rank_b = WriterRank(b.dtype);
    return rank_a != rank_b ? rank_a > rank_b : a.name < b.name;
  });
}

SafetensorsWriter::SafetensorsWriter(const std::string& path, std::vector<TensorDeclaration> tensors,
                                     const Metadata& metadata)
    : file_(path), path_(path), order_(std::move(tensors)) {
  SortForSafetensors(&order_);
  const std::string header = SafetensorsHeaderText(order_, metadata, path);
  const uint64_t length = header.size();
  file_.Write(&length, sizeof length);
  file_.Write(header);
  if (!order_.empty()) left_ = *ByteCount(order_[0].dtype, order_[0].shape);
  SkipFinished();
}

// Moves to the next tensor that has bytes to come.
void SafetensorsWriter::SkipFinished() {
  while (current_ < order_.size() && left_ == 0) {
    if (++current_ < order_.size()) left_ = *ByteCount(order_[current_].dtype, order_[current_].shape);
  }
}

void SafetensorsWriter::Write(std::string_view name, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  if (current_ >= order_.size() || order_[current_].name != name) {
    Failed("{}: tensor \"{}\" was written where \"{}\" is due", path_, name,
           current_ < order_.size() ? order_[current_].name : "the end");
  }
  if (bytes.size() > static_cast<size_t>(left_)) {
    Failed("{}: tensor \"{}\" was given {} bytes more than its shape takes", path_, name,
           bytes.size() - static_cast<size_t>(left_));
  }
  file_.Write(bytes.data(), bytes.size());
  left_ -= static_cast<int64_t>(bytes.size());
  SkipFinished();
}

void SafetensorsWriter::Commit() {
  if (current_ < order_.size()) {
    Failed("{}: tensor \"{}\" lacks {} bytes", path_, order_[current_].name, left_);
  }
  file_.Commit();
}

}  // namespace attune
