// MinHash signatures cut into bands (Broder 1997; Leskovec, Rajaraman and Ullman, "Mining of Massive
// Datasets", section 3.4): two sets of shingles with Jaccard similarity s agree in at least one of 32 bands
// of 8 rows with probability 1 - (1 - s^8)^32, which is 0.86 at s = 0.7 and 0.997 at 0.8.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace attune {

inline constexpr size_t kPermutations = 256, kBands = 32, kBandRows = kPermutations / kBands;

// A hash of each band: sets that agree in a band's eight minima have the same there. Kept in 32 bits, since
// whatever agrees is compared exactly.
using BandKeys = std::array<uint32_t, kBands>;

// `shingles` may repeat and must not be empty.
BandKeys MinHashBands(std::span<const uint32_t> shingles);

}  // namespace attune
