// Products of few rows by blocks of ggml in whole numbers, on processors with AVX512-VNNI: turning quants into floats
// takes most of the time of a product in floats. A row of x becomes fixed point, 24 bits by its largest element, in
// three digits of eight bits, each of which one instruction multiplies by 64 quants as they are. Sums of 4 or 8 such
// products are whole numbers and exact, so a product is as close as one in floats (linear_test holds both to the same
// tolerance). Included once for each Highway target, so there is no ordinary include guard; empty for all but AVX-512.
#if defined(ATTUNE_STORED_FIXED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_STORED_FIXED_INL_H_
#undef ATTUNE_STORED_FIXED_INL_H_
#else
#define ATTUNE_STORED_FIXED_INL_H_
#endif

#include "ops/cpu/stored_blocks-inl.h"

#if HWY_TARGET == HWY_AVX3
#include <immintrin.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

using Quants = __m512i;                           // 64 of 8 bits, or 16 sums of 32
constexpr int64_t kStepElements = 128;            // of a row, in two vectors of quants
constexpr int64_t kDigitBytes = 64;               // of one digit for one vector of quants
constexpr float kMostFixed = 0x7f7f70;            // so that every digit is in [-128, 127], however it is rounded
constexpr float kLeastFixed = FLT_MIN * 0x1p24f;  // rows whose largest element is less are left to floats

// sum + products of unsigned quants by signed digits, of four neighbours in each word.
HWY_INLINE Quants Dot(Quants sum, Quants quants, Quants digits) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(quants), "vm"(digits));
  return sum;
}

HWY_INLINE Quants LoadQuants(const void* from) { return _mm512_loadu_si512(from); }
HWY_INLINE Quants Repeat(int byte) { return _mm512_set1_epi8(static_cast<char>(byte)); }
HWY_INLINE Quants ShiftedNibbles(Quants bytes) { return _mm512_and_si512(_mm512_srli_epi16(bytes, 4), Repeat(15)); }

// A different 32-bit word for the lower half of a vector and the upper one.
HWY_INLINE Quants Halves(uint32_t low, uint32_t high) {
  return _mm512_inserti64x4(_mm512_set1_epi32(static_cast<int>(low)), _mm256_set1_epi32(static_cast<int>(high)), 1);
}

// Each format of stored_blocks-inl.h says here
//   kZero          what its unsigned quants count from
//   kShared        whether the two vectors of a step have the same factors
//   kWide          whether sums of products do not fit 32 bits with all three digits in them
//   Element(v, c)  the element of a step with which sixteen bytes c of vector v begin
//   Factor(v)      which of the factors of a step's groups belongs to each word of vector v
// and reads what lies at w, a block that is longer than a step or `blocks` of the four that make one:
//   Factors(w, blocks, factors)      of the groups of each step, zeros behind them
//   Load(w, part, blocks, q)         the quants of step `part`
template <class Format>
struct Fixed;

// What the formats of four blocks a step have in common: low nibbles of all four, then the high ones.
template <int kFactors>
struct FixedNibbles {
  static constexpr bool kShared = true, kWide = false;
  static int64_t Element(int v, int c) { return 32 * c + 16 * v; }
  static HWY_INLINE Quants Factor(int) {
    constexpr int k = kFactors;
    return _mm512_setr_epi32(0, 0, 0, 0, k, k, k, k, 2 * k, 2 * k, 2 * k, 2 * k, 3 * k, 3 * k, 3 * k, 3 * k);
  }
  static HWY_INLINE void Split(Quants bytes, Quants* q) {
    q[0] = _mm512_and_si512(bytes, Repeat(15));
    q[1] = ShiftedNibbles(bytes);
  }
};

// Four blocks of whole words, scale and offset in the first one: any words of theirs by one permutation.
template <class Format>
struct FixedWords : FixedNibbles<2> {
  static constexpr int kZero = 0;
  static constexpr int kWords = Format::kBytes / 4;
  static constexpr int kSecond = 4 * Format::kBytes - 64;  // with which byte the second load begins

