// What a training run tells while it goes and when it ends: the job (train_job.h) and the session it is made of
// (train_session.h) both speak of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"
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
  int64_t packed_rows = 0;        // 0: not packed
  double packing_efficiency = 0;  // tokens over the room of the packed rows
  std::vector<MemoryRow> memory;
  int64_t planned_bytes = 0;
  std::vector<PreviewPiece> preview;
  int64_t total_steps = 0, warmup_steps = 0, chunk_tokens = 0;
  std::string compute;  // "f32", "bf16"
};

class TrainEvents : public TrainObserver {
 public:
  virtual void OnReady(const TrainReady&) {}
  virtual void OnResume(int64_t /*step*/, const std::string& /*checkpoint*/) {}
};

struct TrainResult {
  std::string output_dir;
  std::string noun;  // "the adapter", "the model"
  int64_t steps = 0, num_tokens = 0;
  double train_loss = 0, train_seconds = 0, tokens_per_second = 0;
  std::optional<double> eval_loss_before, eval_loss_after;
  std::vector<SampleAnswer> samples_before, samples_after;
  std::string best_checkpoint;  // "" when none was tracked
  int64_t planned_bytes = 0, peak_rss_bytes = 0;
  double seconds_to_first_step = 0;  // from process start to the first forward pass
};

// Where bf16 can be had: what is computed in, and a line for the user where that is not what was asked for.
DType ChooseCompute(const TrainingArguments& training, const Device& device, std::string* note);

nlohmann::ordered_json ToJson(const TrainResult& result);

}  // namespace attune
