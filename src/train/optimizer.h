// The optimiser of a run by transformers' name: which states it keeps, which tensors decay and how fast each group
// learns. One update is a few ops over the flat vectors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/trainable.h"
#include "ops/device.h"
#include "train/arguments.h"

namespace attune {

// One tensor of an optimiser's state, as checkpoints store it: f32, in memory layout of its parameter.
struct OptimizerState {
  std::string name;  // torch's name for the state, a dot, the parameter's key: "exp_avg.model.norm.weight"
  Matrix values;     // (rows, cols) f32
};

class Optimizer {
 public:
  // Names of `optim` that are supported.
  static const std::vector<std::string>& Names();

  // Allocates its states, zeroed. Everything must outlive the optimiser.
  Optimizer(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
            const TrainingArguments& arguments);

  // Updates the trained vector. `step` counts from 1; `gradient_scale` multiplies the gradient first (clipping).
  void Step(double learning_rate, float gradient_scale, int64_t step);

  const std::vector<OptimizerState>& states() const { return states_; }

  // What the constructor will allocate.
  static int64_t PlannedBytes(const std::vector<TrainableTensor>& tensors, const TrainingArguments& arguments);

 private:
  enum class Kind { kAdamW, kSgd, kLion, kAdafactor };
  // Neighbours in the vector that decay and learn alike.
  struct Group {
    int64_t first, count;  // elements
    double weight_decay, rate_factor;
  };
  // One parameter of Adafactor, whose states know rows and columns.
  struct Factored {
    const TrainableTensor* tensor;
    Matrix row, col, full;
    double weight_decay, rate_factor;
  };

  static Kind KindOf(const std::string& optim);
  void AddMoment(const char* name, const std::vector<TrainableTensor>& tensors, Matrix* vector);
  void AddGroups(const std::vector<TrainableTensor>& tensors);
  void AddFactored(const std::vector<TrainableTensor>& tensors);
  void StepGroup(const Group& group, double learning_rate, float gradient_scale, int64_t step);

  Device& device_;
  const TrainableVectors& vectors_;
  const TrainingArguments& arguments_;
  Kind kind_;
  Matrix m_, v_;  // (1, n) f32
  std::vector<Group> groups_;
  std::vector<Factored> factored_;
  std::vector<OptimizerState> states_;
};

// transformers' get_decay_parameter_names, by the lower-case name: biases and norms do not decay, LoRA's A and B do.
bool DecaysByName(const std::string& key);

}  // namespace attune
