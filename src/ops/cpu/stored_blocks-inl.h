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

// Sixteen bytes become floats in one of two ways.
//
// Signed: a shuffle puts each byte into the top of its lane, so that it keeps its sign and is 2^24 times as
// large.
constexpr float kSignedUnit = 0x1p-24f;

HWY_INLINE void WidenSigned(VBytes bytes, V* q) {
  const hn::RebindToUnsigned<FullF32> du;
  const hn::RebindToSigned<FullF32> di;
  for (int j = 0; j < 16 / kLanes; ++j) {
    const auto byte = hn::Iota(du, static_cast<uint32_t>(j * kLanes));
    const auto index = hn::Or(hn::ShiftLeft<24>(byte), hn::Set(du, 0x00808080u));  // 0x80: zero
    q[j] = hn::ConvertTo(FullF32(), hn::BitCast(di, hn::TableLookupBytesOr0(bytes, hn::BitCast(Bytes(), index))));
  }
}

// Unsigned bytes less `zero`.
HWY_INLINE void WidenFrom(uint8_t zero, VBytes bytes, V* q) { WidenSigned(hn::Sub(bytes, hn::Set(Bytes(), zero)), q); }

// Unsigned: a mask leaves one byte t of each 32-bit word where it stands, 256^t times as large, and the
// elements of x it meets are as much smaller. Place p of sixteen is byte p / 4 of word p % 4: x is reordered
// to match, once a product.
HWY_INLINE int SpreadElement(int place) { return 4 * (place % 4) + place / 4; }
HWY_INLINE float SpreadUnit(int place) { return 1.0f / static_cast<float>(1 << (8 * (place / 4))); }

// kMask: which bits of each byte.
template <uint32_t kMask>
HWY_INLINE void Spread(VBytes bytes, V* q) {
  alignas(64) static constexpr uint32_t kMasks[16] = {
      kMask,       kMask,       kMask,       kMask,       kMask << 8,  kMask << 8,  kMask << 8,  kMask << 8,
      kMask << 16, kMask << 16, kMask << 16, kMask << 16, kMask << 24, kMask << 24, kMask << 24, kMask << 24};
  const hn::RebindToUnsigned<FullF32> du;
  const hn::RebindToSigned<FullF32> di;
  const auto words = hn::BitCast(du, bytes);
  for (int j = 0; j < 16 / kLanes; ++j) {
    q[j] = hn::ConvertTo(FullF32(), hn::BitCast(di, hn::And(words, hn::Load(du, kMasks + j * kLanes))));
  }
}

// The high nibble of each byte in its low four bits, other bits above.
HWY_INLINE VBytes Shifted(VBytes bytes) {
  const hn::RebindToUnsigned<FullF32> du;
  return hn::BitCast(Bytes(), hn::ShiftRight<4>(hn::BitCast(du, bytes)));
}

HWY_INLINE VBytes LowNibbles(VBytes bytes) { return hn::And(bytes, hn::Set(Bytes(), uint8_t{15})); }
HWY_INLINE VBytes HighNibbles(VBytes bytes) { return hn::ShiftRight<4>(bytes); }

// 16 where all bits of `bit` are set in `bytes`, else 0: the fifth bit of a quant.
HWY_INLINE VBytes FifthBit(VBytes bytes, VBytes bit) {
  const auto set = hn::VecFromMask(Bytes(), hn::Eq(hn::And(bytes, bit), bit));
  return hn::And(set, hn::Set(Bytes(), uint8_t{16}));
}

