#include "models/base_storage.h"

#include "base/error.h"
#include "models/quantized_layers.h"
#include "tensor/matrix.h"

namespace attune {
namespace {

bool IsPlain(DType type) { return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16; }

// Of values that are rounded to `source` first.
StoredFormat FormatOfConfig(const BnbConfig& config, DType source) {
  if (config.load_in_8bit) return {.dtype = DType::kInt8Rows, .source = source};
  const Bnb4Settings settings = config.Settings();
  return {DType::kBnb4, settings.block_size, settings.nested, NestedScales::kBlockSize, settings.type, source};
}

// As stored, without what a configuration quantises.
StoredFormat FormatInFiles(const StoredTensor& tensor, DType compute, const std::optional<DType>& torch_dtype) {
  if (torch_dtype && IsPlain(tensor.dtype)) return {*torch_dtype};
  if (tensor.bnb4) {
    StoredFormat format{DType::kBnb4, tensor.bnb4->state.block_size, tensor.bnb4->state.nested.has_value()};
    if (format.nested) format.nested_block_size = tensor.bnb4->state.nested->block_size;
    return format;
  }
  const int64_t elements = tensor.rows() * tensor.columns();
  const bool is_smaller =
      tensor.dtype == DType::kInt8Rows || BytesOf(tensor.dtype, elements) < BytesOf(compute, elements);
  return {is_smaller ? tensor.dtype : compute};
}

// Bytes of codes may lie anywhere, values only where a processor reads them whole.
bool StaysInFile(const StoredTensor& tensor, const StoredFormat& format) {
  const bool is_aligned = HeaderBytes(format) > 0 || reinterpret_cast<uintptr_t>(tensor.bytes.data()) % 4 == 0;
  return tensor.dtype == format.dtype && tensor.permuted_head_dim == 0 && is_aligned;
}

}  // namespace

BaseStorage::BaseStorage(const ModelFiles& files, DType compute, const BaseSettings& settings) : compute_(compute) {
  std::optional<BnbConfig> config;
  if (settings.is_qlora) config = QuantizationOf(settings.quantization, files);
  std::set<std::string> quantized;
  if (config) quantized = QuantizedLayers(files.spec(), *config);
  for (const ExpectedTensor& expected : ExpectedTensors(files.spec())) {
    const StoredTensor* stored = files.Find(expected.name);
    if (stored == nullptr || expected.shape.size() == 1) continue;
    StoredFormat format = FormatInFiles(*stored, compute, settings.torch_dtype);
    if (quantized.contains(expected.name)) {
      const StoredFormat asked = FormatOfConfig(*config, settings.torch_dtype.value_or(DType::kF32));
      const bool is_so = stored->dtype == asked.dtype;  // its own settings count
      if (!is_so && !IsPlain(stored->dtype)) {
        BadInput("{}: \"{}\" is quantised already ({}): remove {}, and it is trained on as it is", files.path(),
                 expected.name, NameOf(stored->dtype), config->load_in_8bit ? "load_in_8bit" : "load_in_4bit");
      }
      if (!is_so) format = asked;
    }
    if (format.dtype != compute) formats_[expected.name] = format;
    if (settings.offload && StaysInFile(*stored, format)) mapped_.insert(expected.name);
  }
}

BaseStorage::BaseStorage(const ModelSpec& spec, DType compute, DType held, const BnbConfig* quantization)
    : compute_(compute) {
  for (const ExpectedTensor& t : ExpectedTensors(spec)) {
    if (t.shape.size() == 2 && held != compute) formats_[t.name] = {held};
  }
  if (quantization == nullptr) return;
  for (const std::string& name : QuantizedLayers(spec, *quantization))
    formats_[name] = FormatOfConfig(*quantization, held);
}

StoredFormat BaseStorage::FormatOf(const ExpectedTensor& tensor) const {
  if (tensor.shape.size() == 1) return {DType::kF32};
  const auto found = formats_.find(tensor.name);
  return found == formats_.end() ? StoredFormat{compute_} : found->second;
}

int64_t BaseStorage::MappedBytesOf(const ExpectedTensor& tensor) const {
  return IsMapped(tensor) ? BytesOfTensor(tensor) - HeaderBytes(FormatOf(tensor)) : 0;
}

int64_t BaseStorage::BytesOfTensor(const ExpectedTensor& tensor) const {
  const int64_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape[0], cols = tensor.shape.back();
  return AlignedBytes(StoredBytes(FormatOf(tensor), rows, cols));
}

}  // namespace attune
