// bf16 attention on processors with AVX512-BF16: the vector type of attention_bf16-inl.h in intrinsics. Compiled for
// these processors alone, and entered only after the processor has been asked.
#include <immintrin.h>

#include "ops/cpu/attention_bf16-inl.h"

namespace {

struct Native {
  using Acc = __m512;
  using Pairs = __m512i;
  struct Halves {  // sixteen bf16, then sixteen more
    __m512i values;
  };

  static Acc Zero() { return _mm512_setzero_ps(); }
  static Acc Set(float x) { return _mm512_set1_ps(x); }
  static Acc Load(const float* from) { return _mm512_loadu_ps(from); }
  static void Store(Acc x, float* to) { _mm512_storeu_ps(to, x); }
  static Acc Add(Acc x, Acc y) { return _mm512_add_ps(x, y); }
  static Acc Sub(Acc x, Acc y) { return _mm512_sub_ps(x, y); }
  static Acc Mul(Acc x, Acc y) { return _mm512_mul_ps(x, y); }
  static Acc MulAdd(Acc x, Acc y, Acc z) { return _mm512_fmadd_ps(x, y, z); }
  static Acc MulSub(Acc x, Acc y, Acc z) { return _mm512_fmsub_ps(x, y, z); }
  static Acc Max(Acc x, Acc y) { return _mm512_max_ps(x, y); }
  static Acc Round(Acc x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Acc TimesPowerOfTwo(Acc x, Acc whole) { return _mm512_scalef_ps(x, whole); }
  static Acc Select(uint16_t bits, Acc x, Acc otherwise) { return _mm512_mask_mov_ps(otherwise, bits, x); }

  static Pairs LoadPairs(const uint32_t* from) { return _mm512_loadu_si512(from); }
  static void StorePairs(Pairs x, uint32_t* to) { _mm512_storeu_si512(to, x); }
  static Pairs Broadcast(uint32_t pair) { return _mm512_set1_epi32(static_cast<int>(pair)); }
  static Acc Dot(Acc acc, Pairs a, Pairs b) {
    return _mm512_dpbf16_ps(acc, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }

  // Rounded to bf16: those of x, then those of y.
  static Halves Narrow(Acc x, Acc y) { return {reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y, x))}; }
  static void StoreHalves(Halves h, uint32_t* first, uint32_t* second) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(first), _mm512_castsi512_si256(h.values));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(second), _mm512_extracti64x4_epi64(h.values, 1));
  }
  // Units of one of the first half and one of the second.
  static Pairs Interleave(Halves h) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(h.values));
    const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(h.values, 1));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }
  // Units of one bf16 of the first row and one of the second.
  static Pairs Zip(const uint32_t* first, const uint32_t* second) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(first)));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(second)));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  }
};

}  // namespace

namespace attune {

const AttentionKernel* NativeBf16AttentionKernel() {
  const bool supported = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
                         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return supported ? AttentionKernelOf<Native>() : nullptr;
}

}  // namespace attune
