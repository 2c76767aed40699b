// Holds rows out for evaluation: by a seed, in the same shares of every stratum, and by cluster, so that no
// held-out row has a near double among those that are trained on.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "curate/duplicates.h"

namespace attune {

struct SplitSettings {
  StageInput stage;
  DuplicateSettings duplicates;  // what makes a cluster; label: the column whose values are the strata
  double fraction = 0.1;         // of the rows to hold out
  int64_t rows = 0;              // or so many of them; 0: by fraction
  uint64_t seed = 42;
};

// Writes NAME.train.jsonl and NAME.eval.jsonl. Which rows are held out depends on the seed and on what the
// rows say, not on their order; a cluster goes to one side as a whole, so the count may be missed by less
// than a cluster. Returns the manifest: rows, "train", "eval", "clusters", "strata". Errors: Error{kBadInput}
// as FindDuplicates and StageFiles, and where nothing would be held out or nothing left.
nlohmann::ordered_json SplitData(const SplitSettings& settings);

}  // namespace attune
