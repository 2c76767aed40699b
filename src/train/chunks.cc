#include "train/chunks.h"

#include <algorithm>

namespace attune {

std::vector<Chunk> CutIntoChunks(std::span<const int64_t> rows, std::span<const int64_t> lengths,
                                 int64_t tokens_in_flight) {
  std::vector<Chunk> chunks;
  int64_t tokens = 0;
  for (const int64_t row : rows) {
    const int64_t length = lengths[static_cast<size_t>(row)];
    if (chunks.empty() || tokens + length > tokens_in_flight) {
      chunks.emplace_back();
      tokens = 0;
    }
    chunks.back().push_back(row);
    tokens += length;
  }
  return chunks;
}

void ChunkLimits::Include(const Chunk& chunk, std::span<const int64_t> lengths,
                          std::span<const int64_t> labelled_rows) {
  int64_t chunk_tokens = 0, chunk_labelled = 0;
  for (const int64_t row : chunk) {
    const auto i = static_cast<size_t>(row);
    chunk_tokens += lengths[i];
    chunk_labelled += labelled_rows[i];
    length = std::max(length, lengths[i]);
  }
  tokens = std::max(tokens, chunk_tokens);
  labelled = std::max(labelled, chunk_labelled);
  sequences = std::max(sequences, static_cast<int64_t>(chunk.size()));
}

}  // namespace attune
