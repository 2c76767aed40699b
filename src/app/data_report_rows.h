// What data report says of single rows: how different they are from each other, and which ones a model finds odd.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "app/row_scores.h"

namespace attune {

// {"rows", "vendi", "mean_nearest_distance"} (DiversityOf) of at most 2000 rows, evenly from the `rows` that there are,
// as vectors of hashed words.
nlohmann::ordered_json DiversityJson(const StageInput& data, int64_t rows);

// {"rows", "refused", "mean_loss", "mean_ifd", "ifd_from_1", "ifd": [{"from", "rows"}], "worst": [{"what", "rows":
// [{"where", "loss", "ifd", "prompt", "answer"}]}]}: scores of all rows, and those that a person should look at first,
// with the beginnings of their texts. Errors: as ScoreRows.
nlohmann::ordered_json ScoresJson(const RowScoreJob& job, const OnProgress& on_progress);

}  // namespace attune
