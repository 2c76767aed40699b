// The bf16 kernel with its one instruction in plain C++, so that the whole bf16 path can be tested on any machine.
#include <bit>

#include "ops/cpu/gemm_bf16-inl.h"

namespace {

struct Emulated {
  struct Acc {
    float lane[kLanes];
  };
  struct Pairs {
    uint32_t lane[kLanes];
  };
  static Acc Zero() { return {}; }
  static Pairs Load(const uint32_t* from) {
    Pairs result;
    std::memcpy(result.lane, from, sizeof(result.lane));
    return result;
  }
  static Pairs Broadcast(uint32_t pair) {
    Pairs result;
    for (uint32_t& lane : result.lane) lane = pair;
    return result;
  }
  static float Low(uint32_t pair) { return std::bit_cast<float>(pair << 16); }
  static float High(uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); }
  static Acc Dot(Acc acc, const Pairs& a, const Pairs& b) {
    for (int i = 0; i < kLanes; ++i) {
      acc.lane[i] += High(a.lane[i]) * High(b.lane[i]);
      acc.lane[i] += Low(a.lane[i]) * Low(b.lane[i]);
    }
    return acc;
  }
  static Acc Scale(Acc x, float factor) {
    for (float& lane : x.lane) lane *= factor;
    return x;
  }
  static Acc Keep(Acc x, uint16_t bits) {
    for (int i = 0; i < kLanes; ++i) {
      if ((bits >> i & 1) == 0) x.lane[i] = 0;
    }
    return x;
  }
  static Acc Plus(Acc x, const float* init) {
    for (int i = 0; init != nullptr && i < kLanes; ++i) x.lane[i] += init[i];
    return x;
  }
  static void Store(const Acc& x, float* out) { std::memcpy(out, x.lane, sizeof(x.lane)); }
  static void StoreBf16(const Acc& x, uint16_t* out) {
    for (int i = 0; i < kLanes; ++i) out[i] = RoundToBf16(x.lane[i]);
  }
  static uint32_t Kept(const uint16_t* from, uint32_t keep, int j) { return (keep >> j & 1) != 0 ? from[j] : 0; }
  static Pairs LoadKept(const uint16_t* from, uint32_t keep) {
    Pairs result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = Kept(from, keep, 2 * i) | Kept(from, keep, 2 * i + 1) << 16;
    return result;
  }
  static void StorePairs(const Pairs& pairs, void* to) { std::memcpy(to, pairs.lane, sizeof(pairs.lane)); }
  struct TwoPairs {
    Pairs first, second;
  };
  static TwoPairs Interleave(const uint16_t* low, uint32_t keep_low, const uint16_t* high, uint32_t keep_high) {
    uint32_t pairs[kNr];
    for (int j = 0; j < kNr; ++j) pairs[j] = Kept(low, keep_low, j) | Kept(high, keep_high, j) << 16;
    return {Load(pairs), Load(pairs + kLanes)};
  }
};

}  // namespace

namespace attune {

const GemmKernel* EmulatedBf16GemmKernel() { return KernelOf<Emulated>("bf16 emulated"); }

}  // namespace attune
