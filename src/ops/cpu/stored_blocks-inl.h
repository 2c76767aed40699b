// Block formats of ggml as vectors of f32 (layouts: quant/gguf_blocks.cc). Elements that share a factor are a
// group; its values are scale * q + offset with q a small integer, so that a dot product needs the factor
// once a group:
//   sum (scale q + offset) x = scale * sum q x + offset * sum x.
// Bytes become floats by one shuffle and one conversion for each vector.
// Included once for each Highway target, so there is no ordinary include guard.
#if defined(ATTUNE_STORED_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTUNE_STORED_BLOCKS_INL_H_
#undef ATTUNE_STORED_BLOCKS_INL_H_
#else
#define ATTUNE_STORED_BLOCKS_INL_H_
#endif

#include <cstdint>

#include "ops/cpu/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {

using V = hn::Vec<FullF32>;
constexpr int kLanes = hn::MaxLanes(FullF32());
using Bytes = hn::Repartition<uint8_t, FullF32>;
using VBytes = hn::Vec<Bytes>;
constexpr int kGroupsTogether = 64;  // whose factors are unpacked at once

HWY_INLINE float LoadHalf(const uint8_t* from) {
  const hn::CappedTag<float, 1> d;
  const hn::Rebind<uint16_t, decltype(d)> du;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  uint16_t bits;
  hwy::CopyBytes<2>(from, &bits);
  return hn::GetLane(hn::PromoteTo(d, hn::BitCast(dh, hn::Set(du, bits))));
}

// Sixteen bytes, repeated in every 128-bit part of the vector.
HWY_INLINE VBytes LoadSixteen(const uint8_t* from) { return hn::LoadDup128(Bytes(), from); }

// Elements [first, first + kLanes) of sixteen bytes as floats: unsigned, or signed and 2^24 times as large.
template <bool kSigned>
HWY_INLINE V Widen(VBytes bytes, uint32_t first) {
  const hn::RebindToUnsigned<FullF32> du;
  const hn::RebindToSigned<FullF32> di;
  // Which byte goes to the lowest (highest, with its sign) place of each lane; 0x80 gives zero in the others.
  const auto byte = hn::Iota(du, first);
  const auto index = kSigned ? hn::Or(hn::ShiftLeft<24>(byte), hn::Set(du, 0x00808080u))
                             : hn::Or(byte, hn::Set(du, 0x80808000u));
  return hn::ConvertTo(FullF32(),
                       hn::BitCast(di, hn::TableLookupBytesOr0(bytes, hn::BitCast(Bytes(), index))));
}

constexpr float kSignedUnit = 0x1p-24f;  // what Widen<true> makes of 1, undone

template <bool kSigned>
HWY_INLINE void WidenAll(VBytes bytes, V* q) {
  for (int j = 0; j < 16 / kLanes; ++j) q[j] = Widen<kSigned>(bytes, static_cast<uint32_t>(j * kLanes));
}

// Unsigned bytes less `zero`, as signed floats.
HWY_INLINE void WidenFrom(uint8_t zero, VBytes bytes, V* q) {
  WidenAll<true>(hn::Sub(bytes, hn::Set(Bytes(), zero)), q);
}

HWY_INLINE VBytes LowNibbles(VBytes bytes) { return hn::And(bytes, hn::Set(Bytes(), uint8_t{15})); }
HWY_INLINE VBytes HighNibbles(VBytes bytes) { return hn::ShiftRight<4>(bytes); }

// 16 where all bits of `bit` are set in `bytes`, else 0: the fifth bit of a quant.
HWY_INLINE VBytes FifthBit(VBytes bytes, VBytes bit) {
  const auto set = hn::VecFromMask(Bytes(), hn::Eq(hn::And(bytes, bit), bit));
  return hn::And(set, hn::Set(Bytes(), uint8_t{16}));
}

