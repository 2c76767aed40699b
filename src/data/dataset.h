// Rows of a file, or of a folder's files, as examples ready for training, with the counts a person checks
// first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/encode.h"

namespace attune {

// Lengths are in tokens and of the examples kept. trained_tokens: as TrainedTokens counts them.
struct TokenStats {
  int64_t rows = 0;  // read; rows - dropped examples were kept
  int64_t tokens = 0, trained_tokens = 0;
  int64_t shortest = 0, median = 0, p95 = 0, longest = 0;
  int64_t truncated = 0;  // cut to max_length (dropped ones counted too)
  int64_t dropped = 0;    // no token left to train on
};

struct Dataset {
  std::vector<Example> examples;   // in the order of the files and of the rows in each
  std::vector<std::string> files;  // Example::file counts these
  TokenStats stats;

  // "PATH:LINE" of the row that an example was made from, for messages.
  std::string RowName(const Example& example) const;
};

// Reads and encodes every row of `path` on `threads` threads (0: one a core): a .jsonl file, a .txt file of
// which every line is a document, or a folder of such files (data/data_files.h). The result, and which error
// is reported where several rows are broken (the first), do not depend on the number of threads. Errors:
// Error{kBadInput} naming file and line; and the path when it holds no row or no token to train on.
Dataset LoadDataset(const std::string& path, const RowEncoder& encoder, int threads = 0);

}  // namespace attune
