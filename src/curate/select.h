// A part of a data set, chosen by a rule that needs no model, beside a random part of the same size: without
// that control nobody can tell whether the rule helped.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "curate/stage_files.h"

namespace attune {

enum class SelectBy {
  kLongest,  // the longest answers: a baseline that is hard to beat (Zhao et al. 2024, arXiv:2402.04833)
  kDiverse,  // k-centre, greedily: each row as far as can be from those chosen before (Gonzalez 1985)
  kRandom,
};

// Errors: Error{kBadInput}: another name; what needs the model's losses or hidden states (ifd, loss,
// embedding), by name.
SelectBy SelectByNamed(const std::string& name);

struct SelectSettings {
  StageInput stage;
  SelectBy by = SelectBy::kLongest;
  int64_t rows = 0;  // to choose
  uint64_t seed = 42;
};

// Writes NAME.jsonl and NAME.control.jsonl, each in the order of the input; what is in neither selection goes
// to NAME.removed.jsonl as "not-selected". Returns the manifest with "selected" and "control": rows, mean
// bytes of an answer, and the mean distance (0 to 2, of hashed word vectors) of a row to the nearest other
// one of its part. Memory: about 550 bytes a row; the time of kDiverse grows as rows times chosen rows.
// Errors: Error{kBadInput} as RowSource and StageFiles; more rows than there are.
nlohmann::ordered_json SelectData(const SelectSettings& settings);

}  // namespace attune
