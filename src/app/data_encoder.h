// Rows of any data file as a model's tokens: what check counts, preview shows and report draws.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/bundle.h"
#include "curate/stage_files.h"
#include "data/encode.h"
#include "train/arguments.h"

namespace attune {

EncodeOptions EncodeOptionsOf(const TrainingArguments& training, const ModelSpec& spec);

// What a run cuts of a row that is too long. Packing cuts in its own way, and its strategies but bfd lose nothing.
Truncation TruncationOf(const TrainingArguments& training);

// A model's tokenizer and chat template with training's defaults. Safe to use from several threads.
class DataEncoder {
 public:
  // max_length: where rows are cut, as in training; 0: they are encoded whole. Errors: Error{kBadInput} as OpenModel; a
  // model without a tokenizer.
  explicit DataEncoder(const std::string& model, int64_t max_length = 0);

  // As a run with these arguments encodes rows without packing.
  DataEncoder(const ModelPaths& model, const TrainingArguments& training);

  // `row`: one line of JSON. Errors: Error{kBadInput} starting with `where`, as ParseRow and
  // RowEncoder::Encode.
  Example Encode(const std::string& row, const std::string& where) const;
  const Tokenizer& tokenizer() const { return bundle_.RequireTokenizer(); }
  const ModelBundle& bundle() const { return bundle_; }

 private:
  ModelBundle bundle_;
  RowEncoder encoder_;
};

// All rows of a data set in tokens.
struct DataTokens {
  int64_t rows = 0, tokens = 0, trained_tokens = 0;
  std::vector<int64_t> lengths;                           // of each row that could be encoded, in order
  int64_t cut_rows = 0, cut_tokens = 0, cut_trained = 0;  // by truncation
  int64_t refused = 0, nothing = 0;  // rows that training would stop at; rows without a token to learn from
  std::vector<std::string> refused_rows, nothing_rows;  // the first of them: the message; where it is
};

// Encodes every row on `stage.threads` threads. Errors: as RowSource.
DataTokens CountTokens(const StageInput& stage, const DataEncoder& encoder, const Truncation& truncation);

}  // namespace attune
