// `attune sweep`: the same training under several settings, on the same rows, ranked by loss on the same held-out rows.
// Every trial is a run of its own, with its records and in the store of runs; a sweep that is started again goes on
// where it stopped.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/config.h"
#include "base/progress.h"

namespace attune {

struct SweepJob {
  std::string config;             // a configuration file; empty: only settings
  std::vector<Setting> settings;  // on top; output_dir among them is the folder of the sweep
  // Keys and the values each of them takes; every combination is a trial.
  std::vector<std::pair<std::string, std::vector<std::string>>> grid;
  // Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): all trials get a small part of the updates, the
  // better half of them twice as many from the start again, and so on; the last ones get all.
  bool halving = false;
  // The most time that trials may take, the current one is stopped then and none is begun; 0: no limit.
  double seconds = 0;
};

struct SweepTrial {
  std::vector<Setting> settings;
  std::string output_dir;
  int64_t steps = 0;
  double held_out_loss = 0, seconds = 0;
  std::string error;       // why it came to no loss; empty: it did
  bool was_there = false;  // finished before this sweep was started again
};

struct SweepResult {
  std::vector<std::vector<SweepTrial>> rungs;  // each by loss, the best first; one rung without halving
  const SweepTrial& best() const { return rungs.back().front(); }
};

using OnTrial = std::function<void(const SweepTrial& trial, int64_t done, int64_t total)>;

// With a limit of time, a rung without a trial that came to its end is left out where there is an earlier one; where
// not one trial did, best() has an error. `on_progress` is told of the updates of each trial. Errors: Error{kBadInput}:
// no held-out rows, no grid, a value that the configuration refuses (all are looked at before the first trial), a
// folder that holds another sweep; as Train and Resume.
SweepResult RunSweep(const SweepJob& job, const OnTrial& on_trial, const OnProgress& on_progress = {});

nlohmann::ordered_json ToJson(const SweepResult& result);

}  // namespace attune
