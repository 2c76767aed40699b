// The step loop: chunks forward and backward, one clipped update, metrics, evaluation, checkpoints. It reports to an
// observer and prints nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/decoder.h"
#include "text/tokenizer.h"
#include "train/arguments.h"
#include "train/checkpoint.h"
#include "train/checkpoint_saver.h"
#include "train/evaluation.h"
#include "train/optimizer.h"
#include "train/run_plan.h"
#include "train/schedule.h"
#include "train/trainer_state.h"

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

class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void OnNote(const std::string& /*line*/) {}
  virtual void OnStep(const StepMetrics&) {}  // every update
  virtual void OnLog(const StepMetrics&) {}   // every logging_steps updates: the mean since the last
  virtual void OnEval(const EvalMetrics&) {}
  virtual void OnSamples(int64_t /*step*/, const std::vector<SampleAnswer>&) {}
  virtual void OnCheckpoint(const std::string& /*folder*/) {}
};

class Trainer {
 public:
  // Everything must outlive the trainer.
  struct Inputs {
    Device& device;
    Decoder& decoder;
    const TrainableVectors& vectors;
    const std::vector<TrainableTensor>& trainables;
    const TrainingArguments& arguments;
    const RunPlan& plan;
    const Dataset& train;
    const Dataset* eval;         // may be null
    const Tokenizer* tokenizer;  // for answers at evaluations; may be null
    std::vector<int32_t> eos_ids;
    nlohmann::ordered_json fingerprint;  // kept in checkpoints
    SaveModel save_model;
    std::function<void(const std::string& folder)> load_model;  // what save_model wrote
    std::function<bool()> stop_requested;                       // asked after every update; may be empty
    std::function<std::string()> damaged_weight;  // file and name of one that is not finite, "": none; may be empty
  };

  Trainer(Inputs inputs, TrainObserver& observer);

  // Goes on from a checkpoint: what is trained, the optimiser and the state. Where its fingerprint is another one, the
  // checkpoint is saved anew under this run's.
  void Resume(const ResumePoint& point);

  // To the end of the run. Errors: Error{kFailed}: a loss or gradient that is not finite (nothing is updated then), a
  // disk that is full, or that a stop was requested, after saving a checkpoint; Error{kBadInput}: it is weights that
  // are not finite. Checkpoints made before stay whole.
  void Run();

  const TrainerState& state() const { return state_; }
  const Optimizer& optimizer() const { return optimizer_; }
  double mean_loss() const;             // over all updates, as transformers' train_loss
  std::string best_checkpoint() const;  // "" when none was saved

 private:
  struct UpdateResult {
    double loss = 0, grad_norm = 0, learning_rate = 0;
    int64_t tokens = 0, items = 0;
    bool skipped = false;
  };
  UpdateResult RunUpdate(const std::vector<int64_t>& rows, int64_t epoch);
  void Accumulate(const std::vector<int64_t>& rows, int64_t epoch, UpdateResult* result);
  PackedBatch Pack(const Chunk& chunk, int64_t epoch) const;
  double GradientNorm();
  void TolerateOrStop(const std::vector<int64_t>& rows, int64_t epoch, const UpdateResult& result);
  std::string LikelyMend() const;
  void RefuseDamagedWeights();
  std::string DescribeNonFinite(const std::vector<int64_t>& rows, int64_t epoch);

  void FinishUpdate(const UpdateResult& result, double epoch, double seconds);
  void Log(StepMetrics metrics);
  bool RunEval();
  void ObservePlateau(const std::string& name, double value);
  bool TrackBest(const std::string& name, double value);
  std::string CheckpointToKeep() const;
  void SaveCheckpoint();
  void StopIfRequested();
  bool AtInterval(int64_t steps) const;
  bool Done() const;
  StepMetrics Metrics(const UpdateResult& result) const;

  Inputs in_;
  TrainObserver& observer_;
  Schedule schedule_;
  Optimizer optimizer_;
  CheckpointSaver saver_;
  Matrix norm_;  // (1, 1) F64
  TrainerState state_;
  int64_t saved_step_ = -1;
};

// metrics.jsonl's line and trainer_state.json's log entry.
nlohmann::ordered_json ToJson(const StepMetrics& metrics);
nlohmann::ordered_json ToJson(const EvalMetrics& metrics);

}  // namespace attune
