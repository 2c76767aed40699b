// bf16 products on processors with AVX512-BF16 (Zen 4, Cooper Lake, Sapphire Rapids and later). Highway 1.0.3 has no
// such target, so this one file is written with the intrinsics and compiled for it; it is entered only after the
// processor has been asked.
#include <immintrin.h>

#include "ops/cpu/gemm_bf16-inl.h"

namespace {

struct Native {
  using Acc = __m512;
  using Pairs = __m512i;
  static Acc Zero() { return _mm512_setzero_ps(); }
  static Pairs Load(const uint32_t* from) { return _mm512_loadu_si512(from); }
  static Pairs Broadcast(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }
  static Acc Dot(Acc acc, Pairs a, Pairs b) {
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static Acc Scale(Acc x, float factor) { return _mm512_mul_ps(x, _mm512_set1_ps(factor)); }
  static Acc Keep(Acc x, uint16_t bits) { return _mm512_maskz_mov_ps(bits, x); }
  static Acc Plus(Acc x, const float* init) { return init != nullptr ? _mm512_add_ps(x, _mm512_loadu_ps(init)) : x; }
  static void Store(Acc x, float* out) { _mm512_storeu_ps(out, x); }
  static void StoreBf16(Acc x, uint16_t* out) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
  // Elements that are not kept are not read either.
  static Pairs LoadKept(const uint16_t* from, uint32_t keep) { return _mm512_maskz_loadu_epi16(keep, from); }
  static void StorePairs(Pairs pairs, void* to) { _mm512_storeu_si512(to, pairs); }
  struct TwoPairs {
    Pairs first, second;
  };
  static TwoPairs Interleave(const uint16_t* low, uint32_t keep_low, const uint16_t* high, uint32_t keep_high) {
    alignas(64) static constexpr uint16_t kFirst[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                        8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i first = _mm512_load_si512(kFirst), second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    const __m512i x = LoadKept(low, keep_low), y = LoadKept(high, keep_high);
    return {_mm512_permutex2var_epi16(x, first, y), _mm512_permutex2var_epi16(x, second, y)};
  }
};

}  // namespace

namespace attune {

const GemmKernel* NativeBf16GemmKernel() {
  const bool supported = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return supported ? KernelOf<Native>("AVX512-BF16") : nullptr;
}

}  // namespace attune
