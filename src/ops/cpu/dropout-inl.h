// Keep-bits from a counter-based hash, 16 columns at a time: eight 32-bit hashes give sixteen 16-bit draws. Column
// 16 g + i takes the low half of hash i of group g, column 16 g + 8 + i the high half, whatever the vector width.
// Compiled once for each Highway target, by small_kernels.cc.
#include <hwy/highway.h>

#include <cmath>

#include "ops/cpu/counter_hash-inl.h"
#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {
using DU = hn::CappedTag<uint32_t, 16>;
using VU = hn::Vec<DU>;

void DropoutMaskKernel(const CpuState& state, const DropoutMask& op) {
  const DU d;
  const hn::RebindToSigned<DU> di;
  const uint32_t threshold = static_cast<uint32_t>(std::lround(static_cast<double>(op.probability) * 65536.0));
  const uint32_t* keys = Raw<const uint32_t>(op.keys);
  constexpr int kGroups = hn::MaxLanes(DU()) / 8;  // in one vector
  static_assert(kGroups > 0, "the mask layout counts eight hashes a group");
  const int64_t groups = op.bits.cols / 2;
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t t = 0; t < op.bits.rows; ++t) {
    uint8_t* bits = RawRow<uint8_t>(op.bits, t);
    VU counter = hn::Add(hn::Set(d, StreamKey(keys[t], op.module)), hn::Iota(d, 0));
    const auto limit = hn::BitCast(di, hn::Set(d, threshold));
    for (int64_t g = 0; g < groups; g += kGroups) {
      const VU hash = Mix(d, counter);
      counter = hn::Add(counter, hn::Set(d, 8 * kGroups));
      const auto low = hn::BitCast(di, hn::And(hash, hn::Set(d, 0xffff)));
      const auto high = hn::BitCast(di, hn::ShiftRight<16>(hash));
      uint8_t kept_low[8], kept_high[8];  // at least 8 bytes may be written
      hn::StoreMaskBits(di, hn::Not(hn::Lt(low, limit)), kept_low);
      hn::StoreMaskBits(di, hn::Not(hn::Lt(high, limit)), kept_high);
      for (int i = 0; i < kGroups && g + i < groups; ++i) {
        bits[2 * (g + i)] = kept_low[i];
        bits[2 * (g + i) + 1] = kept_high[i];
      }
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
