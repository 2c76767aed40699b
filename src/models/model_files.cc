#include "models/model_files.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "quant/float16.h"
#include "quant/gguf_blocks.h"
#include "quant/int8_rows.h"

namespace attune {
namespace {

// Where Hugging Face's row `row` stands when each head of `head_dim` rows is interleaved.
int64_t StoredRow(int64_t row, int64_t head_dim) {
  const int64_t head = row / head_dim, i = row % head_dim, half = head_dim / 2;
  return head * head_dim + (i < half ? 2 * i : 2 * (i - half) + 1);
}

// Calls visit(stored_row, count, offset_in_rows) for runs of rows that are consecutive in the file.
template <class Visit>
void VisitRuns(const StoredTensor& tensor, int64_t first_row, int64_t rows, Visit visit) {
  if (first_row < 0 || rows < 0 || first_row > tensor.rows() - rows) {
    Failed("rows {} to {} of \"{}\" were asked for; it has {}", first_row, first_row + rows, tensor.name,
           tensor.rows());
  }
  if (tensor.permuted_head_dim == 0) {
    visit(first_row, rows, int64_t{0});
    return;
  }
  for (int64_t i = 0; i < rows; ++i) visit(StoredRow(first_row + i, tensor.permuted_head_dim), int64_t{1}, i);
}

void CheckShape(const std::string& path, const std::string& name, const std::vector<int64_t>& shape,
                const std::vector<int64_t>& expected) {
  if (shape == expected) return;
  BadInput("{}: the tensor \"{}\" has shape {}, but the configuration asks for {}", path, name, ShapeText(shape),
           ShapeText(expected));
}

// Rows of an 8-bit weight, F32 or bfloat16.
template <class T>
void DecodeInt8(const StoredTensor& tensor, int64_t first, int64_t rows, T* out) {
  std::vector<float> scales(static_cast<size_t>(rows));  // in the file at any address
  std::memcpy(scales.data(), tensor.scales.data() + first * 4, static_cast<size_t>(rows) * 4);
  const auto* codes = reinterpret_cast<const int8_t*>(tensor.bytes.data()) + first * tensor.columns();
  DecodeInt8Rows(codes, scales.data(), rows, tensor.columns(), out);
}

}  // namespace

ModelFiles ModelFiles::Open(const std::string& name_or_path) {
  ModelFiles files;
  files.path_ = files.base_name_ = name_or_path;
  if (!FileExists(name_or_path) && !DirectoryExists(name_or_path)) {
    files.path_ = FindInHubCache(name_or_path);
    if (files.path_.empty()) {
      BadInput(
          "{}: there is no such folder or file, nor such a model in the Hugging Face cache; downloading is "
          "not built "
          "yet: fetch it with \"hf download {}\" or give a local path",
          name_or_path, name_or_path);
    }
  }
  if (FileExists(files.path_)) {
    files.OpenGguf();
  } else {
    files.OpenFolder();
  }
  return files;
}

ModelFiles ModelFiles::FromConfig(const std::string& config_path) {
  ModelFiles files;
  files.spec_ = ModelSpec::FromConfig(ParseJsonFile(config_path), config_path);
  files.path_ = ParentOf(config_path);
  files.base_name_ = config_path;
  return files;
}

void ModelFiles::OpenGguf() {
  gguf_ = std::make_unique<GgufFile>(path_);
  spec_ = ModelSpec::FromGguf(*gguf_);
  if (const auto name = gguf_->String("general.name"); name && !name->empty()) base_name_ = *name;
  const bool permuted = gguf_->String("general.architecture") == "llama";
  std::unordered_set<std::string_view> known = {"rope_freqs.weight"};
  const std::vector<ExpectedTensor> expected = ExpectedTensors(spec_);
  for (const ExpectedTensor& tensor : expected) {
    const TensorView* found = gguf_->FindTensor(tensor.gguf_name);
    if (found == nullptr) BadInput("{}: the tensor \"{}\" is missing", path_, tensor.gguf_name);
    AddTensor(tensor, *found, permuted && tensor.is_rotated);
    known.insert(tensor.gguf_name);
  }
  // Nothing in a GGUF file is there for another reader: a tensor we have no use for is mathematics we would
  // leave out.
  for (const TensorView& tensor : gguf_->tensors()) {
    if (!known.contains(tensor.name)) {
      BadInput("{}: the tensor \"{}\" belongs to no model of architecture {} that is supported", path_, tensor.name,
               spec_.model_type);
    }
  }
}

void ModelFiles::OpenFolder() {
  const std::string config_path = path_ + "/config.json";
  if (!FileExists(config_path)) {
    if (FileExists(path_ + "/adapter_config.json")) {
      BadInput("{}: is an adapter, not a model; give it as the adapter beside its base model", path_);
    }
    BadInput("{}: has no config.json, so it is not a model folder", path_);
  }
  const nlohmann::ordered_json config = ParseOrderedJsonFile(config_path);
  spec_ = ModelSpec::FromConfig(nlohmann::json(config), config_path);
  safetensors_ = std::make_unique<SafetensorsModel>(path_);
  SettleTiedHead();
  std::unordered_set<const TensorView*> used;
  for (const ExpectedTensor& tensor : ExpectedTensors(spec_)) {
    const TensorView* found = FindInFolder(tensor.name);
    if (found == nullptr && spec_.tie_word_embeddings && tensor.name == "model.embed_tokens.weight") {
      found = FindInFolder("lm_head.weight");  // a tied pair stored under its other name
    }
    if (found == nullptr) BadInput("{}: the tensor \"{}\" is missing", path_, tensor.name);
    if (!AddQuantized(tensor, *found)) AddTensor(tensor, *found, false);
    for (const TensorView* view : tensors_.at(tensor.name).views) used.insert(view);
  }
  for (const TensorView* tensor : safetensors_->tensors()) {
    if (!used.contains(tensor) && !tensor->name.ends_with(".weight_format")) ignored_.push_back(tensor->name);
  }
  const auto quantization = config.find("quantization_config");
  if (quantization != config.end() && !quantization->is_null()) {
    CheckQuantized(BnbConfig::FromJson(*quantization, config_path + ": quantization_config"));
  }
}

// A weight in one of bitsandbytes' formats; false: it is a plain one.
bool ModelFiles::AddQuantized(const ExpectedTensor& expected, const TensorView& found) {
  if (expected.shape.size() != 2) return false;
  Entry entry;
  StoredTensor& tensor = entry.tensor;
  const auto find = [this](std::string_view name) { return FindInFolder(std::string(name)); };
  tensor.bnb4 = FindBnb4Weight(find, found.name, path_);
  const TensorView* scales = find(found.name.substr(0, found.name.rfind('.')) + ".SCB");
  if (tensor.bnb4) {
    tensor.dtype = DType::kBnb4;
    tensor.shape = tensor.bnb4->state.shape;
    entry.views = tensor.bnb4->parts;
  } else if (scales != nullptr) {
    if (found.dtype != DType::kI8 || scales->dtype != DType::kF32 || found.shape.empty() ||
        static_cast<int64_t>(scales->bytes.size()) != found.shape[0] * 4) {
      BadInput(
          "{}: \"{}\" has the scales \"{}\" beside it, so it must be I8 (rows, columns) with F32 (rows), not {} {} "
          "with {} {}",
          path_, found.name, scales->name, NameOf(found.dtype), ShapeText(found.shape), NameOf(scales->dtype),
          ShapeText(scales->shape));
    }
    tensor.dtype = DType::kInt8Rows;
    tensor.shape = found.shape;
    tensor.scales = scales->bytes;
    entry.views = {&found, scales};
  } else {
    return false;
  }
  if (expected.name == "model.embed_tokens.weight") {
    BadInput(
        "{}: \"{}\" is {}, but rows are looked up in it: only linear layers may be quantised; quantise the model again",
        path_, found.name, NameOf(tensor.dtype));
  }
  CheckShape(path_, found.name, tensor.shape, expected.shape);
  tensor.name = expected.name;
  tensor.bytes = found.bytes;
  tensors_.emplace(expected.name, std::move(entry));
  return true;
}

// What config.json says of quantisation must be so, else a layer's weights are not what its numbers mean.
void ModelFiles::CheckQuantized(const BnbConfig& config) const {
  const DType wanted = config.load_in_4bit ? DType::kBnb4 : DType::kInt8Rows;
  if (!config.load_in_4bit && !config.load_in_8bit) return;
  for (const auto& [name, entry] : tensors_) {
    if (entry.tensor.dtype == wanted) return;
  }
  BadInput(
      "{}: config.json says load_in_{}bit, but none of the tensors is: remove quantization_config, or quantise the "
      "model "
      "again",
      path_, config.load_in_4bit ? 4 : 8);
}

// A checkpoint may be saved from the bare decoder, without the prefix "model.".
const TensorView* ModelFiles::FindInFolder(const std::string& name) const {
  const TensorView* found = safetensors_->Find(name);
  return found == nullptr && name.starts_with("model.") ? safetensors_->Find(name.substr(6)) : found;
}

// A configuration may call the head tied while the file holds both. As transformers 5: equal tensors are
// tied, different ones are not.
void ModelFiles::SettleTiedHead() {
  if (!spec_.tie_word_embeddings) return;
  const TensorView* head = FindInFolder("lm_head.weight");
  const TensorView* embedding = FindInFolder("model.embed_tokens.weight");
  if (head == nullptr || embedding == nullptr) return;
  spec_.tie_word_embeddings = head->dtype == embedding->dtype && head->shape == embedding->shape &&
                              std::memcmp(head->bytes.data(), embedding->bytes.data(), head->bytes.size()) == 0;
  safetensors_->DropPages(*head);
  safetensors_->DropPages(*embedding);
}

void ModelFiles::AddTensor(const ExpectedTensor& expected, const TensorView& found, bool permuted) {
  CheckShape(path_, found.name, found.shape, expected.shape);
  if (!CanDecode(found.dtype) || (found.shape.size() == 1 && LayoutOf(found.dtype).block_elements > 1)) {
    BadInput(
        "{}: the tensor \"{}\" has type {}, which is not supported for it (weights are F32, F16, BF16 or "
        "GGUF blocks)",
        path_, found.name, NameOf(found.dtype));
  }
  StoredTensor stored{expected.name, found.dtype, found.shape, found.bytes, {}, {}, permuted ? spec_.head_dim : 0};
  tensors_.emplace(expected.name, Entry{std::move(stored), {&found}});
}

const StoredTensor* ModelFiles::Find(std::string_view name) const {
  const auto found = tensors_.find(std::string(name));
  return found == tensors_.end() ? nullptr : &found->second.tensor;
}

void ModelFiles::ReadRows(const StoredTensor& tensor, int64_t first_row, int64_t rows, float* out) const {
  const int64_t columns = tensor.columns();
  VisitRuns(tensor, first_row, rows, [&](int64_t row, int64_t count, int64_t offset) {
    if (tensor.bnb4) return tensor.bnb4->DecodeRows(row, count, out + offset * columns);
    if (tensor.dtype == DType::kInt8Rows) return DecodeInt8(tensor, row, count, out + offset * columns);
    DecodeBlocks(tensor.dtype, tensor.bytes.data() + BytesOf(tensor.dtype, row * columns), count * columns,
                 out + offset * columns);
  });
}

void ModelFiles::ReadRowsBf16(const StoredTensor& tensor, int64_t first_row, int64_t rows, uint16_t* out) const {
  const int64_t columns = tensor.columns();
  VisitRuns(tensor, first_row, rows, [&](int64_t row, int64_t count, int64_t offset) {
    uint16_t* target = out + offset * columns;
    if (tensor.bnb4) return tensor.bnb4->DecodeRows(row, count, target);
    if (tensor.dtype == DType::kInt8Rows) return DecodeInt8(tensor, row, count, target);
    const std::byte* source = tensor.bytes.data() + BytesOf(tensor.dtype, row * columns);
    if (tensor.dtype == DType::kBF16) {
      std::memcpy(target, source, static_cast<size_t>(count * columns) * sizeof(uint16_t));
      return;
    }
    // Through a small piece of float32 that stays in the first cache; whole blocks of every type.
    constexpr int64_t kPiece = 1024;
    float piece[kPiece];
    for (int64_t done = 0; done < count * columns; done += kPiece) {
      const int64_t size = std::min(kPiece, count * columns - done);
      DecodeBlocks(tensor.dtype, source + BytesOf(tensor.dtype, done), size, piece);
      for (int64_t i = 0; i < size; ++i) target[done + i] = FloatToBf16(piece[i]);
    }
  });
}

void ModelFiles::CopyRows(const StoredTensor& tensor, int64_t first_row, int64_t rows, std::byte* out) const {
  const int64_t row_bytes = BytesOf(tensor.dtype, tensor.columns());
  VisitRuns(tensor, first_row, rows, [&](int64_t row, int64_t count, int64_t offset) {
    std::memcpy(out + offset * row_bytes, tensor.bytes.data() + row * row_bytes,
                static_cast<size_t>(count * row_bytes));
  });
}

void ModelFiles::Prefetch(const StoredTensor& tensor) const {
  const auto found = tensors_.find(tensor.name);
  if (found == tensors_.end()) return;
  for (const TensorView* view : found->second.views)
    gguf_ != nullptr ? gguf_->Prefetch(*view) : safetensors_->Prefetch(*view);
}

void ModelFiles::DropPages(const StoredTensor& tensor) const {
  const auto found = tensors_.find(tensor.name);
  if (found == tensors_.end()) return;
  for (const TensorView* view : found->second.views)
    gguf_ != nullptr ? gguf_->DropPages(*view) : safetensors_->DropPages(*view);
}

}  // namespace attune
