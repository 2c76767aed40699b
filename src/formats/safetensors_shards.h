// The weights of a model folder, written in any order and from several threads: model.safetensors or, beyond 5 GB,
// model-00001-of-0000N.safetensors with model.safetensors.index.json, as transformers' save_pretrained cuts them.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/safetensors.h"

namespace attune {

// Tensors that belong into one shard: a weight, or a quantised weight and its parts.
struct TensorGroup {
  std::vector<TensorDeclaration> tensors;
  // One of type U8 whose length is known only once its bytes are made: the shape says the most it takes. Such tensors
  // stand last in their shard and wait in memory for Commit. Empty name: none.
  TensorDeclaration late;
};

// Bytes go to their place at once; nothing else is held. The files appear under their names at Commit() and not before.
// Errors: Error{kFailed} when the disk fails or the bytes are not what was declared.
class ShardedSafetensorsWriter {
 public:
  static constexpr int64_t kShardBytes = 5'000'000'000;  // transformers' max_shard_size

  // Into an existing folder. Groups fill shards in the order given.
  ShardedSafetensorsWriter(const std::string& folder, const std::vector<TensorGroup>& groups,
                           int64_t shard_bytes = kShardBytes);

  // Bytes of a tensor from `offset` on. Any thread; each byte once, which Commit checks by their number.
  void WriteAt(std::string_view name, int64_t offset, std::span<const std::byte> bytes);
  // All bytes of a late tensor.
  void WriteLate(std::string_view name, std::span<const std::byte> bytes);
  void Commit();

  int64_t bytes() const { return bytes_; }  // of the files, at most
  int64_t files() const { return std::ssize(shards_); }

 private:
  struct Place {
    size_t shard;
    TensorDeclaration declaration;
    int64_t begin = 0;    // in the file; late: not yet known
    int64_t missing = 0;  // bytes that have not come
    std::vector<std::byte> late_bytes;
    bool is_late = false;
  };
  struct Shard {
    std::string name;
    std::vector<TensorDeclaration> tensors, late;  // in the order of the file
    int64_t header_bytes = 0, body_bytes = 0;
    std::unique_ptr<AtomicFile> file;
  };
  Place& Find(std::string_view name);
  void LayOut(Shard& shard);
  void Finish(Shard& shard);
  void WriteIndex() const;

  std::string folder_;
  std::vector<Shard> shards_;
  std::unordered_map<std::string, Place> places_;
  int64_t bytes_ = 0;
  std::mutex mutex_;
};

}  // namespace attune