// Sixteen fifth bits, bit i for byte i.
HWY_INLINE VBytes FifthBits(const uint8_t* from) {
  alignas(16) static constexpr uint8_t kByte[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  alignas(16) static constexpr uint8_t kBit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const hn::Repartition<uint16_t, FullF32> du;
  uint16_t bits;
  hwy::CopyBytes<2>(from, &bits);
  const VBytes spread = hn::TableLookupBytes(hn::BitCast(Bytes(), hn::Set(du, bits)), hn::LoadDup128(Bytes(), kByte));
  return FifthBit(spread, hn::LoadDup128(Bytes(), kBit));
}

// Factors of groups, scale and offset by turns (formats without offsets: scales alone). Formats with offsets
// hold unsigned quants, and spread them.

// Where the factors of a few rows of blocks are unpacked to: row r starts at out + r * stride.
struct FactorRoom {
  float* out;
  int64_t stride;
};

// Blocks that start with kCount float16, each times `unit`. All are collected before the first is converted:
// a vector load waits for the stores it spans.
template <int kRows, int kCount, int kBlockBytes>
HWY_INLINE void LoadHalves(const uint8_t* w, int64_t row_bytes, int64_t blocks, float unit, FactorRoom room) {
  const FullF32 d;
  const hn::Rebind<uint16_t, FullF32> du;
  const hn::Rebind<hwy::float16_t, FullF32> dh;
  HWY_ALIGN uint16_t halves[kRows][kGroupsTogether * kCount];
  for (int r = 0; r < kRows; ++r) {
    const uint8_t* block = w + r * row_bytes;
#pragma GCC unroll 4
    for (int64_t b = 0; b < blocks; ++b) {
      hwy::UnsignedFromSize<2 * kCount> word;
      hwy::CopyBytes<2 * kCount>(block + b * kBlockBytes, &word);
      asm("" : "+r"(word));  // or GCC builds vectors of these words piece by piece, several times as slow
      hwy::CopyBytes<2 * kCount>(&word, halves[r] + b * kCount);
    }
    for (int64_t i = blocks * kCount; i % kLanes != 0; ++i) halves[r][i] = 0;
  }
  for (int r = 0; r < kRows; ++r) {
    for (int64_t i = 0; i < blocks * kCount; i += kLanes) {
      const V factor = hn::PromoteTo(d, hn::BitCast(dh, hn::Load(du, halves[r] + i)));
      hn::Store(hn::Mul(factor, hn::Set(d, unit)), d, room.out + r * room.stride + i);
    }
  }
}

// Each format: elements and bytes of a block; elements of a group; whether values have an offset;
// LoadFactors, for at most kGroupsTogether groups of kRows rows, written in whole vectors with zeros at the
// end; and LoadGroup(block, g, q), which fills the vectors of group g.

struct Q4_0 {
  static constexpr int kElements = 32, kBytes = 18, kGroup = 32;
  static constexpr bool kHasOffset = false;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    LoadHalves<kRows, 1, kBytes>(w, row_bytes, blocks, kSignedUnit, room);
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
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    LoadHalves<kRows, 2, kBytes>(w, row_bytes, blocks, 1.0f, room);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    const VBytes bytes = LoadSixteen(block + 4);
    Spread<15>(bytes, q);
    Spread<15>(Shifted(bytes), q + 16 / kLanes);
  }
};

struct Q5_0 {
  static constexpr int kElements = 32, kBytes = 22, kGroup = 32;
  static constexpr bool kHasOffset = false;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    LoadHalves<kRows, 1, kBytes>(w, row_bytes, blocks, kSignedUnit, room);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    const VBytes bytes = LoadSixteen(block + 6);
    WidenFrom(16, hn::Or(LowNibbles(bytes), FifthBits(block + 2)), q);
    WidenFrom(16, hn::Or(HighNibbles(bytes), FifthBits(block + 4)), q + 16 / kLanes);
  }
};

struct Q5_1 {
  static constexpr int kElements = 32, kBytes = 24, kGroup = 32;
  static constexpr bool kHasOffset = true;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    LoadHalves<kRows, 2, kBytes>(w, row_bytes, blocks, 1.0f, room);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    const VBytes bytes = LoadSixteen(block + 8);
    Spread<31>(hn::Or(LowNibbles(bytes), FifthBits(block + 4)), q);
    Spread<31>(hn::Or(HighNibbles(bytes), FifthBits(block + 6)), q + 16 / kLanes);
  }
};

struct Q8_0 {
  static constexpr int kElements = 32, kBytes = 34, kGroup = 32;
  static constexpr bool kHasOffset = false;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    LoadHalves<kRows, 1, kBytes>(w, row_bytes, blocks, kSignedUnit, room);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int, V* q) {
    WidenSigned(LoadSixteen(block + 2), q);
    WidenSigned(LoadSixteen(block + 18), q + 16 / kLanes);
  }
};

using Sixteen = hn::Full128<uint8_t>;

// Sixteen bytes as floats, those at even places times `even`, others times `odd`.
HWY_INLINE void StoreFactors(hn::Vec<Sixteen> bytes, float even, float odd, float* out) {
  const FullF32 d;
  const hn::RebindToSigned<FullF32> di;
  const hn::Rebind<uint8_t, FullF32> d8;
  const V units = hn::OddEven(hn::Set(d, odd), hn::Set(d, even));
  HWY_ALIGN uint8_t room[16];
  hn::Store(bytes, Sixteen(), room);
  for (int i = 0; i < 16; i += kLanes) {
    hn::StoreU(hn::Mul(hn::ConvertTo(d, hn::PromoteTo(di, hn::Load(d8, room + i))), units), d, out + i);
  }
}

// Two bits of each of sixteen quants of Q2_K and Q3_K, other bits above.
HWY_INLINE VBytes TwoBits(const uint8_t* quants, int g) {
  const hn::Repartition<uint16_t, FullF32> d16;
  const VBytes bytes = LoadSixteen(quants + 32 * (g / 8) + 16 * (g % 2));
  return hn::BitCast(Bytes(), hn::ShiftRightSame(hn::BitCast(d16, bytes), 2 * (g % 8 / 2)));
}

struct Q2_K {
  static constexpr int kElements = 256, kBytes = 84, kGroup = 16;
  static constexpr bool kHasOffset = true;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    for (int r = 0; r < kRows; ++r) {
      const uint8_t* block = w + r * row_bytes;
      float* out = room.out + r * room.stride;
      for (int64_t b = 0; b < blocks; ++b, block += kBytes, out += 32) {
        const auto packed = hn::LoadU(Sixteen(), block);
        const auto low = hn::And(packed, hn::Set(Sixteen(), uint8_t{15})), high = hn::ShiftRight<4>(packed);
        const float scale = LoadHalf(block + 80), minimum = -LoadHalf(block + 82);
        StoreFactors(hn::InterleaveLower(Sixteen(), low, high), scale, minimum, out);
        StoreFactors(hn::InterleaveUpper(Sixteen(), low, high), scale, minimum, out + 16);
      }
    }
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int g, V* q) { Spread<3>(TwoBits(block + 16, g), q); }
};