// Sixteen fifth bits, bit i for byte i.
HWY_INLINE VBytes SpreadFifthBits(const uint8_t* from) {
  alignas(16) static constexpr uint8_t kByte[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  alignas(16) static constexpr uint8_t kBit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const hn::Repartition<uint16_t, FullF32> du;
  uint16_t bits;
  hwy::CopyBytes<2>(from, &bits);
  const VBytes spread =
      hn::TableLookupBytes(hn::BitCast(Bytes(), hn::Set(du, bits)), hn::LoadDup128(Bytes(), kByte));
  return FifthBit(spread, hn::LoadDup128(Bytes(), kBit));
}

// Factors of groups, scale and offset by turns (formats without offsets: scales alone).

// Blocks that start with kCount float16: all at once, each times `unit`.
template <int kCount, int kBlockBytes>
HWY_INLINE void LoadHalves(const uint8_t* block, int64_t blocks, float unit, float* factors) {
  const FullF32 d;
  const hn::Rebind<uint16_t, FullF32> du;
  const hn::Rebind<hwy::float16_t, FullF32> dh;
  HWY_ALIGN uint16_t halves[kGroupsTogether * kCount];
  for (int64_t b = 0; b < blocks; ++b) {
    hwy::UnsignedFromSize<2 * kCount> word;
    hwy::CopyBytes<2 * kCount>(block + b * kBlockBytes, &word);
    asm("" : "+r"(word));  // or GCC builds vectors of these words piece by piece, several times as slow
    hwy::CopyBytes<2 * kCount>(&word, halves + b * kCount);
  }
  for (int64_t i = 0; i < blocks * kCount; i += kLanes) {
    hn::StoreU(hn::Mul(hn::PromoteTo(d, hn::BitCast(dh, hn::Load(du, halves + i))), hn::Set(d, unit)), d,
               factors + i);
  }
}

// Each format: elements and bytes of a block, elements of a group, whether values have an offset;
// LoadFactors(block, blocks, factors), for at most kGroupsTogether groups, written in whole vectors; and
// LoadGroup(block, g, q), which fills the vectors of group g.

struct Q4_0 {
  static constexpr int kElements = 32, kBytes = 18, kGroup = 32;
  static constexpr bool kHasOffset = false;
  static HWY_INLINE void LoadFactors(const uint8_t* block, int64_t blocks, float* factors) {
    LoadHalves<1, kBytes>(block, blocks, kSignedUnit, factors);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    const VBytes bytes = LoadSixteen(block + 2);
    WidenFrom(8, LowNibbles(bytes), q);
    WidenFrom(8, HighNibbles(bytes), q + 16 / kLanes);
  }
};

struct Q4_1 {
  static constexpr int kElements = 32, kBytes = 20, kGroup = 32;
  static constexpr bool kHasOffset = true;
  static HWY_INLINE void LoadFactors(const uint8_t* block, int64_t blocks, float* factors) {
    LoadHalves<2, kBytes>(block, blocks, 1.0f, factors);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    const VBytes bytes = LoadSixteen(block + 4);
    WidenAll<false>(LowNibbles(bytes), q);
    WidenAll<false>(HighNibbles(bytes), q + 16 / kLanes);
  }
};

struct Q5_0 {
  static constexpr int kElements = 32, kBytes = 22, kGroup = 32;
  static constexpr bool kHasOffset = false;
  static HWY_INLINE void LoadFactors(const uint8_t* block, int64_t blocks, float* factors) {
    LoadHalves<1, kBytes>(block, blocks, kSignedUnit, factors);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    const VBytes bytes = LoadSixteen(block + 6);
    WidenFrom(16, hn::Or(LowNibbles(bytes), SpreadFifthBits(block + 2)), q);
    WidenFrom(16, hn::Or(HighNibbles(bytes), SpreadFifthBits(block + 4)), q + 16 / kLanes);
  }
};

struct Q5_1 {
  static constexpr int kElements = 32, kBytes = 24, kGroup = 32;
  static constexpr bool kHasOffset = true;
  static HWY_INLINE void LoadFactors(const uint8_t* block, int64_t blocks, float* factors) {
    LoadHalves<2, kBytes>(block, blocks, 1.0f, factors);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    const VBytes bytes = LoadSixteen(block + 8);
    WidenAll<false>(hn::Or(LowNibbles(bytes), SpreadFifthBits(block + 4)), q);
    WidenAll<false>(hn::Or(HighNibbles(bytes), SpreadFifthBits(block + 6)), q + 16 / kLanes);
  }
};

struct Q8_0 {
  static constexpr int kElements = 32, kBytes = 34, kGroup = 32;
  static constexpr bool kHasOffset = false;
  static HWY_INLINE void LoadFactors(const uint8_t* block, int64_t blocks, float* factors) {
    LoadHalves<1, kBytes>(block, blocks, kSignedUnit, factors);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    WidenAll<true>(LoadSixteen(block + 2), q);
    WidenAll<true>(LoadSixteen(block + 18), q + 16 / kLanes);
  }
};

// The factors of Q4_K and Q5_K: six bits each, packed into 12 bytes, times two float16.
template <int kBlockBytes>
HWY_INLINE void LoadPackedFactors(const uint8_t* block, int64_t blocks, float* factors) {
  for (int64_t b = 0; b < blocks; ++b, block += kBlockBytes) {
    const float scale = LoadHalf(block), minimum = -LoadHalf(block + 2);
    const uint8_t* packed = block + 4;
    for (int g = 0; g < 4; ++g) {
      factors[16 * b + 2 * g] = scale * static_cast<float>(packed[g] & 63);
      factors[16 * b + 2 * g + 1] = minimum * static_cast<float>(packed[g + 4] & 63);
      factors[16 * b + 2 * g + 8] = scale * static_cast<float>((packed[g + 8] & 15) | packed[g] >> 6 << 4);
      factors[16 * b + 2 * g + 9] =
          minimum * static_cast<float>(packed[g + 8] >> 4 | packed[g + 4] >> 6 << 4);
    }
  }
}

struct Q4_K {
  static constexpr int kElements = 256, kBytes = 144, kGroup = 32;
  static constexpr bool kHasOffset = true;
  static HWY_INLINE void LoadFactors(const uint8_t* block, int64_t blocks, float* factors) {
    LoadPackedFactors<kBytes>(block, blocks, factors);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int g, V* q) {
    for (int half = 0; half < 2; ++half) {
      const VBytes bytes = LoadSixteen(block + 16 + 32 * (g / 2) + 16 * half);
      WidenAll<false>(g % 2 == 0 ? LowNibbles(bytes) : HighNibbles(bytes), q + half * (16 / kLanes));
    }
  }
};

struct Q5_K {
  static constexpr int kElements = 256, kBytes = 176, kGroup = 32;
  static constexpr bool kHasOffset = true;
  static HWY_INLINE void LoadFactors(const uint8_t* block, int64_t blocks, float* factors) {
    LoadPackedFactors<kBytes>(block, blocks, factors);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int g, V* q) {
    const VBytes bit = hn::Set(Bytes(), static_cast<uint8_t>(1 << g));
    for (int half = 0; half < 2; ++half) {
      const VBytes bytes = LoadSixteen(block + 48 + 32 * (g / 2) + 16 * half);
      const VBytes fifth = FifthBit(LoadSixteen(block + 16 + 16 * half), bit);
      WidenAll<false>(hn::Or(g % 2 == 0 ? LowNibbles(bytes) : HighNibbles(bytes), fifth),
                      q + half * (16 / kLanes));
    }
  }
};

struct Q6_K {
  static constexpr int kElements = 256, kBytes = 210, kGroup = 16;
  static constexpr bool kHasOffset = false;
  static HWY_INLINE void LoadFactors(const uint8_t* block, int64_t blocks, float* factors) {
    for (int64_t b = 0; b < blocks; ++b, block += kBytes) {
      const float scale = LoadHalf(block + 208) * kSignedUnit;
      for (int g = 0; g < 16; ++g)
        factors[16 * b + g] = scale * static_cast<float>(static_cast<int8_t>(block[192 + g]));
    }
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int g, V* q) {
    const hn::Repartition<uint16_t, FullF32> d16;
    const int half = g / 8, run = g % 8 / 2, start = g % 2 * 16;
    const VBytes low = LoadSixteen(block + 64 * half + 32 * (run % 2) + start);
    const VBytes high = LoadSixteen(block + 128 + 32 * half + start);
    const VBytes pairs = hn::BitCast(Bytes(), hn::ShiftRightSame(hn::BitCast(d16, high), 2 * run));
    const VBytes top = hn::ShiftLeft<4>(hn::And(pairs, hn::Set(Bytes(), uint8_t{3})));
    WidenFrom(32, hn::Or(run < 2 ? LowNibbles(low) : HighNibbles(low), top), q);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#endif
