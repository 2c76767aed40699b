// Rows of any data file scored by a model, through the engine that trains: how likely it finds each answer, with and
// without what was asked; and rows as vectors.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/progress.h"
#include "curate/duplicates.h"
#include "curate/row_score.h"
#include "curate/stage_files.h"

namespace attune {

struct RowScoreJob {
  StageInput stage;  // without an output
  std::string model;
  int64_t max_length = 1024;  // what is longer is cut, as in training
  std::string scores;         // a file that keeps scores (app/score_file.h); empty: none
};

// The loss of a row is the mean over all tokens that training would train on: its answers and the tokens that end them.
// Alone means each answer behind nothing but the mark with which the chat template opens an answer, or, where the row
// has none in front of it, the token a text begins with (BOS, else EOS). Rows run packed, in f32. Errors:
// Error{kBadInput} as DataEncoder, RowSource and ScoreFile; with strict for the first row that training would stop at.
RowScores ScoreRows(const RowScoreJob& job, const OnProgress& on_progress);

// {"model", "bytes", "head_sha256"}: which model it was.
nlohmann::ordered_json ModelIdentity(const std::string& model);

// The compared text of every row as a vector (app/text_embedder.h) less the mean over all rows, which models add to
// whatever they read (Mu & Viswanath 2018, arXiv:1702.01417): without that any two texts are alike. Zeros for rows that
// cannot be read.
Embeddings EmbedRows(const StageInput& stage, CompareBy by, const std::string& model, const OnProgress& on_progress);

}  // namespace attune
