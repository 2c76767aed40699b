// How the rows of an update run. The loss of an update is one token-weighted sum over all its rows, so rows may run in
// any grouping with the same result up to rounding: micro-batches are joined while they fit `tokens_in_flight`, and
// split between rows where they do not. Memory then follows tokens_in_flight and the longest row, not the batch size.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/encode.h"
#include "models/decoder.h"

namespace attune {

// What a plan must know of a row.
struct RowShape {
  int64_t tokens = 0, sequences = 1, longest = 0;  // the longest of its sequences, in tokens
  int64_t labelled = 0;                            // tokens that are predicted and carry loss
};
RowShape ShapeOf(const Example& example);
std::vector<RowShape> ShapesOf(std::span<const Example> examples);

// Appends a row's sequences to a batch.
void AppendExample(const Example& example, PackedBatch* batch);

using Chunk = std::vector<int64_t>;  // rows that run as one packed batch

// Rows keep their order; a row longer than tokens_in_flight runs alone.
std::vector<Chunk> CutIntoChunks(std::span<const int64_t> rows, std::span<const RowShape> shapes,
                                 int64_t tokens_in_flight);

// All rows in their order, in chunks.
std::vector<Chunk> CutAllIntoChunks(std::span<const RowShape> shapes, int64_t tokens_in_flight);

// The largest of everything a plan depends on.
struct ChunkLimits {
  int64_t tokens = 1, sequences = 1, length = 1, labelled = 1;
  void Include(const Chunk& chunk, std::span<const RowShape> shapes);
  void Include(const ChunkLimits& other);
  bool operator==(const ChunkLimits&) const = default;
};

}  // namespace attune
