// Keep-bits from a counter-based hash, 16 columns at a time: eight 32-bit hashes give sixteen 16-bit draws. Column
// 16 g + i takes the low half of hash i of group g, column 16 g + 8 + i the high half, whatever the vector width.
// Compiled once for each Highway target, by small_kernels.cc.
#include <hwy/highway.h>

#include <cmath>
#include <cstring>

#include "ops/cpu/counter_hash-inl.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {
using DU = hn::CappedTag<uint32_t, 16>;
using VU = hn::Vec<DU>;

// Writes the keep-bits of the groups of one vector of hashes, at most `groups`: draws that are not below `threshold`.
HWY_INLINE void StoreKept(VU hash, uint32_t threshold, int64_t groups, uint8_t* bits) {
  constexpr int kGroups = hn::MaxLanes(DU()) / 8;
#if HWY_TARGET <= HWY_AVX3
  alignas(64) static constexpr uint16_t kOrder[32] = {0,  2,  4,  6,  8,  10, 12, 14, 1,  3,  5,  7,  9,  11, 13, 15,
                                                      16, 18, 20, 22, 24, 26, 28, 30, 17, 19, 21, 23, 25, 27, 29, 31};
  const __m512i draws = _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), hash.raw);
  const uint32_t kept = _mm512_cmpgt_epu16_mask(draws, _mm512_set1_epi16(static_cast<int16_t>(threshold - 1)));
  std::memcpy(bits, &kept, groups >= kGroups ? sizeof(kept) : sizeof(kept) / 2);
#else
  const DU d;
  const hn::RebindToSigned<DU> di;
  const auto limit = hn::BitCast(di, hn::Set(d, threshold));
  const auto low = hn::BitCast(di, hn::And(hash, hn::Set(d, 0xffff)));
  const auto high = hn::BitCast(di, hn::ShiftRight<16>(hash));
  uint8_t kept_low[8], kept_high[8];  // at least 8 bytes may be written
  hn::StoreMaskBits(di, hn::Not(hn::Lt(low, limit)), kept_low);
  hn::StoreMaskBits(di, hn::Not(hn::Lt(high, limit)), kept_high);
  for (int i = 0; i < kGroups && i < groups; ++i) {
    bits[2 * i] = kept_low[i];
    bits[2 * i + 1] = kept_high[i];
  }
#endif
}

void DropoutMaskKernel(const CpuState& state, const DropoutMask& op) {
  const DU d;
  const uint32_t threshold = static_cast<uint32_t>(std::lround(static_cast<double>(op.probability) * 65536.0));
  const uint32_t* keys = Raw<const uint32_t>(op.keys);
  constexpr int kGroups = hn::MaxLanes(DU()) / 8;  // in one vector
  static_assert(kGroups > 0, "the mask layout counts eight hashes a group");
  const int64_t groups = op.bits.cols / 2;
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t t = 0; t < op.bits.rows; ++t) {
    uint8_t* bits = RawRow<uint8_t>(op.bits, t);
    if (threshold == 0) {  // everything is kept
      std::memset(bits, 0xff, static_cast<size_t>(groups) * 2);
      continue;
    }
    VU counter = hn::Add(hn::Set(d, StreamKey(keys[t], op.module)), hn::Iota(d, 0));
    for (int64_t g = 0; g < groups; g += kGroups) {
      StoreKept(Mix(d, counter), threshold, groups - g, bits + 2 * g);
      counter = hn::Add(counter, hn::Set(d, 8 * kGroups));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(DropoutMaskKernel);
void CpuDropoutMask(void* state, const DropoutMask& op) {
  HWY_DYNAMIC_DISPATCH(DropoutMaskKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
