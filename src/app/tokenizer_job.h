// Training a tokenizer on files of text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/progress.h"
#include "text/tokenizer_trainer.h"

namespace attune {

struct TrainTokenizerJob {
  std::vector<std::string> input;  // .txt and .jsonl files, and folders of them
  std::string output;              // a new or empty folder
  // sample_fraction is set by the job.
  TokenizerSettings settings;
  OnProgress on_progress;                    // may be empty
  int64_t sample_bytes = int64_t{64} << 20;  // learn from about so much text, drawn from all of it; 0: from all
};

struct TrainTokenizerResult {
  std::string output;
  int64_t vocabulary = 0;        // tokens
  int64_t files = 0, texts = 0;  // read
  double sample_fraction = 1;    // of the texts were learned from
  double bytes_per_token = 0;    // of the input's text, special tokens not counted (measured on up to 4 MiB of it)
  double seconds = 0;
};

// The folder is there whole or not at all. Errors: Error{kBadInput}: the output exists, the input is missing,
// empty or broken (naming file and line), settings that cannot be; Error{kFailed}: the output cannot be
// written.
TrainTokenizerResult RunTrainTokenizer(const TrainTokenizerJob& job);

}  // namespace attune
