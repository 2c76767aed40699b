#include "models/base_storage.h"

#include "base/error.h"
#include "models/quantized_layers.h"
#include "tensor/matrix.h"

namespace attune {
namespace {

StoredFormat FormatOfConfig(const BnbConfig& config) {
  if (config.load_in_8bit) return {DType::kInt8Rows};
  const Bnb4Settings settings = config.Settings();
  return {DType::kBnb4, settings.block_size, settings.nested, NestedScales::kBlockSize, settings.type};
}

// As stored, without what a configuration asks for.
StoredFormat FormatInFiles(const StoredTensor& tensor, DType compute) {
  if (tensor.bnb4) {
    StoredFormat format{DType::kBnb4, tensor.bnb4->state.block_size, tensor.bnb4->state.nested.has_value()};
    if (format.nested) format.nested_block_size = tensor.bnb4->state.nested->block_size;
    return format;
  }
  const int64_t elements = tensor.rows() * tensor.columns();
  const bool is_smaller = tensor.dtype == DType::kInt8Rows || BytesOf(tensor.dtype, elements) < BytesOf(compute, elements);
  return {is_smaller ? tensor.dtype : compute};
}

bool StaysInFile(const StoredTensor& tensor, const StoredFormat& format) {
  return tensor.dtype == format.dtype && tensor.dtype != DType::kBnb4 && tensor.dtype != DType::kInt8Rows &&
         tensor.permuted_head_dim == 0 && reinterpret_cast<uintptr_t>(tensor.bytes.data()) % 4 == 0;
}

}  // namespace

BaseStorage::BaseStorage(const ModelFiles& files, DType compute, const BnbConfig* quantization, bool offload)
    : compute_(compute) {
  std::set<std::string> quantized;
  if (quantization != nullptr) quantized = QuantizedLayers(files.spec(), *quantization);
  for (const ExpectedTensor& expected : ExpectedTensors(files.spec())) {
    const StoredTensor* stored = files.Find(expected.name);
    if (stored == nullptr || expected.shape.size() == 1) continue;
    StoredFormat format = FormatInFiles(*stored, compute);
    const bool is_so = quantization != nullptr && stored->dtype == FormatOfConfig(*quantization).dtype;  // its own settings count
    if (quantized.contains(expected.name) && !is_so) {
      if (stored->dtype != DType::kF32 && stored->dtype != DType::kF16 && stored->dtype != DType::kBF16) {
        BadInput("{}: \"{}\" is quantised already ({}): remove {}, and it is trained on as it is", files.path(), expected.name,
                 NameOf(stored->dtype), quantization->load_in_8bit ? "load_in_8bit" : "load_in_4bit");
      }
      format = FormatOfConfig(*quantization);
    }
    if (format.dtype != compute) formats_[expected.name] = format;
    if (offload && StaysInFile(*stored, format)) mapped_.insert(expected.name);
  }
}

BaseStorage BaseStorage::OfRun(const ModelFiles& files, DType compute, bool is_qlora, const std::optional<BnbConfig>& given,
                               bool offload) {
  const std::optional<BnbConfig> quantization = is_qlora ? QuantizationOf(given, files) : std::nullopt;
  return BaseStorage(files, compute, quantization ? &*quantization : nullptr, offload);
}

BaseStorage::BaseStorage(const ModelSpec& spec, DType compute, DType stored, const BnbConfig* quantization) : compute_(compute) {
  if (BytesOf(stored, 1) < BytesOf(compute, 1)) {
    for (const ExpectedTensor& t : ExpectedTensors(spec)) {
      if (t.shape.size() == 2) formats_[t.name] = {stored};
    }
  }
  if (quantization == nullptr) return;
  for (const std::string& name : QuantizedLayers(spec, *quantization)) formats_[name] = FormatOfConfig(*quantization);
}

StoredFormat BaseStorage::FormatOf(const ExpectedTensor& tensor) const {
  if (tensor.shape.size() == 1) return {DType::kF32};
  const auto found = formats_.find(tensor.name);
  return found == formats_.end() ? StoredFormat{compute_} : found->second;
}

int64_t BaseStorage::BytesOfTensor(const ExpectedTensor& tensor) const {
  const int64_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape[0], cols = tensor.shape.back();
  return AlignedBytes(StoredBytes(FormatOf(tensor), rows, cols));
}

}  // namespace attune
