// What is trained, as one flat f32 vector with its gradient and optimiser state: an optimiser, a norm and a checkpoint
// see four vectors, whatever they are made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/device.h"

namespace attune {

struct TrainableTensor {
  enum class Kind {
    kLoraA,       // (rank, in)
    kLoraB,       // kept transposed in memory: (rank, out); files have (out, rank)
    kFullWeight,  // (out, in), a copy that is trained whole
    kBias,        // (1, out)
  };

  std::string key;     // as PEFT's adapter_model.safetensors names it
  std::string module;  // "model.layers.0.self_attn.q_proj"
  Kind kind;
  int64_t rows, cols;  // as in memory
  int64_t offset = 0;  // elements from the start of the vector
};

// The vectors in device memory; for use alone (evaluation, logits) there is only the first of the four.
class TrainableVectors {
 public:
  enum class Purpose { kTraining, kUse };
  TrainableVectors(Device& device, const std::vector<TrainableTensor>& tensors, Purpose purpose = Purpose::kTraining);

  int64_t elements() const { return elements_; }
  Matrix value() const { return value_; }
  Matrix gradient() const { return gradient_; }
  Matrix first_moment() const { return first_moment_; }
  Matrix second_moment() const { return second_moment_; }

  // Views of one tensor.
  static Matrix Of(const Matrix& vector, const TrainableTensor& tensor);

  static int64_t Elements(const std::vector<TrainableTensor>& tensors);

 private:
  int64_t elements_;
  Matrix value_, gradient_, first_moment_, second_moment_;
};

// Gives each tensor its offset, each aligned to a cache line. Returns the elements of the vector.
int64_t AssignTrainableOffsets(std::vector<TrainableTensor>& tensors);

}  // namespace attune
