// Random bits from a counter: the hash that dropout masks and embedding noise draw from. What is drawn
// depends on the key and the counter alone, never on the vector width or the thread. Included once for each
// Highway target, so there is no ordinary include guard.
#if defined(ATTUNE_COUNTER_HASH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_COUNTER_HASH_INL_H_
#undef ATTUNE_COUNTER_HASH_INL_H_
#else
#define ATTUNE_COUNTER_HASH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The finaliser of MurmurHash3 (Appleby, public domain): every input bit reaches every output bit.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Mix(D d, V x) {
  x = hn::Xor(x, hn::ShiftRight<16>(x));
  x = hn::Mul(x, hn::Set(d, 0x85ebca6bu));
  x = hn::Xor(x, hn::ShiftRight<13>(x));
  x = hn::Mul(x, hn::Set(d, 0xc2b2ae35u));
  return hn::Xor(x, hn::ShiftRight<16>(x));
}

HWY_INLINE uint32_t MixScalar(uint32_t x) {
  x ^= x >> 16;
  x *= 0x85ebca6bu;
  x ^= x >> 13;
  x *= 0xc2b2ae35u;
  return x ^ (x >> 16);
}

// The key of one token in one stream: streams (an adapter's module, the embedding noise) draw independent
// bits.
HWY_INLINE uint32_t StreamKey(uint32_t token_key, uint32_t stream) {
  return MixScalar(token_key ^ MixScalar(stream * 0x9e3779b9u + 0x7f4a7c15u));
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#endif
