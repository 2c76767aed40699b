#include "formats/safetensors_shards.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace attune {
namespace {

int64_t BytesOfTensor(const TensorDeclaration& t) {
  const std::optional<int64_t> bytes = ByteCount(t.dtype, t.shape);
  if (!bytes)
    Failed("tensor \"{}\" of type {} and shape {} cannot be stored", t.name, NameOf(t.dtype), ShapeText(t.shape));
  return *bytes;
}

int64_t BytesOfGroup(const TensorGroup& group) {
  int64_t bytes = group.late.name.empty() ? 0 : BytesOfTensor(group.late);
  for (const TensorDeclaration& t : group.tensors) bytes += BytesOfTensor(t);
  return bytes;
}

const Metadata kMetadata = {{"format", "pt"}};

}  // namespace

ShardedSafetensorsWriter::ShardedSafetensorsWriter(const std::string& folder, const std::vector<TensorGroup>& groups,
                                                   int64_t shard_bytes)
    : folder_(folder) {
  int64_t filled = 0;
  for (const TensorGroup& group : groups) {
    const int64_t size = BytesOfGroup(group);
    if (shards_.empty() || filled + size > shard_bytes) {
      shards_.emplace_back();
      filled = 0;
    }
    filled += size;
    const size_t shard = shards_.size() - 1;
    for (const TensorDeclaration& t : group.tensors) {
      shards_[shard].tensors.push_back(t);
      places_.emplace(t.name, Place{shard, t, 0, BytesOfTensor(t), {}, false});
    }
    if (group.late.name.empty()) continue;
    shards_[shard].late.push_back(group.late);
    places_.emplace(group.late.name, Place{shard, group.late, 0, 1, {}, true});
  }
  for (size_t i = 0; i < shards_.size(); ++i) {
    shards_[i].name = shards_.size() == 1 ? "model.safetensors"
                                          : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards_.size());
    LayOut(shards_[i]);
  }
}

// Gives every tensor but the late ones its place, behind room for the longest header that can be.
void ShardedSafetensorsWriter::LayOut(Shard& shard) {
  SortForSafetensors(&shard.tensors);
  SortForSafetensors(&shard.late);
  std::vector<TensorDeclaration> all = shard.tensors;
  all.insert(all.end(), shard.late.begin(), shard.late.end());
  shard.header_bytes = std::ssize(SafetensorsHeaderText(all, kMetadata, shard.name));
  int64_t at = static_cast<int64_t>(sizeof(uint64_t)) + shard.header_bytes;
  bytes_ += at;
  for (const TensorDeclaration& t : shard.tensors) {
    places_.at(t.name).begin = at;
    at += BytesOfTensor(t);
    bytes_ += BytesOfTensor(t);
  }
  for (const TensorDeclaration& t : shard.late) bytes_ += BytesOfTensor(t);
  shard.body_bytes = at;
  shard.file = std::make_unique<AtomicFile>(folder_ + "/" + shard.name);
}

ShardedSafetensorsWriter::Place& ShardedSafetensorsWriter::Find(std::string_view name) {
  const auto found = places_.find(std::string(name));
  if (found == places_.end()) Failed("{}: tensor \"{}\" was not declared", folder_, name);
  return found->second;
}

void ShardedSafetensorsWriter::WriteAt(std::string_view name, int64_t offset, std::span<const std::byte> bytes) {
  Place& place = Find(name);
  const auto size = static_cast<int64_t>(bytes.size());
  {
    const std::lock_guard lock(mutex_);
    if (place.is_late || offset < 0 || offset > BytesOfTensor(place.declaration) - size || size > place.missing) {
      Failed("{}: tensor \"{}\" was given bytes that its shape has no place for", folder_, name);
    }
    place.missing -= size;
  }
  shards_[place.shard].file->WriteAt(place.begin + offset, bytes.data(), bytes.size());
}

void ShardedSafetensorsWriter::WriteLate(std::string_view name, std::span<const std::byte> bytes) {
  Place& place = Find(name);
  const std::lock_guard lock(mutex_);
  if (!place.is_late || place.missing == 0 || std::ssize(bytes) > BytesOfTensor(place.declaration)) {
    Failed("{}: tensor \"{}\" was given {} bytes; it takes at most {}, once", folder_, name, bytes.size(),
           ShapeText(place.declaration.shape));
  }
  place.missing = 0;
  place.late_bytes.assign(bytes.begin(), bytes.end());
}

void ShardedSafetensorsWriter::Finish(Shard& shard) {
  std::vector<TensorDeclaration> all = shard.tensors;
  int64_t at = shard.body_bytes;
  for (TensorDeclaration& t : shard.late) {
    const std::vector<std::byte>& bytes = places_.at(t.name).late_bytes;
    t.shape = {std::ssize(bytes)};
    all.push_back(t);
    shard.file->WriteAt(at, bytes.data(), bytes.size());
    at += t.shape[0];
  }
  std::string header = SafetensorsHeaderText(all, kMetadata, shard.name);
  header.resize(static_cast<size_t>(shard.header_bytes), ' ');  // shorter numbers leave room, which readers skip
  const auto length = static_cast<uint64_t>(header.size());
  shard.file->WriteAt(0, &length, sizeof length);
  shard.file->WriteAt(sizeof length, header.data(), header.size());
}

void ShardedSafetensorsWriter::WriteIndex() const {
  nlohmann::ordered_json index = {{"metadata", {{"total_size", 0}}}, {"weight_map", nlohmann::ordered_json::object()}};
  int64_t total = 0;
  std::vector<std::pair<std::string, std::string>> map;
  for (const Shard& shard : shards_) {
    for (const auto* tensors : {&shard.tensors, &shard.late}) {
      for (const TensorDeclaration& t : *tensors) {
        total += BytesOfTensor(t);
        map.emplace_back(t.name, shard.name);
      }
    }
  }
  std::sort(map.begin(), map.end());
  index["metadata"]["total_size"] = total;
  for (const auto& [tensor, file] : map) index["weight_map"][tensor] = file;
  WriteFileAtomic(folder_ + "/model.safetensors.index.json", index.dump(2) + "\n");
}

void ShardedSafetensorsWriter::Commit() {
  for (const auto& [name, place] : places_) {
    if (place.missing > 0) Failed("{}: tensor \"{}\" lacks {} bytes", folder_, name, place.missing);
  }
  for (Shard& shard : shards_) Finish(shard);
  for (Shard& shard : shards_) shard.file->Commit();
  if (shards_.size() > 1) WriteIndex();
}

}  // namespace attune