  struct Both {
    Quants first, second;
  };
  static HWY_INLINE Both LoadBoth(const uint8_t* w, int64_t blocks) {
    if (HWY_LIKELY(blocks == 4)) return {LoadQuants(w), LoadQuants(w + kSecond)};
    const int64_t bytes = blocks * Format::kBytes;
    const auto mask = [](int64_t count) { return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1; };
    return {_mm512_maskz_loadu_epi8(mask(bytes), w),
            _mm512_maskz_loadu_epi8(mask(std::max<int64_t>(0, bytes - kSecond)), w + kSecond)};
  }
  // Words first to first + kCount - 1 of all four blocks.
  template <int kFirst, int kCount>
  static HWY_INLINE Quants Words(const Both& both) {
    struct Table {
      alignas(64) uint32_t index[16] = {};
      constexpr Table() {
        for (int i = 0; i < 4 * kCount; ++i) {
          const int word = i / kCount * kWords + kFirst + i % kCount;
          index[i] = static_cast<uint32_t>(word < 16 ? word : 16 + word - kSecond / 4);
        }
      }
    };
    static constexpr Table kTable;
    return _mm512_permutex2var_epi32(both.first, LoadQuants(kTable.index), both.second);
  }
  static HWY_INLINE void Factors(const uint8_t* w, int64_t blocks, __m512* factors) {
    const __m128i halves = _mm512_castsi512_si128(Words<0, 1>(LoadBoth(w, blocks)));
    factors[0] = _mm512_zextps256_ps512(_mm256_cvtph_ps(halves));
  }
  static HWY_INLINE void Load(const uint8_t* w, int, int64_t blocks, Quants* q) {
    Split(Words<kWords - 4, 4>(LoadBoth(w, blocks)), q);
  }
};

// Four blocks of an odd number of halves, of which the first is the scale.
template <class Format, int kZeroQuant>
struct FixedHalves : FixedNibbles<1> {
  static constexpr int kZero = kZeroQuant;

  static HWY_INLINE void Factors(const uint8_t* w, int64_t blocks, __m512* factors) {
    uint64_t halves = 0;
#pragma GCC unroll 4
    for (int64_t b = 0; b < 4 && b < blocks; ++b) {
      uint16_t half;
      hwy::CopyBytes<2>(w + b * Format::kBytes, &half);
      halves |= uint64_t{half} << (16 * b);
    }
    const __m128 floats = _mm_cvtph_ps(_mm_cvtsi64_si128(static_cast<int64_t>(halves)));
    factors[0] = _mm512_zextps128_ps512(_mm_mul_ps(floats, _mm_set1_ps(kSignedUnit)));
  }
  static HWY_INLINE void Load(const uint8_t* w, int, int64_t blocks, Quants* q) {
    Quants all = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int64_t b = 0; b < 4 && b < blocks; ++b) {
      const uint8_t* nibbles = w + b * Format::kBytes + Format::kBytes - 16;
      all = _mm512_mask_broadcast_i32x4(all, static_cast<__mmask16>(0xf << (4 * b)),
                                        _mm_loadu_si128(reinterpret_cast<const __m128i*>(nibbles)));
    }
    FixedNibbles<1>::Split(all, q);
  }
};

// With a fifth bit: those of the sixteen low nibbles and then of the high ones lie before the nibbles.
template <class Base, class Format>
struct FixedFiveBits : Base {
  static HWY_INLINE void Load(const uint8_t* w, int part, int64_t blocks, Quants* q) {
    Base::Load(w, part, blocks, q);
    uint64_t low = 0, high = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      uint32_t bits;
      hwy::CopyBytes<4>(w + b * Format::kBytes + Format::kBytes - 20, &bits);
      low |= uint64_t{bits & 0xffff} << (16 * b);
      high |= uint64_t{bits >> 16} << (16 * b);
    }
    q[0] = _mm512_mask_add_epi8(q[0], low, q[0], Repeat(16));
    q[1] = _mm512_mask_add_epi8(q[1], high, q[1], Repeat(16));
  }
};

template <>
struct Fixed<Q4_0> : FixedHalves<Q4_0, 8> {};
template <>
struct Fixed<Q4_1> : FixedWords<Q4_1> {};
template <>
struct Fixed<Q5_0> : FixedFiveBits<FixedHalves<Q5_0, 16>, Q5_0> {};
template <>
struct Fixed<Q5_1> : FixedFiveBits<FixedWords<Q5_1>, Q5_1> {};

