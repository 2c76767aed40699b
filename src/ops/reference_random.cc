// Plain references of the ops that draw random bits.
#include <algorithm>
#include <cmath>

#include "ops/cpu/raw.h"
#include "ops/reference.h"

namespace attune {
namespace {

// MurmurHash3's finaliser.
uint32_t MixBits(uint32_t x) {
  x = (x ^ x >> 16) * 0x85ebca6bu;
  x = (x ^ x >> 13) * 0xc2b2ae35u;
  return x ^ x >> 16;
}

uint32_t StreamKey(uint32_t token_key, uint32_t stream) {
  return MixBits(token_key ^ MixBits(stream * 0x9e3779b9u + 0x7f4a7c15u));
}

}  // namespace

void Reference(const DropoutMask& op) {
  const double threshold = std::round(static_cast<double>(op.probability) * 65536);
  for (int64_t t = 0; t < op.bits.rows; ++t) {
    uint8_t* bits = RawRow<uint8_t>(op.bits, t);
    std::fill_n(bits, op.bits.cols, uint8_t{0});
    const uint32_t key = StreamKey(Raw<const uint32_t>(op.keys)[t], op.module);
    for (int64_t c = 0; c < op.bits.cols * 8; ++c) {
      // Columns 16 g + i and 16 g + 8 + i share the hash of counter 8 g + i: its low and its high half.
      const uint32_t hash = MixBits(key + static_cast<uint32_t>(c / 16 * 8 + c % 8));
      const uint32_t draw = c % 16 < 8 ? hash & 0xffff : hash >> 16;
      if (draw >= threshold) bits[c / 8] = static_cast<uint8_t>(bits[c / 8] | 1 << (c % 8));
    }
  }
}

void Reference(const EmbeddingNoise& op) {
  const int32_t* starts = Raw<const int32_t>(op.starts);
  for (int64_t s = 0; s + 1 < op.starts.cols; ++s) {
    const double size = static_cast<double>(starts[s + 1] - starts[s]) * static_cast<double>(op.x.cols);
    for (int64_t t = starts[s]; t < starts[s + 1]; ++t) {
      const uint32_t key = StreamKey(Raw<const uint32_t>(op.keys)[t], 0xffffffffu);
      for (int64_t c = 0; c < op.x.cols; ++c) {
        // The middles of 2^24 equal parts of (-1, 1).
        const double draw = (2.0 * (MixBits(key + static_cast<uint32_t>(c)) >> 8) + 1) * 0x1p-24 - 1;
        Put(op.x, t, c, Get(op.x, t, c) + op.alpha / std::sqrt(size) * draw);
      }
    }
  }
}

}  // namespace attune
