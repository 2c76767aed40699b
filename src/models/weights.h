// The frozen weights of a decoder in device memory, each in the format that models/base_storage.h gives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/base_storage.h"
#include "models/decoder_plan.h"
#include "models/model_files.h"
#include "models/model_spec.h"
#include "ops/device.h"

namespace attune {

class ModelWeights {
 public:
  // Reads every frozen weight once, in threads. What `adapter` trains whole is left out: it lives in the trained
  // vector.
  ModelWeights(Device& device, const ModelFiles& files, const AdapterSpec& adapter, const BaseStorage& storage);

  // The same without files: types and places alone, for a device that only counts.
  ModelWeights(Device& device, const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage);

  // By Hugging Face name; an empty matrix when the model has no such tensor, or when it is trained whole.
  Matrix Find(const std::string& name) const;

  // Puts other values (out, in) into a weight's place, in the format that it is held in; `room` as UploadPiece has it.
  // For weights that are held in memory, made from files. Safe from several threads. Errors: Error{kBadInput} as
  // UploadPiece.
  void Replace(Device& device, const std::string& name, std::span<const float> values,
               std::vector<std::byte>& room) const;

  // Of weights that are used where they lie in their files: begins to read those of a layer, and lets a layer's go. -1
  // is the embedding, num_hidden_layers the head. Nothing to do for others. (The files must outlive the weights.)
  void Prefetch(int64_t layer) const;
  void Release(int64_t layer) const;

  // What the constructor will allocate, and the most that mapped weights take at a time: one layer.
  static int64_t PlannedBytes(const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage);

  // Bytes of the frozen matrices that are held in this type.
  static int64_t BytesHeldAs(DType type, const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage);

  // Bytes that stay in the files.
  static int64_t MappedBytes(const ModelSpec& spec, const AdapterSpec& adapter, const BaseStorage& storage);

 private:
  const ModelFiles* files_ = nullptr;  // null: there are none
  struct Held {
    Matrix matrix;
    StoredFormat format;
  };
  std::unordered_map<std::string, Held> held_;
  std::unordered_map<int64_t, std::vector<const StoredTensor*>> mapped_;  // by layer
};

}  // namespace attune
