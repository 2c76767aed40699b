// AdamW with its states in 8 bits: a block is decoded, updated and encoded again by one thread, in its registers and
// cache. Every operation is the one of quant/adamw8bit.cc, in its order; this file is compiled without fused
// multiply-add.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/optimizer_8bit.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>

#include "ops/cpu/kernels.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/vector-inl.h"
#include "quant/adamw8bit.h"
#include "quant/dynamic8.h"
#include "quant/largest.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

template <class D>
HWY_INLINE hn::Vec<D> DecodeCodes(D d, const CodeMap& map, const uint8_t* codes, float scale) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> db;
  const auto index = hn::PromoteTo(di, hn::LoadU(db, codes));
  return hn::Mul(hn::GatherIndex(d, map.data(), index), hn::Set(d, scale));
}

// NearestCode's search, all lanes at once (quant/dynamic8.h says what its tables hold).
template <class D>
HWY_INLINE void EncodeCodes(D d, const NearestCode& nearest, hn::Vec<D> x, uint8_t* codes) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint8_t, D> db;
  const auto smallest = hn::Set(di, static_cast<int32_t>(NearestCode::kSmallest));
  const auto bits = hn::BitCast(di, x);
  const auto upper = hn::ShiftRight<16>(hn::And(bits, hn::Set(di, 0x7FFFFFFF)));
  const auto clamped = hn::Min(hn::Max(upper, smallest), hn::Set(di, static_cast<int32_t>(NearestCode::kLargest)));
  const auto negative = hn::And(hn::BroadcastSignBit(bits), hn::Set(di, static_cast<int32_t>(NearestCode::kBuckets)));
  const auto bucket = hn::Add(hn::Sub(clamped, smallest), negative);
  const auto* first = reinterpret_cast<const int32_t*>(nearest.first().data());
  const auto lowest = hn::And(hn::GatherOffset(di, first, bucket), hn::Set(di, 0xFF));
  const auto middle = hn::GatherIndex(d, nearest.middles().data(), lowest);
  const auto above = hn::VecFromMask(di, hn::RebindMask(di, hn::Gt(x, middle)));  // -1 where it is the next code
  const auto not_a_number = hn::RebindMask(di, hn::IsNaN(x));
  const auto code = hn::IfThenElse(not_a_number, hn::Set(di, 255), hn::Sub(lowest, above));
  hn::StoreU(hn::DemoteTo(db, code), db, codes);
}

// The largest magnitude, which is how floats are ordered by their bits (quant/largest.h), stored in *absmax; gives what
// the block is divided by.
HWY_INLINE float ScaleOf(const float* values, int64_t size, float* absmax) {
  const FullF32 d;
  const hn::RebindToSigned<FullF32> di;
  const auto* bits = reinterpret_cast<const int32_t*>(values);
  auto largest = hn::Zero(di);
  int32_t rest = 0;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    largest = hn::Max(largest, hn::And(hn::LoadU(di, bits + i), hn::Set(di, 0x7FFFFFFF)));
  }
  for (; i < size; ++i) rest = std::max(rest, bits[i] & 0x7FFFFFFF);
  *absmax = std::bit_cast<float>(std::max(rest, hn::GetLane(hn::MaxOfLanes(di, largest))));
  return *absmax < kLeastScale ? kLeastScale : *absmax;
}

void AdamW8bitKernel(const CpuState& state, const AdamW8bit& op) {
  const AdamW8bitSettings settings = {op.learning_rate, op.beta1, op.beta2, op.eps, op.weight_decay, op.gradient_scale};
  const AdamW8bitNumbers n(settings, op.step);
  const NearestCode& nearest_m = NearestDynamic(true);
  const NearestCode& nearest_v = NearestDynamic(false);
  const int64_t count = op.weight.cols, blocks = (count + kAdamW8bitBlock - 1) / kAdamW8bitBlock;
#pragma omp parallel for num_threads(state.scratch.threads) schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t begin = block * kAdamW8bitBlock, size = std::min(kAdamW8bitBlock, count - begin);
    float* weight = Raw<float>(op.weight) + begin;
    const float* gradient = Raw<const float>(op.gradient) + begin;
    uint8_t* m_codes = Raw<uint8_t>(op.m) + begin;
    uint8_t* v_codes = Raw<uint8_t>(op.v) + begin;
    float* absmax_m = Raw<float>(op.absmax_m) + block;
    float* absmax_v = Raw<float>(op.absmax_v) + block;
    HWY_ALIGN float m[kAdamW8bitBlock];
    HWY_ALIGN float v[kAdamW8bitBlock];
    ForEach(size, [&](auto d, int64_t i) HWY_ATTR {
      const auto g = hn::Mul(hn::LoadU(d, gradient + i), hn::Set(d, n.scale));
      const auto finite = hn::IsFinite(g);
      const auto m0 = DecodeCodes(d, nearest_m.map(), m_codes + i, *absmax_m);
      const auto v0 = DecodeCodes(d, nearest_v.map(), v_codes + i, *absmax_v);
      const auto m1 = hn::Add(hn::Mul(m0, hn::Set(d, n.beta1)), hn::Mul(hn::Set(d, n.rest1), g));
      const auto v1 = hn::Add(hn::Mul(v0, hn::Set(d, n.beta2)), hn::Mul(hn::Set(d, n.rest2), hn::Mul(g, g)));
      const auto denominator = hn::Add(hn::Div(hn::Sqrt(v1), hn::Set(d, n.correction)), hn::Set(d, n.epsilon));
      const auto w = hn::LoadU(d, weight + i);
      const auto moved =
          hn::Add(hn::Mul(w, hn::Set(d, n.decay)), hn::Div(hn::Mul(hn::Set(d, n.rate), m1), denominator));
      hn::StoreU(hn::IfThenElse(finite, moved, w), d, weight + i);
      hn::StoreU(hn::IfThenElseZero(finite, m1), d, m + i);
      hn::StoreU(hn::IfThenElseZero(finite, v1), d, v + i);
    });
    const float divisor_m = ScaleOf(m, size, absmax_m), divisor_v = ScaleOf(v, size, absmax_v);
    ForEach(size, [&](auto d, int64_t i) HWY_ATTR {
      EncodeCodes(d, nearest_m, hn::Div(hn::LoadU(d, m + i), hn::Set(d, divisor_m)), m_codes + i);
      EncodeCodes(d, nearest_v, hn::Div(hn::LoadU(d, v + i), hn::Set(d, divisor_v)), v_codes + i);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(AdamW8bitKernel);

void CpuAdamW8bit(void* state, const AdamW8bit& op) {
  HWY_DYNAMIC_DISPATCH(AdamW8bitKernel)(*static_cast<CpuState*>(state), op);
}
}  // namespace attune
#endif
