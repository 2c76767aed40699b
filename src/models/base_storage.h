// In which type each frozen matrix of a base lies in memory. What is stored in fewer bytes than the compute type stays
// as it is and is decoded inside every product (ops/gemm.h): a GGUF file's blocks, 4-bit and 8-bit checkpoints, 16-bit
// weights where products are f32. What a BitsAndBytesConfig asks for is quantised while it is read; what has 16 or 32
// bits may be held in another such type.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "adapters/bnb_config.h"
#include "models/model_files.h"
#include "quant/stored_matrix.h"

namespace attune {

// What a run says of its base.
struct BaseSettings {
  bool is_qlora = false;
  std::optional<BnbConfig> quantization;  // none: the method's own choice (models/quantized_layers.h)
  bool offload = false;                   // matrices that stay as they are also stay where they are, in the files
  std::optional<DType>
      torch_dtype;  // in which matrices of 16 or 32 bits are held; none: the smaller of stored and computed
};

class BaseStorage {
 public:
  // Everything in the compute type, F32 or BF16.
  explicit BaseStorage(DType compute) : compute_(compute) {}

  // As the files have it. Errors: Error{kBadInput} where it would quantise what is quantised.
  BaseStorage(const ModelFiles& files, DType compute, const BaseSettings& settings = {});

  // Of a model that is only planned, whose matrices are held as F32, F16 or BF16, quantised as `quantization` says,
  // which may be null.
  BaseStorage(const ModelSpec& spec, DType compute, DType held, const BnbConfig* quantization);

  DType compute() const { return compute_; }

  // Vectors (norms, biases) are F32 in any case.
  StoredFormat FormatOf(const ExpectedTensor& tensor) const;

  // Whether the tensor is used where it lies in its file.
  bool IsMapped(const ExpectedTensor& tensor) const { return mapped_.contains(tensor.name); }

  // Bytes of the tensor in memory, in whole cache lines, and how many of them are the file's.
  int64_t BytesOfTensor(const ExpectedTensor& tensor) const;
  int64_t MappedBytesOf(const ExpectedTensor& tensor) const;

 private:
  DType compute_;
  std::unordered_map<std::string, StoredFormat> formats_;  // of those that differ from the compute type
  std::unordered_set<std::string> mapped_;
};

}  // namespace attune
