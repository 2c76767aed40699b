// Pairs of rows whose vectors point the same way, found with a graph index (HNSW: Malkov & Yashunin 2018,
// arXiv:1603.09320).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "curate/embeddings.h"

namespace attune {

struct SimilarPair {
  uint32_t a = 0, b = 0;  // a < b
  float cosine = 0;
  bool operator==(const SimilarPair&) const = default;
};

// Pairs among `rows` with a cosine of `threshold` or more, each compared exactly, once, in rising order. A row is
// compared with the 32 nearest that the index finds, so of a crowd of rows that are all alike not every pair is listed.
// One thread builds the index, so that the result does not depend on the number of threads.
std::vector<SimilarPair> FindSimilarPairs(const Embeddings& embeddings, std::span<const uint32_t> rows,
                                          double threshold, int64_t threads);

}  // namespace attune
