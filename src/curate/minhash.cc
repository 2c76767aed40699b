#include "curate/minhash.h"

#define XXH_INLINE_ALL  // of 32 bytes: a call would take longer than its work
#include <xxhash.h>

namespace attune {
namespace {

// Sixteen permutations side by side; the compiler makes one, two or four instructions of each operation.
using Lanes = uint32_t __attribute__((vector_size(64)));
constexpr size_t kVectors = kPermutations / 16;

// x -> a x + b modulo 2^32, with a odd: a permutation of 32-bit numbers.
struct Permutations {
  Lanes a[kVectors], b[kVectors];
};

const Permutations& FixedPermutations() {
  static const Permutations permutations = [] {
    Permutations made;
    uint64_t state = 0x5DEECE66D;
    const auto next = [&] {  // SplitMix64 (Steele, Lea and Flood 2014)
      uint64_t z = state += 0x9E3779B97F4A7C15;
      z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
      z = (z ^ z >> 27) * 0x94D049BB133111EB;
      return static_cast<uint32_t>((z ^ z >> 31) >> 32);
    };
    for (size_t i = 0; i < kPermutations; ++i) {
      made.a[i / 16][i % 16] = next() | 1;
      made.b[i / 16][i % 16] = next();
    }
    return made;
  }();
  return permutations;
}

// Four vectors at a time, so that their minima stay in registers over all shingles.
__attribute__((target_clones("avx512f", "avx2", "default"))) void FindMinima(const Permutations& p,
                                                                             const uint32_t* shingles, size_t count,
                                                                             Lanes* minima) {
  for (size_t v = 0; v < kVectors; v += 4) {
    const Lanes a0 = p.a[v], a1 = p.a[v + 1], a2 = p.a[v + 2], a3 = p.a[v + 3];
    const Lanes b0 = p.b[v], b1 = p.b[v + 1], b2 = p.b[v + 2], b3 = p.b[v + 3];
    Lanes m0 = ~(a0 ^ a0), m1 = m0, m2 = m0, m3 = m0;
    for (size_t i = 0; i < count; ++i) {
      const uint32_t x = shingles[i];
      const Lanes h0 = a0 * x + b0, h1 = a1 * x + b1, h2 = a2 * x + b2, h3 = a3 * x + b3;
      m0 = h0 < m0 ? h0 : m0;
      m1 = h1 < m1 ? h1 : m1;
      m2 = h2 < m2 ? h2 : m2;
      m3 = h3 < m3 ? h3 : m3;
    }
    minima[v] = m0;
    minima[v + 1] = m1;
    minima[v + 2] = m2;
    minima[v + 3] = m3;
  }
}

}  // namespace

BandKeys MinHashBands(std::span<const uint32_t> shingles) {
  Lanes minima[kVectors];
  FindMinima(FixedPermutations(), shingles.data(), shingles.size(), minima);
  BandKeys keys;
  for (size_t band = 0; band < kBands; ++band) {
    keys[band] = static_cast<uint32_t>(
        XXH3_64bits(reinterpret_cast<const uint32_t*>(minima) + band * kBandRows, kBandRows * sizeof(uint32_t)));
  }
  return keys;
}

}  // namespace attune
