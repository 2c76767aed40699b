// `attune train` as a job: a configuration in, events and a result out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/config.h"
#include "ops/device.h"
#include "train/trainer.h"

namespace attune {

// A stretch of one example's text and whether it carries loss.
struct PreviewPiece {
  std::string text;
  bool trained;
};

// What is known before the first step.
struct TrainReady {
  int64_t trainable_parameters = 0, total_parameters = 0;
  TokenStats train_stats;
  std::optional<TokenStats> eval_stats;
  std::vector<MemoryRow> memory;
  int64_t planned_bytes = 0;
  std::vector<PreviewPiece> preview;
  int64_t total_steps = 0, warmup_steps = 0, chunk_tokens = 0;
  std::string compute;  // "f32", "bf16 (AVX512-BF16)"
};

class TrainEvents : public TrainObserver {
 public:
  virtual void OnNote(const std::string& /*line*/) {}
  virtual void OnReady(const TrainReady&) {}
};

struct TrainResult {
  std::string output_dir;
  int64_t steps = 0, num_tokens = 0;
  double train_loss = 0, train_seconds = 0, tokens_per_second = 0;
  std::optional<double> eval_loss_before, eval_loss_after;
  int64_t planned_bytes = 0, peak_rss_bytes = 0;
  double seconds_to_first_step = 0;  // from process start to the first forward pass
};

// Where bf16 can be had: what is computed in, and a line for the user where that is not what was asked for.
DType ChooseCompute(const TrainingArguments& training, const Device& device, std::string* note);

// Trains, and leaves the adapter, metrics.jsonl and run.json in output_dir. Errors: Error{kBadInput} before anything is
// written; Error{kFailed} when the work fails. `profile`, if given, collects the cost of each op.
TrainResult Train(const RunConfig& config, TrainEvents& events, Profile* profile = nullptr);

nlohmann::ordered_json ToJson(const TrainResult& result);

}  // namespace attune