struct Q3_K {
  static constexpr int kElements = 256, kBytes = 110, kGroup = 16;
  static constexpr bool kHasOffset = false;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    for (int r = 0; r < kRows; ++r) {
      const uint8_t* block = w + r * row_bytes;
      float* out = room.out + r * room.stride;
      for (int64_t b = 0; b < blocks; ++b, block += kBytes, out += 16) {
        const float scale = LoadHalf(block + 108) * kSignedUnit;
        const uint8_t* packed = block + 96;
        for (int g = 0; g < 16; ++g) {
          const int low = packed[g % 8] >> (g / 8 * 4) & 15, high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
          out[g] = scale * static_cast<float>((low | high << 4) - 32);
        }
      }
    }
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int g, V* q) {
    const VBytes bit = hn::Set(Bytes(), static_cast<uint8_t>(1 << (g / 2)));
    const VBytes third = hn::ShiftRight<2>(FifthBit(LoadSixteen(block + 16 * (g % 2)), bit));
    const VBytes low = hn::And(TwoBits(block + 32, g), hn::Set(Bytes(), uint8_t{3}));
    WidenFrom(4, hn::Or(low, third), q);
  }
};

// The factors of Q4_K and Q5_K: six bits each, packed into 12 bytes, times two float16.
template <int kBlockBytes>
HWY_INLINE void LoadPackedFactors(const uint8_t* w, int64_t blocks, float* factors) {
  const hn::Full128<uint64_t> d64;
  for (int64_t b = 0; b < blocks; ++b, w += kBlockBytes, factors += 16) {
    uint32_t words[3];
    hwy::CopyBytes<12>(w + 4, words);
    const auto eight = [&](uint32_t first,
                           uint32_t rest) {  // four of six bits; of four the last four and the first two
      const uint32_t second = (rest & 0x0f0f0f0fu) | (first >> 6 & 0x03030303u) << 4;
      return hn::BitCast(Sixteen(), hn::Set(d64, uint64_t{second} << 32 | (first & 0x3f3f3f3fu)));
    };
    const auto scales = eight(words[0], words[2]), minima = eight(words[1], words[2] >> 4);
    StoreFactors(hn::InterleaveLower(Sixteen(), scales, minima), LoadHalf(w), -LoadHalf(w + 2), factors);
  }
}

struct Q4_K {
  static constexpr int kElements = 256, kBytes = 144, kGroup = 32;
  static constexpr bool kHasOffset = true;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    for (int r = 0; r < kRows; ++r) LoadPackedFactors<kBytes>(w + r * row_bytes, blocks, room.out + r * room.stride);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int g, V* q) {
    for (int half = 0; half < 2; ++half) {
      const VBytes bytes = LoadSixteen(block + 16 + 32 * (g / 2) + 16 * half);
      Spread<15>(g % 2 == 0 ? bytes : Shifted(bytes), q + half * (16 / kLanes));
    }
  }
};

struct Q5_K {
  static constexpr int kElements = 256, kBytes = 176, kGroup = 32;
  static constexpr bool kHasOffset = true;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    for (int r = 0; r < kRows; ++r) LoadPackedFactors<kBytes>(w + r * row_bytes, blocks, room.out + r * room.stride);
  }
  static HWY_INLINE void LoadGroup(const uint8_t* block, int g, V* q) {
    const VBytes bit = hn::Set(Bytes(), static_cast<uint8_t>(1 << g));
    for (int half = 0; half < 2; ++half) {
      const VBytes bytes = LoadSixteen(block + 48 + 32 * (g / 2) + 16 * half);
      const VBytes fifth = FifthBit(LoadSixteen(block + 16 + 16 * half), bit);
      Spread<31>(hn::Or(g % 2 == 0 ? LowNibbles(bytes) : HighNibbles(bytes), fifth), q + half * (16 / kLanes));
    }
  }
};

struct Q6_K {
  static constexpr int kElements = 256, kBytes = 210, kGroup = 16;
  static constexpr bool kHasOffset = false;
  template <int kRows>
  static HWY_INLINE void LoadFactors(const uint8_t* w, int64_t row_bytes, int64_t blocks, FactorRoom room) {
    for (int r = 0; r < kRows; ++r) {
      const uint8_t* block = w + r * row_bytes;
      float* out = room.out + r * room.stride;
      for (int64_t b = 0; b < blocks; ++b, block += kBytes, out += 16) {
        const V scale = hn::Set(FullF32(), LoadHalf(block + 208) * kSignedUnit);
        for (int g = 0; g < 16; g += kLanes) {
          hn::StoreU(hn::Mul(scale, LoadAs(FullF32(), reinterpret_cast<const int8_t*>(block + 192 + g))), FullF32(),
                     out + g);
        }
      }
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
