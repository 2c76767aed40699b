// What is trained, as one flat f32 vector and another one for its gradient: an optimiser, a norm and a checkpoint see
// vectors, whatever they are made of. In bf16 these are the master weights; products read a rounded copy.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ops/device.h"

namespace attune {

struct TrainableTensor {
  enum class Kind {
    kLoraA,           // (rank, in)
    kLoraB,           // kept transposed in memory: (rank, out); files have (out, rank)
    kLoraBias,        // (1, out): added to what B gives
    kMagnitude,       // (1, out): of a weight-decomposed adapter
    kLoraEmbeddingA,  // kept transposed in memory: (vocabulary, rank); files have (rank, vocabulary)
    kLoraEmbeddingB,  // as kLoraB
    kTokenRows,       // (tokens, hidden): rows of the embedding that are trained
    kFullWeight,      // (out, in) of a linear layer that is trained whole
    kEmbedding,       // (vocabulary, hidden), trained whole
    kNorm,            // (1, hidden); of queries and keys (1, head_dim)
    kBias,            // (1, out)
  };

  // Kept transposed, so that products find the short side as rows.
  bool is_transposed() const {
    return kind == Kind::kLoraB || kind == Kind::kLoraEmbeddingA || kind == Kind::kLoraEmbeddingB;
  }
  bool is_vector() const {
    return kind == Kind::kNorm || kind == Kind::kBias || kind == Kind::kLoraBias || kind == Kind::kMagnitude;
  }

  std::string key;     // as the file it is saved in names it: PEFT's adapter_model.safetensors or the model's own
  std::string module;  // "model.layers.0.self_attn.q_proj"
  Kind kind;
  int64_t rows, cols;  // as in memory
  int64_t offset = 0;  // elements from the start of the vector
};

// The vectors in device memory; for use alone (evaluation, logits) there is only the first of the two.
class TrainableVectors {
 public:
  enum class Purpose { kTraining, kUse };
  TrainableVectors(Device& device, const std::vector<TrainableTensor>& tensors, Purpose purpose = Purpose::kTraining);

  int64_t elements() const { return elements_; }
  Matrix value() const { return value_; }
  Matrix gradient() const { return gradient_; }

  // Views of one tensor.
  static Matrix Of(const Matrix& vector, const TrainableTensor& tensor);

  static int64_t Elements(const std::vector<TrainableTensor>& tensors);

 private:
  int64_t elements_;
  Matrix value_, gradient_;
};

// Gives each tensor its offset, each aligned to a cache line. Returns the elements of the vector.
int64_t AssignTrainableOffsets(std::vector<TrainableTensor>& tensors);

}  // namespace attune
