// bf16 attention with the vector type of attention_bf16-inl.h in plain C++, so that it can be tested on any
// machine.
#include <bit>
#include <cmath>

#include "ops/cpu/attention_bf16-inl.h"
#include "quant/float16.h"

namespace {

struct Emulated {
  struct Acc {
    float lane[kLanes];
  };
  struct Pairs {
    uint32_t lane[kLanes];
  };
  struct Halves {
    uint16_t value[2][kLanes];
  };

  template <class F>
  static Acc ForEach(const F& f) {
    Acc result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = f(i);
    return result;
  }

  static Acc Zero() { return {}; }
  static Acc Set(float x) {
    return ForEach([&](int) { return x; });
  }
  static Acc Load(const float* from) {
    return ForEach([&](int i) { return from[i]; });
  }
  static void Store(const Acc& x, float* to) { std::memcpy(to, x.lane, sizeof(x.lane)); }
  static Acc Add(const Acc& x, const Acc& y) {
    return ForEach([&](int i) { return x.lane[i] + y.lane[i]; });
  }
  static Acc Sub(const Acc& x, const Acc& y) {
    return ForEach([&](int i) { return x.lane[i] - y.lane[i]; });
  }
  static Acc Mul(const Acc& x, const Acc& y) {
    return ForEach([&](int i) { return x.lane[i] * y.lane[i]; });
  }
  static Acc MulAdd(const Acc& x, const Acc& y, const Acc& z) {
    return ForEach([&](int i) { return x.lane[i] * y.lane[i] + z.lane[i]; });
  }
  static Acc MulSub(const Acc& x, const Acc& y, const Acc& z) {
    return ForEach([&](int i) { return x.lane[i] * y.lane[i] - z.lane[i]; });
  }
  static Acc Max(const Acc& x, const Acc& y) {
    return ForEach([&](int i) { return x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i]; });
  }
  static Acc Round(const Acc& x) {
    return ForEach([&](int i) { return std::nearbyint(x.lane[i]); });
  }
  static Acc TimesPowerOfTwo(const Acc& x, const Acc& whole) {
    return ForEach([&](int i) {
      const float power = whole.lane[i];
      if (!(std::abs(power) < 1000)) return power < 0 ? 0.0f : x.lane[i] * power;  // NaN stays one
      return std::ldexp(x.lane[i], static_cast<int>(power));
    });
  }
  static Acc Select(uint16_t bits, const Acc& x, const Acc& otherwise) {
    return ForEach([&](int i) { return (bits >> i & 1) != 0 ? x.lane[i] : otherwise.lane[i]; });
  }

  static Pairs LoadPairs(const uint32_t* from) {
    Pairs result;
    std::memcpy(result.lane, from, sizeof(result.lane));
    return result;
  }
  static void StorePairs(const Pairs& x, uint32_t* to) { std::memcpy(to, x.lane, sizeof(x.lane)); }
  static Pairs Broadcast(uint32_t pair) {
    Pairs result;
    for (uint32_t& lane : result.lane) lane = pair;
    return result;
  }
  static Acc Dot(Acc acc, const Pairs& a, const Pairs& b) {
    const auto low = [](uint32_t pair) { return std::bit_cast<float>(pair << 16); };
    const auto high = [](uint32_t pair) { return std::bit_cast<float>(pair & 0xffff0000u); };
    for (int i = 0; i < kLanes; ++i) {
      acc.lane[i] += high(a.lane[i]) * high(b.lane[i]);
      acc.lane[i] += low(a.lane[i]) * low(b.lane[i]);
    }
    return acc;
  }

  static Halves Narrow(const Acc& x, const Acc& y) {
    Halves result;
    for (int i = 0; i < kLanes; ++i) {
      result.value[0][i] = attune::FloatToBf16(x.lane[i]);
      result.value[1][i] = attune::FloatToBf16(y.lane[i]);
    }
    return result;
  }
  static void StoreHalves(const Halves& h, uint32_t* first, uint32_t* second) {
    std::memcpy(first, h.value[0], sizeof(h.value[0]));
    std::memcpy(second, h.value[1], sizeof(h.value[1]));
  }
  static Pairs Interleave(const Halves& h) {
    Pairs result;
    for (int i = 0; i < kLanes; ++i) result.lane[i] = h.value[0][i] | static_cast<uint32_t>(h.value[1][i]) << 16;
    return result;
  }
  static Pairs Zip(const uint32_t* first, const uint32_t* second) {
    Halves h;
    std::memcpy(h.value[0], first, sizeof(h.value[0]));
    std::memcpy(h.value[1], second, sizeof(h.value[1]));
    return Interleave(h);
  }
};

}  // namespace

namespace attune {

const AttentionKernel* EmulatedBf16AttentionKernel() { return AttentionKernelOf<Emulated>(); }

}  // namespace attune
