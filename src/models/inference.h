// A decoder for generation: weights as they are stored (a Q4_1 file stays Q4_1 in memory), a cache of keys and values,
// a few rows at a time. Single tokens are bound by the bytes of the weights; for a prompt they are decoded inside the
// product.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "models/adapter_values.h"
#include "models/base_storage.h"
#include "models/model_files.h"
#include "ops/device.h"

namespace attune {

class InferenceModel {
 public:
  // `adapter` may be null. `capacity`: the most tokens the cache holds.
  InferenceModel(Device& device, const ModelFiles& files, const AdapterValues* adapter, int64_t capacity);

  // Appends tokens to the cache; gives the logits (vocab) after the last of them, valid until the next call.
  // Errors: Error{kBadInput} when the cache is full, an id is outside the vocabulary or logits are not finite.
  std::span<const float> Append(std::span<const int32_t> ids);

  // Forgets all but the first `length` tokens.
  void Truncate(int64_t length) { length_ = length; }
  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }

 private:
  struct StoredLayer {
    Matrix weight;  // (out, in) as stored
    Matrix bias;
    Matrix low_a, low_b;  // (rank, in), (out, rank) f32, scaled; empty: not adapted
    Matrix factor;        // (1, out) f32: of a weight-decomposed adapter
  };
  struct Block {
    StoredLayer projections[7];
    Matrix norm1, norm2, k_cache, v_cache;
    Matrix q_norm, k_norm;  // empty: the model has none
  };

  void Piece(std::span<const int32_t> ids);
  void RunBlock(int64_t layer, int64_t m);
  void RunLinear(const StoredLayer& layer, const Matrix& x, const Matrix& y, const Matrix& start);
  StoredLayer Load(const std::string& path, const AdapterValues* adapter);
  Matrix LoadFactor(const StoredLayer& layer, const AdapterModule& module, const AdapterValues& adapter);
  Matrix LoadNorm(const std::string& path, const AdapterValues* adapter);
  Matrix LoadEmbedding(const AdapterValues* adapter);
  Matrix UploadStored(const std::string& name);
  Matrix UploadFloats(const std::vector<float>& values, int64_t rows, int64_t cols);

  Device& device_;
  const ModelFiles& files_;
  BaseStorage storage_;
  ModelSpec spec_;
  int64_t capacity_, length_ = 0;
  std::vector<Block> blocks_;
  StoredLayer head_;
  Matrix embedding_, final_norm_, cos_, sin_;
  Matrix ids_, positions_, starts_, x_, x2_, h_, q_, attention_, gate_, up_, low_, logits_;
  DeviceAddress dora_room_;
  std::vector<float> host_logits_;
};

}  // namespace attune
