// Rows as the model will see them: the text after the chat template, token by token, which of them are
// trained on, and what truncation cuts off.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/data_encoder.h"

namespace attune {

struct DataPreviewJob {
  StageInput stage;  // without an output
  RunConfig config;  // of the run that would train on them: its model, masks and truncation
  int64_t rows = 3;  // shown, from the first that is shown on
  int64_t from = 1;  // the number of that row, from 1 over all files
  std::string html;  // a page to write; empty: none
};

struct PreviewToken {
  int32_t id = 0;
  std::string text;      // what it adds to the text; a character of several tokens comes with its last
  bool trained = false;  // something is learned from it, or would be if it were not cut off
  bool cut = false;
};

struct PreviewRow {
  std::string where;
  std::vector<PreviewToken> tokens;
  int64_t trained = 0, cut = 0, cut_trained = 0;  // tokens; trained counts those that are cut too
};

struct DataPreview {
  Truncation truncation;
  DataTokens counts;  // of the whole data set
  std::vector<PreviewRow> rows;
};

// Errors: Error{kBadInput} as DataEncoder and RowSource; a data set with nothing to learn from, naming rows;
// no row of that number.
DataPreview RunDataPreview(const DataPreviewJob& job);

// The row for a terminal. With `colour` trained tokens are green and what is cut is red, else ⟦these⟧ are
// trained and what is cut stands behind "✂", and before another where it is the start. Control characters of the data
// do nothing.
std::string PreviewText(const PreviewRow& row, bool colour);

// Three lines on the whole data set: rows and tokens, truncation, rows that cannot be learned from.
std::vector<std::string> TokenLines(const DataTokens& counts, const Truncation& truncation);

nlohmann::ordered_json ToJson(const DataTokens& counts);
nlohmann::ordered_json ToJson(const DataPreview& preview);

}  // namespace attune
