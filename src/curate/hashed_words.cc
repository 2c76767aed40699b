#include "curate/hashed_words.h"

#include "curate/embeddings.h"

namespace attune {

std::array<float, kHashedWidth> HashedWords(const NormalWords& words) {
  std::array<float, kHashedWidth> vector{};
  const auto add = [&](uint64_t hash) { vector[hash % kHashedWidth] += (hash >> 32 & 1) != 0 ? 1.0f : -1.0f; };
  const std::vector<uint64_t>& hashes = words.hashes();
  for (size_t i = 0; i < hashes.size(); ++i) {
    add(hashes[i]);
    if (i > 0) add((hashes[i - 1] ^ hashes[i] >> 1) * 0x9E3779B97F4A7C15 >> 3);
  }
  Normalize(vector);
  return vector;
}

}  // namespace attune
