// `attune bench`: a train step or a generation on this machine, beside what the machine itself can multiply at.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/progress.h"

namespace attune {

struct BenchTrainJob {
  std::string model;
  std::string method = "lora";  // "qlora", "full"
  int64_t tokens = 2048;        // a step
  int64_t length = 512;         // of each sequence
  int64_t steps = 4;            // measured, after one that is not
  int64_t r = 16;               // of lora and qlora
  double lora_dropout = 0.1;
  bool use_dora = false;
  bool f32 = false;  // even where the CPU has bf16
  bool gradient_checkpointing = false;
  int64_t tokens_in_flight = 1024;
  std::string turns;    // "first", "second": with another bench (app/bench_turns.h); empty: none are taken
  OnProgress progress;  // may be empty
};

// matmul_limit_flops (the best of some milliseconds), speed_flops (the average of the same products in turn with the
// steps), step_flops, tokens_per_second, fraction_of_limit, fraction_of_speed, peak_rss_bytes, planned_bytes,
// seconds_to_first_step, and the tables "kinds" (of work) and "ops". The rates are remembered for plans.
nlohmann::ordered_json BenchTrain(const BenchTrainJob& job);

struct BenchGenerateJob {
  std::string model;
  int64_t prompt_tokens = 512, new_tokens = 128;
};
nlohmann::ordered_json BenchGenerate(const BenchGenerateJob& job);

// Our kernels alone, on the shapes of a model, beside the limit: every product forward and backward, attention both
// ways.
nlohmann::ordered_json BenchOps(const std::string& model, int64_t rows);

}  // namespace attune