template <>
struct Fixed<Q8_0> {
  static constexpr int kZero = 128;
  static constexpr bool kShared = false, kWide = true;
  static int64_t Element(int v, int c) { return 64 * v + 16 * c; }
  static HWY_INLINE Quants Factor(int v) { return _mm512_add_epi32(Halves(0, 1), _mm512_set1_epi32(2 * v)); }
  static HWY_INLINE void Factors(const uint8_t* w, int64_t blocks, __m512* factors) {
    FixedHalves<Q8_0, kZero>::Factors(w, blocks, factors);
  }
  static HWY_INLINE void Load(const uint8_t* w, int, int64_t blocks, Quants* q) {
    const auto load = [&](int64_t b) {
      return b < blocks ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + b * Q8_0::kBytes + 2))
                        : _mm256_setzero_si256();
    };
    for (int v = 0; v < 2; ++v) {
      const Quants two = _mm512_inserti64x4(_mm512_castsi256_si512(load(2 * v)), load(2 * v + 1), 1);
      q[v] = _mm512_xor_si512(two, Repeat(128));
    }
  }
};

// Blocks of two steps, whose factors are unpacked together.
template <class Format>
struct FixedSuperBlock {
  static constexpr bool kShared = false, kWide = false;
  static HWY_INLINE void Factors(const uint8_t* w, int64_t, __m512* factors) {
    HWY_ALIGN float all[16];
    Format::template LoadFactors<1>(w, 0, 1, {all, 0});
    for (int part = 0; part < 2; ++part) factors[part] = _mm512_zextps256_ps512(_mm256_load_ps(all + 8 * part));
  }
};

// A step is 64 bytes: four groups of 32 in the low and high nibbles of the first and the second 32 bytes.
template <class Format>
struct FixedGroupsByTurns : FixedSuperBlock<Format> {
  static constexpr int kZero = 0;
  static int64_t Element(int v, int c) { return 32 * v + 64 * (c / 2) + 16 * (c % 2); }
  static HWY_INLINE Quants Factor(int v) { return _mm512_add_epi32(Halves(0, 4), _mm512_set1_epi32(2 * v)); }
  static HWY_INLINE void LoadNibbles(const uint8_t* from, Quants* q) {
    const Quants bytes = LoadQuants(from);
    q[0] = _mm512_and_si512(bytes, Repeat(15));
    q[1] = ShiftedNibbles(bytes);
  }
};

template <>
struct Fixed<Q4_K> : FixedGroupsByTurns<Q4_K> {
  static HWY_INLINE void Load(const uint8_t* w, int part, int64_t, Quants* q) { LoadNibbles(w + 16 + 64 * part, q); }
};

template <>
struct Fixed<Q5_K> : FixedGroupsByTurns<Q5_K> {
  static HWY_INLINE void Load(const uint8_t* w, int part, int64_t, Quants* q) {
    LoadNibbles(w + 48 + 64 * part, q);
    const Quants fifth =
        _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 16)));  // bit g: group g
    for (int v = 0; v < 2; ++v) {
      const uint32_t bit = 0x01010101u << (4 * part + v);
      q[v] = _mm512_mask_add_epi8(q[v], _mm512_test_epi8_mask(fifth, Halves(bit, bit << 2)), q[v], Repeat(16));
    }
  }
};

// A step is 64 bytes of nibbles, the low ones first, and 32 of two bits for each quarter.
template <>
struct Fixed<Q6_K> : FixedSuperBlock<Q6_K> {
  static constexpr int kZero = 32;
  static int64_t Element(int v, int c) { return 64 * v + 16 * c; }
  static HWY_INLINE Quants Factor(int v) {
    const Quants four = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    return _mm512_add_epi32(four, _mm512_set1_epi32(4 * v));
  }
  static HWY_INLINE void Load(const uint8_t* w, int part, int64_t, Quants* q) {
    const Quants bytes = LoadQuants(w + 64 * part), top = Repeat(0x30);
    const Quants two =
        _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 128 + 32 * part)));
    const Quants low = _mm512_sllv_epi32(two, Halves(4, 2)), high = _mm512_srlv_epi32(two, Halves(0, 2));
    q[0] = _mm512_or_si512(_mm512_and_si512(bytes, Repeat(15)), _mm512_and_si512(low, top));
    q[1] = _mm512_or_si512(ShiftedNibbles(bytes), _mm512_and_si512(high, top));
  }
};

