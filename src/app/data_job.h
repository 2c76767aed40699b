// The jobs of `attune data`: those of curate/, with the model's tokenizer where one was named.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

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

// The stages that write. Each sets the threads and returns its manifest. Errors: as the stage says.
nlohmann::ordered_json RunDataClean(CleanSettings settings);
nlohmann::ordered_json RunDataDedupe(DedupeSettings settings);  // of a shard: as SketchData
nlohmann::ordered_json RunDataSplit(SplitSettings settings);
nlohmann::ordered_json RunDataDecontaminate(DecontaminateSettings settings);
nlohmann::ordered_json RunDataSelect(SelectSettings settings);

}  // namespace attune
