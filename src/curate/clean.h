// Makes a cleaner data set: each rule of curate/rules.h mends, redacts or drops what check finds, or leaves
// it.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "curate/rules.h"
#include "curate/stage_files.h"

namespace attune {

using RuleActions = std::array<Action, kRules>;

// What clean does unless told otherwise.
RuleActions UsualActions();

// "email=keep": changes one. Errors: Error{kBadInput}: no such rule, an action that the rule does not have.
void SetAction(const std::string& setting, RuleActions* actions);

struct CleanSettings {
  StageInput stage;
  RuleActions actions = UsualActions();
};

// Returns the manifest: rows_in, rows_out, "removed" and "changed" rows by rule, "examples" of what was
// changed. The same input and settings give the same bytes, with any number of threads. Errors:
// Error{kBadInput} as RowSource and StageFiles, with strict for the first broken row; Error{kFailed} when the
// output cannot be written.
nlohmann::ordered_json CleanData(const CleanSettings& settings);

}  // namespace attune
