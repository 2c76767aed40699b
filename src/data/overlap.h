// Evaluation rows that were trained on say nothing of what a model has learned.
#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"

namespace attune {

struct Overlap {
  int64_t rows = 0;       // of the evaluation set whose token ids, all of them in order, are a training row's too
  int64_t eval_rows = 0;  // all of the evaluation set
  std::string eval_row, train_row;  // the first such row and the first training row it equals, as "PATH:LINE"
};

// Memory: about 32 bytes for each evaluation row.
Overlap CountOverlap(const Dataset& train, const Dataset& eval);

}  // namespace attune
