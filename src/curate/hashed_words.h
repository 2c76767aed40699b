// A text as a vector of its words, without a model.
#pragma once

#include <array>

#include "curate/shingles.h"

namespace attune {

inline constexpr size_t kHashedWidth = 128;

// Words and pairs of words hashed into a vector of length 1 (feature hashing, Weinberger et al. 2009), the
// more seldom counted as much as the frequent; zeros for a text without words.
std::array<float, kHashedWidth> HashedWords(const NormalWords& words);

}  // namespace attune
