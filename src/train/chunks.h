// How the rows of an update run. The loss of an update is one token-weighted sum over all its rows, so rows may run in
// any grouping with the same result up to rounding: micro-batches are joined while they fit `tokens_in_flight`, and split
// between sequences where they do not. Memory then follows tokens_in_flight and the longest row, not the batch size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace attune {

using Chunk = std::vector<int64_t>;  // rows that run as one packed batch

// `lengths` by row. Rows keep their order; a row longer than tokens_in_flight runs alone.
std::vector<Chunk> CutIntoChunks(std::span<const int64_t> rows, std::span<const int64_t> lengths,
                                 int64_t tokens_in_flight);

// The largest of everything a plan depends on.
struct ChunkLimits {
  int64_t tokens = 1, sequences = 1, length = 1, labelled = 1;
  void Include(const Chunk& chunk, std::span<const int64_t> lengths, std::span<const int64_t> labelled_rows);
};

}  // namespace attune
