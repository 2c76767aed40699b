// A part of a data set, chosen by rules, beside a random part of the same size: without that control nobody can
// tell whether the rules helped.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>

#include "curate/selection.h"
#include "curate/stage_files.h"

namespace attune {

struct SelectSettings {
  StageInput stage;
  SelectionSettings rules;
  int64_t rows = 0;              // to choose
  ScoreSource scores;            // for kIfd and kLoss
  EmbeddingSource embeddings;    // for kDiverse; absent: hashed words
  nlohmann::ordered_json model;  // what the manifest says of where scores and embeddings come from
};

// Writes NAME.jsonl and NAME.control.jsonl, each in the order of the input; what is in neither selection goes
// to NAME.removed.jsonl as "not-selected". Returns the manifest with "selected" and "control": rows, mean
// bytes of an answer, the mean distance of a row to the nearest other one of its part (DiversityOf, of
// embeddings or hashed words), and the mean loss and IFD where there are scores. Memory: about 550 bytes a row
// and the embeddings; the time of kDiverse grows as rows times chosen rows, and in a mix as rows times rows.
// Errors: Error{kBadInput} as RowSource and StageFiles; more rows than there are to choose from.
nlohmann::ordered_json SelectData(const SelectSettings& settings);

}  // namespace attune
