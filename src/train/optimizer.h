// The optimiser of a run by transformers' name: which states it keeps, which tensors decay and how fast each group
// learns. One update is a few ops over the flat vectors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "models/trainable.h"
#include "ops/device.h"
#include "train/arguments.h"

namespace attune {

// One tensor of an optimiser's state, as checkpoints store it, in memory layout of its parameter.
struct OptimizerState {
  std::string name;  // torch's name for the state, a dot, the parameter's key: "exp_avg.model.norm.weight"
  Matrix values;  // (rows, cols) f32; U8 codes in 8 bits, whose scales are "exp_avg_absmax.KEY" f32 (1, blocks of 256)
};

class Optimizer {
 public:
  // Names of `optim` that are supported.
  static const std::vector<std::string>& Names();

  // The same optimiser with its states in memory.
  static std::string Unpaged(const std::string& optim);

  // Allocates its states, zeroed; those of a paged_ optimiser in a file without a name in output_dir, of which only
  // what an update is working on is in memory. Everything must outlive the optimiser. Errors: Error{kFailed}: no
  // memory, no disk.
  Optimizer(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
            const TrainingArguments& arguments);

  // Updates the trained vector. `step` counts from 1; `gradient_scale` multiplies the gradient first (clipping).
  void Step(double learning_rate, float gradient_scale, int64_t step);

  const std::vector<OptimizerState>& states() const { return states_; }

  // Lets go of the memory of paged states that have been read or written from outside.
  void DropPages() const;

  // What the states take in memory, and in a file.
  struct Bytes {
    int64_t memory = 0, file = 0;
  };
  static Bytes PlannedBytes(const std::vector<TrainableTensor>& tensors, const TrainingArguments& arguments);

 private:
  enum class Kind { kAdamW, kAdamW8bit, kSgd, kLion, kAdafactor };
  struct Choice {
    const char* name;
    Kind kind;
    bool paged;
  };
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

  // One parameter of an optimiser in 8 bits; too small a one has f32 states and no scales.
  struct EightBit {
    const TrainableTensor* tensor;
    Matrix m, v, absmax_m, absmax_v;
    double weight_decay, rate_factor;
  };

  static const std::vector<Choice>& Choices();
  static const Choice& ChoiceOf(const std::string& optim);
  static int64_t StateBytes(const std::vector<TrainableTensor>& tensors, const TrainingArguments& arguments);
  Matrix Take(DType dtype, int64_t rows, int64_t cols);
  void AddMoment(const char* name, const std::vector<TrainableTensor>& tensors, Matrix* vector);
  void AddGroups(const std::vector<TrainableTensor>& tensors);
  void AddFactored(const std::vector<TrainableTensor>& tensors);
  void AddEightBit(const std::vector<TrainableTensor>& tensors);
  void StepEightBit(const EightBit& state, double learning_rate, float gradient_scale, int64_t step);
  void StepFactored(const Factored& f, double learning_rate, float gradient_scale, int64_t step);
  template <class Body>
  void ForStretches(int64_t elements, const Body& body);
  void StepGroup(const Group& group, double learning_rate, float gradient_scale, int64_t step);

  Device& device_;
  const TrainableVectors& vectors_;
  const TrainingArguments& arguments_;
  Kind kind_;
  std::unique_ptr<ScratchFile> file_;  // of paged states
  DeviceAddress next_;                 // where the next state goes
  int64_t state_bytes_;
  Matrix m_, v_;  // (1, n) f32
  std::vector<Group> groups_;
  std::vector<Factored> factored_;
  std::vector<EightBit> eight_bit_;
  std::vector<OptimizerState> states_;
};

// transformers' get_decay_parameter_names, by the lower-case name: biases and norms do not decay, LoRA's A and B do.
bool DecaysByName(const std::string& key);

}  // namespace attune
