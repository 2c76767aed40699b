// The step loop: chunks forward and backward, one clipped AdamW update, metrics, evaluation, checkpoints. It reports to
// an observer and prints nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "models/adapter_model.h"
#include "models/decoder.h"
#include "train/arguments.h"
#include "train/run_plan.h"
#include "train/schedule.h"

namespace attune {

// One line of metrics.jsonl, in transformers' names.
struct StepMetrics {
  int64_t step = 0, total_steps = 0;
  double loss = 0, grad_norm = 0, learning_rate = 0, epoch = 0;
  int64_t num_tokens = 0, trained_tokens = 0;  // since the start
  double tokens_per_second = 0;                // since the last line
  int64_t peak_rss_bytes = 0;
  double seconds_left = 0;
};

struct EvalMetrics {
  int64_t step = 0;
  double epoch = 0;
  double loss = 0, token_accuracy = 0;
  int64_t tokens = 0;
  double seconds = 0;
};

class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void OnStep(const StepMetrics&) {}   // every update
  virtual void OnLog(const StepMetrics&) {}    // every logging_steps updates: the mean since the last
  virtual void OnEval(const EvalMetrics&) {}
  virtual void OnCheckpoint(const std::string& /*folder*/) {}
};

// Loss of examples by token, forward only, in chunks that fit the decoder's plan.
EvalMetrics Evaluate(Decoder& decoder, const std::vector<Example>& examples, int64_t tokens_in_flight);

class Trainer {
 public:
  // Everything must outlive the trainer. `eval` may be null.
  struct Inputs {
    Device& device;
    Decoder& decoder;
    const TrainableVectors& vectors;
    const std::vector<TrainableTensor>& trainables;
    const LoraConfig& lora;
    const TrainingArguments& arguments;
    const RunPlan& plan;
    const Dataset& train;
    const Dataset* eval;
  };

  Trainer(const Inputs& inputs, TrainObserver& observer);

  // The whole run. Errors: Error{kFailed} for a loss or gradient that is not finite (nothing is updated then), or a disk
  // that is full.
  void Run();

  int64_t tokens_seen() const { return tokens_seen_; }
  double train_seconds() const { return train_seconds_; }
  double mean_loss() const;  // over all updates, as transformers' train_loss

 private:
  struct UpdateResult {
    double loss = 0, grad_norm = 0;
    int64_t tokens = 0, items = 0;
  };
  UpdateResult RunUpdate(const std::vector<int64_t>& rows, int64_t epoch);
  PackedBatch Pack(const Chunk& chunk, int64_t epoch) const;
  double ClipAndStep(double learning_rate);
  void RunEval();
  void SaveCheckpoint();
  StepMetrics Metrics() const;

  Inputs in_;
  TrainObserver& observer_;
  Schedule schedule_;
  Matrix norm_;  // (1, 1) F64

  int64_t step_ = 0;
  double epoch_ = 0;
  int64_t tokens_seen_ = 0, trained_seen_ = 0;
  double loss_sum_ = 0, train_seconds_ = 0;
  UpdateResult last_;
  double last_learning_rate_ = 0;
  std::vector<nlohmann::ordered_json> history_;
};

// metrics.jsonl's line and trainer_state.json's log entry.
nlohmann::ordered_json ToJson(const StepMetrics& metrics);
nlohmann::ordered_json ToJson(const EvalMetrics& metrics);

}  // namespace attune
