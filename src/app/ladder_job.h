// `attune advise --measure`: the methods against each other on a person's own rows, within a budget of time. The model
// alone, prompts, LoRA, QLoRA and full fine-tuning answer the same held-out rows; each method that is trained has an
// equal share of the time and a small sweep of its learning rate. A ladder that is started again goes on where it
// stopped.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/advise_job.h"
#include "base/progress.h"
#include "eval/bootstrap.h"
#include "train/evaluation.h"

namespace attune {

struct LadderJob {
  AdviseJob advise;  // model, data, held-out rows (empty: a tenth of the rows) and goal
  double budget_seconds = 1800;
  std::vector<std::string> systems;  // system prompts to try
  std::string output_dir;
};

struct LadderRung {
  std::string name;                   // base, prompt, lora, qlora, full
  std::string what;                   // "learning_rate 0.0002, 120 steps"
  std::string skipped;                // why it was not run; empty: it was, and what follows is known
  double loss = 0, general_loss = 0;  // by token of the held-out answers; of general text
  Interval interval;                  // of the loss
  std::vector<RowLoss> losses;        // by held-out row
  double seconds = 0;                 // of all that was tried
  double best_seconds = 0;            // of the best run alone; 0: nothing was trained
  int64_t peak_bytes = 0;
  double kilowatt_hours = 0, cost = 0;
  std::string path;  // prompt.json, or the folder of the best run
};

struct LadderResult {
  std::string model, data, currency;
  int64_t train_rows = 0, rows = 0;  // the latter held out
  double budget_seconds = 0;
  AdviseResult advice;
  std::vector<LadderRung> rungs;  // in the order of what they ask of a person, the least first

  size_t best = 0;  // with the least loss
  // The next one (absent: nothing else was run), and how they differ on the same draws of the rows: runner_up - best.
  std::optional<size_t> runner_up;
  Difference difference;
  size_t recommended = 0;  // the best, or what is simpler and cannot be told from it
};

// Told of every rung that has ended, in order.
using OnRung = std::function<void(const LadderRung& rung)>;

// Writes held-out.jsonl, train.jsonl, ladder.json and ladder.html into output_dir beside the runs. Errors:
// Error{kBadInput}: a budget of less than a minute, no held-out rows and too few to set some apart, a folder that holds
// something else; as RunAdvise.
LadderResult RunLadder(const LadderJob& job, const OnRung& on_rung, const OnProgress& on_progress);

nlohmann::ordered_json ToJson(const LadderResult& result);

// "lora is best, and surely better than prompt ..."
std::string LadderVerdict(const LadderResult& result);

// Loss against time, and the table.
std::string LadderPage(const LadderResult& result);

}  // namespace attune
