// The jobs of `attune data`: those of curate/, with the model's tokenizer where one was named.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/progress.h"
#include "curate/check.h"
#include "curate/clean.h"
#include "curate/decontaminate.h"
#include "curate/dedupe.h"
#include "curate/select.h"
#include "curate/split.h"

namespace attune {

struct DataCheckJob {
  CheckSettings settings;  // count_tokens and threads are set by the job
  std::string model;       // counts tokens for max_length; empty: they are estimated
};
CheckResult RunDataCheck(const DataCheckJob& job);
nlohmann::ordered_json ToJson(const CheckResult& result);

// A model that reads every row for a stage.
struct RowModel {
  std::string model;          // empty: none does
  int64_t max_length = 1024;  // tokens of a row that are scored
  std::string scores;         // a file that keeps scores of rows; empty: none
  OnProgress on_progress;
};

// The stages that write. Each sets the threads, takes scores and embeddings from `model` where it needs them, and
// returns its manifest. Errors: as the stage says; Error{kBadInput} where a stage needs a model and has none, or the
// other way round.
nlohmann::ordered_json RunDataClean(CleanSettings settings);
nlohmann::ordered_json RunDataDedupe(DedupeSettings settings,
                                     const RowModel& model);  // with a model also by meaning; of a shard: as SketchData
nlohmann::ordered_json RunDataSplit(SplitSettings settings, const RowModel& model);  // likewise
nlohmann::ordered_json RunDataDecontaminate(DecontaminateSettings settings);
nlohmann::ordered_json RunDataSelect(SelectSettings settings, const RowModel& model);

}  // namespace attune
