// One rung of the ladder that is trained: what a step of it costs is tried first, then a small sweep of the learning
// rate is run that ends within the time the rung has.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/config.h"
#include "base/progress.h"

namespace attune {

struct TrainedRungJob {
  std::vector<Setting> settings;  // of the method, without learning rate, steps and folder
  double learning_rate = 2e-4;    // the middle of the sweep
  int64_t most_steps = 1;         // more would be more passes over the rows than advised
  double seconds = 0;             // that the rung has in all
  std::string folder;             // of its runs
};

// What has been found out and spent so far, kept so that a ladder can be gone on with.
struct TrainedRungState {
  double seconds_a_step = 0, seconds_a_run = 0;  // the latter beside its steps: loading, evaluations, saving
  int64_t steps = 0;                             // of the longest trial; 0: not tried yet
  bool is_swept = false;                         // three rates, else one
  double spent = 0;
};
nlohmann::ordered_json ToJson(const TrainedRungState& state);
// Throws nlohmann's exceptions where it is not what ToJson writes.
TrainedRungState RungStateOf(const nlohmann::ordered_json& json);

struct TrainedRungResult {
  std::string output_dir, learning_rate;
  int64_t steps = 0;
  double seconds = 0;  // of the best run alone
  int trials = 0;
  std::string skipped;  // why there is none; empty: there is
};

// `keep` is called whenever the state has changed. Errors: as Train and RunSweep.
TrainedRungResult RunTrainedRung(const TrainedRungJob& job, TrainedRungState& state, const std::function<void()>& keep,
                                 const OnProgress& on_progress);

}  // namespace attune
