// A model as files: a Hugging Face folder or a GGUF file behind one set of tensor names, with everything
// checked when it is opened. The engine asks for rows of weights and need not know where or how they are
// stored.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "adapters/bnb_config.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "models/model_spec.h"
#include "quant/bnb_checkpoint.h"

namespace attune {

// One weight as stored. `bytes` lies in a file that ModelFiles keeps mapped.
struct StoredTensor {
  std::string name;  // Hugging Face's
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // (out, in) or (out)
  std::span<const std::byte> bytes;
  std::optional<Bnb4Weight> bnb4;  // dtype kBnb4: of a 4-bit checkpoint of bitsandbytes; `bytes` are its packed codes
  std::span<const std::byte> scales;  // dtype kInt8Rows: of an 8-bit one, F32 (rows)
  // Not 0: the rows of each head of so many are stored in the order of interleaved rotation (GGUF's q and k
  // of architecture llama): stored row 2i is row i, stored row 2i + 1 is row i + head_dim / 2.
  int64_t permuted_head_dim = 0;

  int64_t rows() const { return shape.front(); }
  int64_t columns() const { return shape.size() > 1 ? shape[1] : 1; }  // a bias or norm has rows of one element
};

// Movable; const members are safe to call from several threads.
class ModelFiles {
 public:
  // `name_or_path`: a folder with config.json and safetensors, a .gguf file, or "org/name" in the Hugging
  // Face cache (HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub). Errors: Error{kBadInput}: not found,
  // not a model, a tensor missing or of the wrong shape or type.
  static ModelFiles Open(const std::string& name_or_path);

  // A model that is to be trained from scratch: a config.json and no weights. path() is its folder. Errors:
  // Error{kBadInput}.
  static ModelFiles FromConfig(const std::string& config_path);

  const ModelSpec& spec() const { return spec_; }
  const std::string& path() const { return path_; }  // the folder or the .gguf file
  bool is_gguf() const { return gguf_ != nullptr; }
  const GgufFile* gguf() const { return gguf_.get(); }  // nullptr for a folder

  // What an adapter's base_model_name_or_path says: the name given, or general.name of a GGUF file that has
  // one.
  const std::string& base_name() const { return base_name_; }

  // Tensors in the files that the model does not use ("rotary_emb.inv_freq", a head beside a tied embedding).
  const std::vector<std::string>& ignored_tensors() const { return ignored_; }

  // By Hugging Face name, nullptr when the model has none. A tied model has no "lm_head.weight"; a model from
  // scratch has none at all.
  const StoredTensor* Find(std::string_view name) const;

  // Decodes rows [first_row, first_row + rows) in Hugging Face's order to (rows, columns) values at `out`.
  void ReadRows(const StoredTensor& tensor, int64_t first_row, int64_t rows, float* out) const;
  // The same as bfloat16: a copy where stored so, else rounded to nearest even.
  void ReadRowsBf16(const StoredTensor& tensor, int64_t first_row, int64_t rows, uint16_t* out) const;
  // The bytes of these rows as they are stored, in Hugging Face's order. Not of kBnb4 and kInt8Rows.
  void CopyRows(const StoredTensor& tensor, int64_t first_row, int64_t rows, std::byte* out) const;

  // Lets go of the memory that reading the tensor's pages took. Call it once a tensor has been read.
  void DropPages(const StoredTensor& tensor) const;

  // Begins to read a tensor that will be used where it lies in its file.
  void Prefetch(const StoredTensor& tensor) const;

 private:
  ModelFiles() = default;
  void OpenFolder();
  void OpenGguf();
  void AddTensor(const ExpectedTensor& expected, const TensorView& found, bool permuted);
  bool AddQuantized(const ExpectedTensor& expected, const TensorView& found);
  void CheckQuantized(const BnbConfig& config) const;
  void SettleTiedHead();
  const TensorView* FindInFolder(const std::string& name) const;

  std::string path_, base_name_;
  ModelSpec spec_;
  std::unique_ptr<GgufFile> gguf_;
  std::unique_ptr<SafetensorsModel> safetensors_;
  struct Entry {
    StoredTensor tensor;
    std::vector<const TensorView*> views;  // in its file
  };
  std::unordered_map<std::string, Entry> tensors_;
  std::vector<std::string> ignored_;
};

// The folder of "org/name" in the Hugging Face cache, "" when it is not there.
std::string FindInHubCache(const std::string& repository);

}  // namespace attune
