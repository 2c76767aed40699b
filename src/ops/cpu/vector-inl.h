// Small vector helpers shared by the kernels: reading and writing f32 or bf16, loops with a tail, exp, reductions.
// Included once for each Highway target, so there is no ordinary include guard.
#if defined(ATTUNE_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_VECTOR_INL_H_
#undef ATTUNE_VECTOR_INL_H_
#else
#define ATTUNE_VECTOR_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "ops/cpu/coarse_exp2.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using FullF32 = hn::CappedTag<float, 16>;
using V = hn::Vec<FullF32>;
constexpr int kLanes = hn::MaxLanes(FullF32());

template <class D>
HWY_INLINE hn::Vec<D> LoadAs(D d, const float* from) {
  return hn::LoadU(d, from);
}

template <class D>
HWY_INLINE hn::Vec<D> LoadAs(D d, const uint16_t* from) {  // bf16
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> dh;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, from))));
}

// IEEE binary16.
struct StoredHalf {
  uint16_t bits;
};

template <class D>
HWY_INLINE hn::Vec<D> LoadAs(D d, const StoredHalf* from) {
  const hn::Rebind<uint16_t, D> du;
  const hn::Rebind<hwy::float16_t, D> dh;
  return hn::PromoteTo(d, hn::BitCast(dh, hn::LoadU(du, &from->bits)));
}

template <class D>
HWY_INLINE hn::Vec<D> LoadAs(D d, const int8_t* from) {
  const hn::RebindToSigned<D> di;
  const hn::Rebind<int8_t, D> d8;
  return hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, from)));
}

template <class D>
HWY_INLINE void StoreAs(hn::Vec<D> x, D d, float* to) {
  hn::StoreU(x, d, to);
}

// The nearest bf16 to x, ties to even, in the upper half of each lane; a NaN keeps its upper half and stays one.
template <class D>
HWY_INLINE hn::Vec<hn::Repartition<uint16_t, D>> RoundToBf16(D, hn::Vec<D> x) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(du, 0x7fff)), odd);
  const auto quiet = hn::Or(bits, hn::Set(du, 0x00400000));
  return hn::BitCast(hn::Repartition<uint16_t, D>(), hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(x)), quiet, rounded));
}

template <class D>
HWY_INLINE void StoreAs(hn::Vec<D> x, D d, uint16_t* to) {
  const hn::Repartition<uint16_t, D> d16;
  const auto rounded = RoundToBf16(d, x);
  hn::StoreU(hn::LowerHalf(hn::ConcatOdd(d16, rounded, rounded)), hn::Half<decltype(d16)>(), to);
}

// Calls body(d, i) for whole vectors, then element by element with a one-lane tag.
template <class Body>
HWY_INLINE void ForEach(int64_t n, const Body& body) {
  const FullF32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(d, i);
  const hn::CappedTag<float, 1> one;
  for (; i < n; ++i) body(one, i);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE float SumLanes(D d, V v) {
  return hn::GetLane(hn::SumOfLanes(d, v));
}

// The sum of the parts of 128 bits.
template <class D>
HWY_INLINE hn::Vec<hn::Full128<float>> SumBlocks(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return SumBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// The sums of the lanes of four vectors, each added up in the same order.
template <class V = hn::Vec<FullF32>>
HWY_INLINE hn::Vec<hn::Full128<float>> FourSums(const V (&v)[4]) {
  const FullF32 d;
  const hn::Repartition<double, FullF32> d64;
  const auto pairs = [&](V x, V y) HWY_ATTR {
    return hn::BitCast(d64, hn::Add(hn::InterleaveLower(d, x, y), hn::InterleaveUpper(d, x, y)));
  };
  const auto first = pairs(v[0], v[1]), second = pairs(v[2], v[3]);
  return SumBlocks(d, hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, first, second)),
                              hn::BitCast(d, hn::InterleaveUpper(d64, first, second))));
}

// acc += *x * b. On AVX-512 as one instruction that takes x from memory: a compiler would load it once for two
// products, which is an instruction more to issue, and what is issued bounds a tile where a core is shared.
HWY_INLINE void AddProduct(V& acc, const float* HWY_RESTRICT x, V b) {
#if HWY_TARGET <= HWY_AVX3 && HWY_COMPILER_GCC
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(acc.raw) : "v"(b.raw), "m"(*x));
#else
  acc = hn::MulAdd(hn::Set(FullF32(), *x), b, acc);
#endif
}

// The nearest whole number to x, |x| < 2^22, in the low bits of the sum: cheaper than rounding and converting.
constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23

// p * 2^n for p near 1, where n is what was added to kRounder.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ScaleByPower(D d, V p, V rounded) {
  const hn::RebindToUnsigned<D> du;
  return hn::BitCast(d, hn::Add(hn::BitCast(du, p), hn::ShiftLeft<23>(hn::BitCast(du, rounded))));
}

// exp(x), relative error below 2e-7 for results in the normal range; below -87.3 it is 0, above 88.4 infinity-sized.
// Cody-Waite reduction to |r| <= ln2/2 and a degree-6 polynomial (Cephes' minimax coefficients).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V FastExp(D d, V x) {
  const V low = hn::Set(d, -87.33654f);
  // Of two operands of which one is NaN, x86's Max and Min return the second: so a NaN stays one.
  const V clamped = hn::Min(hn::Set(d, 88.3762f), hn::Max(low, x));
  const V rounded = hn::MulAdd(clamped, hn::Set(d, 1.44269504088896341f), hn::Set(d, kRounder));
  const V n = hn::Sub(rounded, hn::Set(d, kRounder));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::MulAdd(hn::MulAdd(p, r, hn::Set(d, 1.0f)), r, hn::Set(d, 1.0f));
  return hn::IfThenElse(hn::Lt(x, low), hn::Zero(d), ScaleByPower(d, p, rounded));
}

// 2^x for x < 127, relative error below 1e-7; below -125 it is 0. A minimax polynomial of degree 6 on [-1/2, 1/2].
template <class D, class V = hn::Vec<D>>
HWY_INLINE V FastExp2(D d, V x) {
  const V low = hn::Set(d, -125.0f);
  const V clamped = hn::Max(low, x);  // a NaN stays one, as above
  const V rounded = hn::Add(clamped, hn::Set(d, kRounder));
  const V r = hn::Sub(clamped, hn::Sub(rounded, hn::Set(d, kRounder)));
  V p = hn::Set(d, 1.53458124e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.33999309e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 9.61848907e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.55032864e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.40226462e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.93147182e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::IfThenElse(hn::Lt(x, low), hn::Zero(d), ScaleByPower(d, p, rounded));
}

// 2^x, x taken as within -126 and 126, as near as ops/cpu/coarse_exp2.h says.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V CoarseExp2(D d, V x) {
  const V clamped = hn::Min(hn::Set(d, 126.0f), hn::Max(hn::Set(d, -126.0f), x));  // a NaN stays one, as above
  const V rounded = hn::Add(clamped, hn::Set(d, kRounder));
  const V r = hn::Sub(clamped, hn::Sub(rounded, hn::Set(d, kRounder)));
  V p = hn::Set(d, kCoarseExp2[0]);
  for (int i = 1; i < 5; ++i) p = hn::MulAdd(p, r, hn::Set(d, kCoarseExp2[i]));
  return ScaleByPower(d, p, rounded);
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#endif
