// SafetensorsModel: one file or many shards behind one set of names.
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/json.h"
#include "formats/safetensors.h"

namespace attune {

SafetensorsModel::SafetensorsModel(const std::string& folder) {
  const std::string whole = folder + "/model.safetensors";
  const std::string index = whole + ".index.json";
  if (FileExists(whole)) {
    files_.push_back(std::make_unique<SafetensorsFile>(whole));
    for (const TensorView& tensor : files_.back()->tensors()) Add(tensor, *files_.back());
  } else if (FileExists(index)) {
    OpenShards(folder, index);
  } else if (FileExists(folder + "/pytorch_model.bin") || FileExists(folder + "/pytorch_model.bin.index.json")) {
    BadInput(
        "{}: holds pytorch_model.bin, a pickle, which is not read for safety; save the model with "
        "safe_serialization=True",
        folder);
  } else {
    BadInput("{}: holds neither model.safetensors nor model.safetensors.index.json", folder);
  }
}

void SafetensorsModel::OpenShards(const std::string& folder, const std::string& index_path) {
  const nlohmann::json index = ParseJsonFile(index_path);
  const auto weight_map = index.is_object() ? index.find("weight_map") : index.end();
  if (weight_map == index.end() || !weight_map->is_object() || weight_map->empty()) {
    BadInput("{}: must hold an object \"weight_map\" of tensor names and files", index_path);
  }
  std::map<std::string, SafetensorsFile*> shards;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string()) BadInput("{}: weight_map: the file of \"{}\" must be a text", index_path, tensor);
    const std::string name = shard.get<std::string>();
    // Names of files in this folder only: an index must not reach for other files of the machine.
    if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string_view("/\\\0", 3)) != name.npos) {
      BadInput("{}: weight_map: \"{}\" is said to lie in \"{}\", which is not a file name of this folder", index_path,
               tensor, name);
    }
    SafetensorsFile*& file = shards[name];
    if (file == nullptr) {
      if (!FileExists(folder + "/" + name)) {
        BadInput("{}: the shard {} is missing (\"{}\" lies in it); download it into the folder", index_path, name,
                 tensor);
      }
      files_.push_back(std::make_unique<SafetensorsFile>(folder + "/" + name));
      file = files_.back().get();
    }
    if (file->Find(tensor) == nullptr) {
      BadInput("{}: \"{}\" should lie in {}, but that file has no such tensor", index_path, tensor, name);
    }
  }
  for (const auto& [name, file] : shards) {
    for (const TensorView& tensor : file->tensors()) {
      const auto listed = weight_map->find(tensor.name);
      if (listed != weight_map->end() && listed->get<std::string>() != name) continue;  // the index prefers another
      Add(tensor, *file);
    }
  }
}

void SafetensorsModel::Add(const TensorView& tensor, const SafetensorsFile& file) {
  const auto [place, is_new] = index_.emplace(tensor.name, std::pair(&tensor, &file));
  if (!is_new) BadInput("{}: tensor \"{}\" also lies in {}", file.path(), tensor.name, place->second.second->path());
  tensors_.push_back(&tensor);
}

const TensorView* SafetensorsModel::Find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second.first;
}

void SafetensorsModel::DropPages(const TensorView& tensor) const {
  if (const auto found = index_.find(tensor.name); found != index_.end()) found->second.second->DropPages(tensor);
}

void SafetensorsModel::Prefetch(const TensorView& tensor) const {
  if (const auto found = index_.find(tensor.name); found != index_.end()) found->second.second->Prefetch(tensor);
}

}  // namespace attune
