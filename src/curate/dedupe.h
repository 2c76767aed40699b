// A data set without its doubles: of each cluster of rows that say the same, one stays.
#pragma once

#include <nlohmann/json.hpp>

#include "curate/duplicates.h"

namespace attune {

enum class KeepRow { kFirst, kLongest, kBestScore };  // of equals the first

struct DedupeSettings {
  StageInput stage;
  DuplicateSettings duplicates;  // score must be set for kBestScore
  KeepRow keep = KeepRow::kFirst;
};

// Returns the manifest and, which is not written, "seconds" of its parts: "sketch", "candidates", "compare", "write".
// The manifest: rows, "removed" by kind ("exact-duplicate", "near-duplicate", "semantic-duplicate"), "clusters",
// "largest" ones with the place of what stays. A removed line says which row stands for it ("kept"), which row it was
// found to be like and how like
// ("twin", "similarity"). Errors: as FindDuplicates and StageFiles.
nlohmann::ordered_json DedupeData(const DedupeSettings& settings);

// "prompt", "answer", "both"; "first", "longest", "score". Errors: Error{kBadInput} naming the flag.
CompareBy CompareByNamed(const std::string& name);
KeepRow KeepRowNamed(const std::string& name);

}  // namespace attune