// How rows of x lie in memory, for a format: for each step the three digits of its first vector and of the second one,
// the most significant first; then, where quants count from kZero, what the sums of products start from.
template <class Format>
struct FixedLayout {
  using F = Fixed<Format>;
  static constexpr int64_t kSums = F::kShared ? 1 : 2;  // of products, by digits, in a step
  static constexpr int64_t kStarts = 6 * kDigitBytes;
  static constexpr int64_t kStepBytes = kStarts + (F::kZero != 0 ? kSums * 3 * kDigitBytes : 0);
  static int64_t Steps(int64_t k) { return (k + kStepElements - 1) / kStepElements; }
};

// Rows of x in fixed point.
struct FixedInput {
  const uint8_t* digits;
  int64_t stride;     // bytes
  const float* sums;  // of the elements of groups, at the odd places, and half a vector behind them
  int64_t sums_stride;
  const float* units;  // of the rows' last places
  int64_t k;

  FixedInput From(int64_t m) const {
    return {digits + m * stride, stride, sums + m * sums_stride, sums_stride, units + m, k};
  }
};

HWY_INLINE void StoreDigits(__m512i x, uint8_t* out) {
  const __m512i half = _mm512_set1_epi32(128);
  const __m512i upper = _mm512_srai_epi32(_mm512_add_epi32(x, half), 8);
  const __m512i top = _mm512_srai_epi32(_mm512_add_epi32(upper, half), 8);
  const auto store = [&](int digit, __m512i words) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + digit * kDigitBytes), _mm512_cvtepi32_epi8(words));
  };
  store(0, top);
  store(1, upper);
  store(2, x);
}

// One row. False where its elements are too large or too small: infinite, no numbers.
template <class Format>
bool MakeFixed(const float* x, int64_t k, uint8_t* digits, float* sums, float* unit) {
  using F = Fixed<Format>;
  using Layout = FixedLayout<Format>;
  __m512 most = _mm512_setzero_ps();
  bool numbers = true;
  for (int64_t i = 0; i < k; i += kLanes) {
    const __m512 part = _mm512_loadu_ps(x + i);
    most = _mm512_max_ps(most, _mm512_abs_ps(part));
    numbers &= _mm512_cmp_ps_mask(part, part, _CMP_UNORD_Q) == 0;
  }
  const float largest = _mm512_reduce_max_ps(most);
  if (!numbers || !(largest <= FLT_MAX) || (largest > 0 && largest < kLeastFixed)) return false;
  const float scale = largest > 0 ? kMostFixed / largest : 0.0f;
  *unit = largest / kMostFixed;
  for (int64_t step = 0; step < Layout::Steps(k); ++step, digits += Layout::kStepBytes) {
    for (int v = 0; v < 2; ++v) {
      for (int c = 0; c < 4; ++c) {
        const int64_t i = step * kStepElements + F::Element(v, c);
        __m512i fixed = _mm512_setzero_si512();
        if (i < k) {
          fixed = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(scale)));
          if (Format::kHasOffset)
            sums[i / Format::kGroup * 2 + 1] += static_cast<float>(_mm512_reduce_add_epi32(fixed));
        }
        StoreDigits(fixed, digits + v * 3 * kDigitBytes + 16 * c);
      }
    }
    if constexpr (F::kZero != 0) {
      for (int64_t s = 0; s < 3 * Layout::kSums; ++s) {
        Quants zeros = Dot(_mm512_setzero_si512(), Repeat(F::kZero), LoadQuants(digits + s * kDigitBytes));
        if (F::kShared) zeros = Dot(zeros, Repeat(F::kZero), LoadQuants(digits + (s + 3) * kDigitBytes));
        _mm512_storeu_si512(digits + Layout::kStarts + s * kDigitBytes,
                            _mm512_sub_epi32(_mm512_setzero_si512(), zeros));
      }
    }
  }
  return true;
}

