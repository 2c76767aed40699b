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
  static void Store(Acc x, const float* init, float* out) {
    _mm512_storeu_ps(out, init != nullptr ? _mm512_add_ps(x, _mm512_loadu_ps(init)) : x);
  }
  static void KeepRow(const uint16_t* from, uint16_t mask, float scale, uint16_t* to) {
    const __m512i wide = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from)), 16);
    const __m256bh kept = _mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_castsi512_ps(wide), _mm512_set1_ps(scale)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(kept));
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
