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
using DU = hn::CappedTag<uint32_t, 8>;
using VU = hn::Vec<DU>;

void DropoutMaskKernel(const CpuState& state, const DropoutMask& op) {
  const DU d;
  const hn::RebindToSigned<DU> di;
  const uint32_t threshold = static_cast<uint32_t>(std::lround(static_cast<double>(op.probability) * 65536.0));
  const uint32_t* keys = Raw<const uint32_t>(op.keys);
  const int64_t groups = op.bits.cols / 2;
  static_assert(hn::MaxLanes(DU()) == 8, "the mask layout counts eight hashes a group");
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t t = 0; t < op.bits.rows; ++t) {
    uint8_t* bits = RawRow<uint8_t>(op.bits, t);
    const uint32_t key = StreamKey(keys[t], op.module);
    VU counter = hn::Add(hn::Set(d, key), hn::Iota(d, 0));
    const auto limit = hn::BitCast(di, hn::Set(d, threshold));
    for (int64_t g = 0; g < groups; ++g) {
      const VU hash = Mix(d, counter);
      counter = hn::Add(counter, hn::Set(d, 8));
      const auto low = hn::BitCast(di, hn::And(hash, hn::Set(d, 0xffff)));
      const auto high = hn::BitCast(di, hn::ShiftRight<16>(hash));
      hn::StoreMaskBits(di, hn::Not(hn::Lt(low, limit)), bits + 2 * g);
      hn::StoreMaskBits(di, hn::Not(hn::Lt(high, limit)), bits + 2 * g + 1);
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