// Rows of blocks by rows of x in fixed point.
template <class Format>
struct FixedBlocks {
  using F = Fixed<Format>;
  using Layout = FixedLayout<Format>;
  const uint8_t* data;
  int64_t row_bytes;

  static constexpr int kParts = std::max(1, Format::kElements / static_cast<int>(kStepElements));  // steps of a block
  static constexpr int64_t kBlocks = std::max<int64_t>(1, kStepElements / Format::kElements);      // of a step
  static constexpr int64_t kSumsOfStep = kStepElements / Format::kGroup * 2;
  static constexpr int64_t kAhead = 4096;  // bytes of rows, which lie one behind the other, that are asked for early

  // The sums of a step, by the place of their digits, as floats.
  static HWY_INLINE __m512 Together(const Quants (&sum)[3]) {
    const Quants low = _mm512_add_epi32(_mm512_slli_epi32(sum[1], 8), sum[2]);
    if (!F::kWide) return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(sum[0], 16), low));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[0]), _mm512_set1_ps(0x1p16f), _mm512_cvtepi32_ps(low));
  }

  static HWY_INLINE void AddStep(const uint8_t* digits, const Quants (&q)[2], const __m512 (&factors)[2], __m512* acc) {
    Quants sum[3];
    for (int v = 0; v < 2; ++v) {
      if (v == 0 || !F::kShared) {
        for (int d = 0; d < 3; ++d) {
          const uint8_t* start = digits + Layout::kStarts + (3 * v + d) * kDigitBytes;
          sum[d] = F::kZero != 0 ? LoadQuants(start) : _mm512_setzero_si512();
        }
      }
      for (int d = 0; d < 3; ++d) sum[d] = Dot(sum[d], q[v], LoadQuants(digits + (3 * v + d) * kDigitBytes));
      if (v == 1 || !F::kShared) *acc = _mm512_fmadd_ps(factors[v], Together(sum), *acc);
    }
  }

  // Adds rows n + r by rows m of x to acc[r][m], in lanes yet to be added.
  template <int kRows, int kM>
  HWY_INLINE void Tile(int64_t n, const FixedInput& in, V (&acc)[kRows][kM]) const {
    const uint8_t* w = data + n * row_bytes;
    const uint8_t* ahead = w + kAhead;
    const uint8_t* digits = in.digits;
    const float* sums = in.sums;
    for (int64_t left = in.k / Format::kElements; left > 0; left -= kBlocks) {
      const int64_t blocks = std::min(left, kBlocks);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const uint8_t* from = w + r * row_bytes;
        __m512 factors[kParts];
        F::Factors(from, blocks, factors);
#pragma GCC unroll 2
        for (int part = 0; part < kParts; ++part) {
          Quants q[2];
          F::Load(from, part, blocks, q);
          __m512 of_words[2];
          for (int v = 0; v < 2; ++v) of_words[v] = _mm512_permutexvar_ps(F::Factor(v), factors[part]);
#pragma GCC unroll 8
          for (int m = 0; m < kM; ++m) {
            AddStep(digits + m * in.stride + part * Layout::kStepBytes, q, of_words, &acc[r][m].raw);
            if constexpr (Format::kHasOffset) {
              const float* of_groups = sums + m * in.sums_stride + part * kSumsOfStep;
              acc[r][m].raw = _mm512_fmadd_ps(factors[part], _mm512_loadu_ps(of_groups), acc[r][m].raw);
            }
          }
        }
      }
      for (int64_t line = 0; line < kRows * kBlocks * Format::kBytes; line += 64) hwy::Prefetch(ahead + line);
      ahead += kRows * kBlocks * Format::kBytes;
      w += kBlocks * Format::kBytes;
      digits += kParts * Layout::kStepBytes;
      sums += kParts * kSumsOfStep;
    }
  }

  float Product(int64_t, float sum, const FixedInput& in, int64_t m) const {
    return sum * in.units[m] * (Format::kHasOffset ? 1.0f : 1.0f / kSignedUnit);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET == HWY_AVX3

#endif
