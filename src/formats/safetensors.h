// safetensors: an 8-byte little-endian header length, a JSON header, then the tensors' bytes without holes
// (https://github.com/huggingface/safetensors, "Format"). Reading is as strict as the reference reader: a
// file it would refuse is refused here, with one line that names the file and the tensor.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"
#include "formats/tensor_view.h"

namespace attune {

using Metadata = std::vector<std::pair<std::string, std::string>>;

// A checked header. The tensors stand in the order of their bytes; `bytes` point into the text that was
// parsed.
struct SafetensorsHeader {
  std::vector<TensorView> tensors;
  Metadata metadata;  // in file order
};

// Checks and reads the header of a whole file held at `file`. `where` names it in errors.
SafetensorsHeader ParseSafetensors(std::span<const std::byte> file, const std::string& where);

// One mapped file. Movable; safe to read from several threads. Errors: Error{kBadInput} naming the file and
// tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::vector<TensorView>& tensors() const { return header_.tensors; }  // in the order of their bytes
  const Metadata& metadata() const { return header_.metadata; }
  const TensorView* Find(std::string_view name) const;  // nullptr when there is none
  void DropPages(const TensorView& tensor) const { file_.DropPages(tensor.bytes); }
  void Prefetch(const TensorView& tensor) const { file_.Prefetch(tensor.bytes); }

 private:
  MappedFile file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_;  // views of the names in header_
};

// The weights of a model folder: model.safetensors, or the shards that model.safetensors.index.json names.
// Errors: Error{kBadInput}: neither file, a shard missing or outside the folder, a tensor not where the index
// says.
class SafetensorsModel {
 public:
  explicit SafetensorsModel(const std::string& folder);

  const std::vector<const TensorView*>& tensors() const { return tensors_; }  // shard by shard
  const TensorView* Find(std::string_view name) const;                        // nullptr when there is none
  void DropPages(const TensorView& tensor) const;
  void Prefetch(const TensorView& tensor) const;

 private:
  void OpenShards(const std::string& folder, const std::string& index_path);
  void Add(const TensorView& tensor, const SafetensorsFile& file);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<const TensorView*> tensors_;
  std::unordered_map<std::string_view, std::pair<const TensorView*, const SafetensorsFile*>> index_;
};

// A tensor that a writer will be given.
struct TensorDeclaration {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
};

// As the reference writer sorts: widest type first, then by name.
void SortForSafetensors(std::vector<TensorDeclaration>* tensors);

// The header of a file that holds these tensors in this order, padded to a multiple of 8 bytes. `path` names the file
// in errors: Error{kFailed} for a tensor that cannot be stored.
std::string SafetensorsHeaderText(const std::vector<TensorDeclaration>& tensors, const Metadata& metadata,
                                  const std::string& path);

// Streams a file: declare every tensor, then hand over the bytes of each in the order of order(), whole or in
// pieces. Nothing is held in memory. The file appears under its name at Commit() and not before. Errors:
// Error{kFailed} when the disk fails or the bytes do not fit what was declared.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, std::vector<TensorDeclaration> tensors,
                    const Metadata& metadata = {{"format", "pt"}});

  const std::vector<TensorDeclaration>& order() const { return order_; }

  void Write(std::string_view name, std::span<const std::byte> bytes);
  void Commit();

 private:
  void SkipFinished();

  AtomicFile file_;
  std::string path_;
  std::vector<TensorDeclaration> order_;
  size_t current_ = 0;  // index into order_
  int64_t left_ = 0;    // bytes that the current tensor still lacks
};

}  // namespace attune
