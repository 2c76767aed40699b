// What a run has done so far, beside the weights and the optimiser's states: with them, everything the next update
// depends on. Order of rows, dropout and noise are functions of seeds and counts, so they need nothing here.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "train/plateau.h"

namespace attune {

struct TrainerState {
  int64_t step = 0;  // updates made
  double epoch = 0;
  int64_t tokens_seen = 0, trained_seen = 0;
  double loss_sum = 0, train_seconds = 0;
  int64_t skipped_nonfinite = 0;

  // Since the last line of the log.
  double logged_loss = 0, logged_seconds = 0;
  int64_t logged_tokens = 0, logged_updates = 0;

  std::optional<double> best_metric;
  int64_t best_step = 0;           // of best_metric
  int64_t best_saved_step = 0;     // of the best model that there is a checkpoint of; 0: none yet
  int64_t evals_without_gain = 0;  // for early stopping
  bool stopped_early = false;
  PlateauState plateau;

  std::vector<nlohmann::ordered_json> history;  // log lines, as in trainer_state.json

  // attune_state.json: every number reads back to the same bits. FromJson errors: Error{kBadInput} naming `where`.
  nlohmann::ordered_json ToJson() const;
  static TrainerState FromJson(const nlohmann::ordered_json& json, const std::string& where);
};

}  // namespace attune
