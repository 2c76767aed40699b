// Sixteen elements at a time: their small integers as bytes in order, widened, then times the scale. Products and sums
// are rounded one by one, as the plain decoders do it (compiled without contraction; ops/CMakeLists.txt).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/stored_tile.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "ops/cpu/raw.h"
#include "ops/cpu/stored_tile.h"
#include "ops/cpu/stored_view.h"
#include "ops/cpu/typed.h"
#include "ops/cpu/vector-inl.h"
#include "quant/int8_rows.h"

HWY_BEFORE_NAMESPACE();
namespace attune {
namespace HWY_NAMESPACE {
namespace stored_tile {

using Bytes16 = hn::Full128<uint8_t>;
using VBytes16 = hn::Vec<Bytes16>;

HWY_INLINE float Half16(const uint8_t* at) {
  const hn::Full128<float> d;
  const hn::Rebind<uint16_t, decltype(d)> d16;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  uint16_t half;
  std::memcpy(&half, at, sizeof half);
  return hn::GetLane(hn::PromoteTo(d, hn::BitCast(dh, hn::Set(d16, half))));
}

HWY_INLINE VBytes16 Load16(const uint8_t* at) { return hn::LoadU(Bytes16(), at); }
HWY_INLINE VBytes16 Only(VBytes16 bytes, uint8_t bits) { return hn::And(bytes, hn::Set(Bytes16(), bits)); }

// Bits [shift, shift + width) of each byte, shift + width <= 8; `bits` is 2^width - 1.
HWY_INLINE VBytes16 Field(VBytes16 bytes, int shift, uint8_t bits) {
  const hn::Repartition<uint16_t, Bytes16> d16;
  return Only(hn::BitCast(Bytes16(), hn::ShiftRightSame(hn::BitCast(d16, bytes), shift)), bits);
}

HWY_INLINE VBytes16 Nibble(VBytes16 bytes, int half) { return Field(bytes, half * 4, 15); }

// `value` where one of sixteen bits is set.
HWY_INLINE VBytes16 WhereBit(const uint8_t* bits, uint8_t value) {
  return hn::IfThenElseZero(hn::LoadMaskBits(Bytes16(), bits), hn::Set(Bytes16(), value));
}

// Calls body(bytes, place of the first) for sixteen bytes in as many as there are lanes.
template <class Body>
HWY_INLINE void ForLanes(VBytes16 bytes, const Body& body) {
  if constexpr (kLanes == 16) {
    body(bytes, 0);
  } else {
    const hn::Half<Bytes16> d;
    body(hn::LowerHalf(d, bytes), 0);
    body(hn::UpperHalf(d, bytes), 8);
  }
}

// Of as many codes as there are lanes.
template <class Format, class Bytes>
HWY_INLINE V Values(Bytes codes, const Format& block) {
  const FullF32 d;
  const hn::RebindToSigned<FullF32> di;
  const hn::Rebind<int8_t, FullF32> d8;
  if constexpr (Format::kZero > 0) codes = hn::Sub(codes, hn::Set(hn::DFromV<Bytes>(), uint8_t{Format::kZero}));
  const V value = hn::Mul(hn::ConvertTo(d, hn::PromoteTo(di, hn::BitCast(d8, codes))), hn::Set(d, block.scale));
  return Format::kHasOffset ? hn::Add(value, hn::Set(d, block.offset)) : value;
}

// A format: a block at `in` (layouts: quant/gguf_blocks.cc). Sixteen(h) gives elements 16 h and after as bytes, kZero
// more than they mean; the scale and the offset that go with them are there after Factors(h), which where kShared holds
// for an even h and the next.
struct Q8_0 {
  static constexpr int kElements = 32, kBytes = 34, kZero = 0;
  static constexpr bool kHasOffset = false, kShared = true, kIsNibble = false;
  explicit Q8_0(const uint8_t* block) : in(block), scale(Half16(block)) {}
  HWY_INLINE void Factors(int) {}
  HWY_INLINE VBytes16 Sixteen(int h) const { return Load16(in + 2 + 16 * h); }
  const uint8_t* in;
  float scale, offset = 0;
};

struct Q4_0 {
  static constexpr int kElements = 32, kBytes = 18, kZero = 8;
  static constexpr bool kHasOffset = false, kShared = true, kIsNibble = true;
  explicit Q4_0(const uint8_t* block) : in(block), scale(Half16(block)) {}
  HWY_INLINE void Factors(int) {}
  HWY_INLINE VBytes16 Sixteen(int h) const { return Nibble(Load16(in + 2), h); }
  const uint8_t* in;
  float scale, offset = 0;
};

struct Q4_1 {
  static constexpr int kElements = 32, kBytes = 20, kZero = 0;
  static constexpr bool kHasOffset = true, kShared = true, kIsNibble = true;
  explicit Q4_1(const uint8_t* block) : in(block), scale(Half16(block)), offset(Half16(block + 2)) {}
  HWY_INLINE void Factors(int) {}
  HWY_INLINE VBytes16 Sixteen(int h) const { return Nibble(Load16(in + 4), h); }
  const uint8_t* in;
  float scale, offset;
};

struct Q5_0 {
  static constexpr int kElements = 32, kBytes = 22, kZero = 16;
  static constexpr bool kHasOffset = false, kShared = true, kIsNibble = false;
  explicit Q5_0(const uint8_t* block) : in(block), scale(Half16(block)) {}
  HWY_INLINE void Factors(int) {}
  HWY_INLINE VBytes16 Sixteen(int h) const { return hn::Or(Nibble(Load16(in + 6), h), WhereBit(in + 2 + 2 * h, 16)); }
  const uint8_t* in;
  float scale, offset = 0;
};

struct Q5_1 {
  static constexpr int kElements = 32, kBytes = 24, kZero = 0;
  static constexpr bool kHasOffset = true, kShared = true, kIsNibble = false;
  explicit Q5_1(const uint8_t* block) : in(block), scale(Half16(block)), offset(Half16(block + 2)) {}
  HWY_INLINE void Factors(int) {}
  HWY_INLINE VBytes16 Sixteen(int h) const { return hn::Or(Nibble(Load16(in + 8), h), WhereBit(in + 4 + 2 * h, 16)); }
  const uint8_t* in;
  float scale, offset;
};

// Where the two-bit quants of sixteen elements are, in Q2_K and Q3_K.
HWY_INLINE VBytes16 TwoBits(const uint8_t* quants, int h) {
  return Field(Load16(quants + 32 * (h / 8) + 16 * (h % 2)), 2 * (h % 8 / 2), 3);
}

struct Q2_K {
  static constexpr int kElements = 256, kBytes = 84, kZero = 0;
  static constexpr bool kHasOffset = true, kShared = false, kIsNibble = false;
  explicit Q2_K(const uint8_t* block) : in(block), whole(Half16(block + 80)), minimum(Half16(block + 82)) {}
  HWY_INLINE void Factors(int h) {
    scale = whole * static_cast<float>(in[h] & 15);
    offset = -(minimum * static_cast<float>(in[h] >> 4));
  }
  HWY_INLINE VBytes16 Sixteen(int h) const { return TwoBits(in + 16, h); }
  const uint8_t* in;
  float whole, minimum, scale = 0, offset = 0;
};

struct Q3_K {
  static constexpr int kElements = 256, kBytes = 110, kZero = 4;
  static constexpr bool kHasOffset = false, kShared = false, kIsNibble = false;
  explicit Q3_K(const uint8_t* block) : in(block), whole(Half16(block + 108)) {}
  HWY_INLINE void Factors(int h) {
    const uint8_t* packed = in + 96;
    const int low = packed[h % 8] >> (h / 8 * 4) & 15, high = packed[8 + h % 4] >> (h / 4 * 2) & 3;
    scale = whole * static_cast<float>((low | high << 4) - 32);
  }
  HWY_INLINE VBytes16 Sixteen(int h) const {
    const VBytes16 third = hn::ShiftLeft<2>(Field(Load16(in + 16 * (h % 2)), h / 2, 1));
    return hn::Or(TwoBits(in + 32, h), third);
  }
  const uint8_t* in;
  float whole, scale = 0, offset = 0;
};

// The scale and the minimum that sixteen elements of Q4_K and Q5_K share with sixteen others.
struct KFactors {
  explicit KFactors(const uint8_t* block) : packed(block + 4), whole(Half16(block)), minimum(Half16(block + 2)) {}
  HWY_INLINE void Load(int sub, float* scale, float* offset) const {
    const int low = sub < 4 ? packed[sub] & 63 : (packed[sub + 4] & 15) | packed[sub - 4] >> 6 << 4;
    const int high = sub < 4 ? packed[sub + 4] & 63 : packed[sub + 4] >> 4 | packed[sub] >> 6 << 4;
    *scale = whole * static_cast<float>(low);
    *offset = -(minimum * static_cast<float>(high));
  }
  const uint8_t* packed;
  float whole, minimum;
};

struct Q4_K {
  static constexpr int kElements = 256, kBytes = 144, kZero = 0;
  static constexpr bool kHasOffset = true, kShared = true, kIsNibble = true;
  explicit Q4_K(const uint8_t* block) : in(block), factors(block) {}
  HWY_INLINE void Factors(int h) { factors.Load(h / 2, &scale, &offset); }
  HWY_INLINE VBytes16 Sixteen(int h) const {
    const int sub = h / 2;
    return Nibble(Load16(in + 16 + 32 * (sub / 2) + 16 * (h % 2)), sub % 2);
  }
  const uint8_t* in;
  KFactors factors;
  float scale = 0, offset = 0;
};

struct Q5_K {
  static constexpr int kElements = 256, kBytes = 176, kZero = 0;
  static constexpr bool kHasOffset = true, kShared = true, kIsNibble = false;
  explicit Q5_K(const uint8_t* block) : in(block), factors(block) {}
  HWY_INLINE void Factors(int h) { factors.Load(h / 2, &scale, &offset); }
  HWY_INLINE VBytes16 Sixteen(int h) const {
    const int sub = h / 2;
    const VBytes16 fifth = hn::ShiftLeft<4>(Field(Load16(in + 16 + 16 * (h % 2)), sub, 1));
    return hn::Or(Nibble(Load16(in + 48 + 32 * (sub / 2) + 16 * (h % 2)), sub % 2), fifth);
  }
  const uint8_t* in;
  KFactors factors;
  float scale = 0, offset = 0;
};

struct Q6_K {
  static constexpr int kElements = 256, kBytes = 210, kZero = 32;
  static constexpr bool kHasOffset = false, kShared = false, kIsNibble = false;
  explicit Q6_K(const uint8_t* block) : in(block), whole(Half16(block + 208)) {}
  HWY_INLINE void Factors(int h) { scale = whole * static_cast<float>(static_cast<int8_t>(in[192 + h])); }
  HWY_INLINE VBytes16 Sixteen(int h) const {
    const int half = h / 8, run = h % 8 / 2, start = h % 2 * 16;
    const VBytes16 low = Nibble(Load16(in + 64 * half + 32 * (run % 2) + start), run / 2);
    const VBytes16 high = hn::ShiftLeft<4>(Field(Load16(in + 128 + 32 * half + start), run * 2, 3));
    return hn::Or(low, high);
  }
  const uint8_t* in;
  float whole, scale = 0, offset = 0;
};

template <class T>
T* OutRow(const StoredTile& t, int64_t r) {
  return static_cast<T*>(t.out) + r * t.out_stride;
}

// Elements 16 h to 16 h + 15 of a block.
template <class Format, class T>
HWY_INLINE void DecodeSixteen(const Format& block, int h, T* out) {
  ForLanes(block.Sixteen(h), [&](auto codes, int place) HWY_ATTR {
    const FullF32 d;
    StoreAs(Values(codes, block), d, out + place);
  });
}

// Those from 16 h on and sixteen more, h being even.
template <class Format, class T>
HWY_INLINE void DecodeThirtyTwo(Format& block, int h, T* out) {
  block.Factors(h);
  DecodeSixteen(block, h, out);
  if constexpr (!Format::kShared) block.Factors(h + 1);
  DecodeSixteen(block, h + 1, out + 16);
}

#if HWY_TARGET <= HWY_AVX3
// As bf16: what a nibble can mean is rounded once and looked up.
template <class Format>
HWY_INLINE void DecodeThirtyTwo(Format& block, int h, uint16_t* out) {
  const FullF32 d;
  const hn::Repartition<uint16_t, FullF32> d16;
  block.Factors(h);
  if constexpr (Format::kIsNibble) {
    V value = hn::Mul(hn::Iota(d, static_cast<float>(-Format::kZero)), hn::Set(d, block.scale));
    if constexpr (Format::kHasOffset) value = hn::Add(value, hn::Set(d, block.offset));
    const auto rounded = RoundToBf16(d, value), table = hn::ConcatOdd(d16, rounded, rounded);
    const auto codes = hn::PromoteTo(d16, hn::Combine(hn::Full256<uint8_t>(), block.Sixteen(h + 1), block.Sixteen(h)));
    _mm512_storeu_si512(out, _mm512_permutexvar_epi16(codes.raw, table.raw));
  } else {
    const auto low = RoundToBf16(d, Values(block.Sixteen(h), block));
    if constexpr (!Format::kShared) block.Factors(h + 1);
    const auto high = RoundToBf16(d, Values(block.Sixteen(h + 1), block));
    hn::StoreU(hn::ConcatOdd(d16, high, low), d16, out);
  }
}
#endif

// Asks for pieces of rows, too short for a processor to see what comes: of a row a few below or, behind the last of a
// tile, of the tile to the right, which is what packing wants next.
struct Ahead {
  static constexpr int64_t kRows = 4, kLine = 64;
  int64_t row_bytes, bytes, rows;

  HWY_INLINE void Prefetch(int64_t r, const uint8_t* piece) const {
    piece += kRows * row_bytes;
    if (r + kRows >= rows) piece += bytes - rows * row_bytes;
    for (int64_t i = 0; i < bytes; i += kLine) __builtin_prefetch(piece + i);
  }
};

template <class Format, class T>
void DecodeFormat(const StoredTile& t) {
  const int64_t row_bytes = t.w.cols / Format::kElements * Format::kBytes, end = t.col + t.cols;
  const Ahead ahead{row_bytes, t.cols / Format::kElements * Format::kBytes, t.rows};
  for (int64_t r = 0; r < t.rows; ++r) {
    const uint8_t* row = Raw<const uint8_t>(t.w) + (t.row + r) * row_bytes;
    ahead.Prefetch(r, row + t.col / Format::kElements * Format::kBytes);
    T* out = OutRow<T>(t, r);
    int64_t c = t.col;
    if (c % Format::kElements == 0) {  // whole blocks, most often everything: places in them are known beforehand
      const uint8_t* at = row + c / Format::kElements * Format::kBytes;
      for (; c + Format::kElements <= end; c += Format::kElements, at += Format::kBytes) {
        Format block(at);
#pragma GCC unroll 8
        for (int h = 0; h < Format::kElements / 16; h += 2, out += 32) DecodeThirtyTwo(block, h, out);
      }
    }
    while (c < end) {
      Format block(row + c / Format::kElements * Format::kBytes);
      int h = static_cast<int>(c % Format::kElements / 16);
      if (Format::kShared && h % 2 != 0) block.Factors(h);
      while (c < end && h < Format::kElements / 16) {
        if (h % 2 == 0 && c + 32 <= end) {
          DecodeThirtyTwo(block, h, out);
          h += 2, c += 32, out += 32;
          continue;
        }
        if (!Format::kShared || h % 2 == 0) block.Factors(h);
        DecodeSixteen(block, h, out);
        ++h, c += 16, out += 16;
      }
    }
  }
}

template <class T>
void DecodeInt8(const StoredTile& t) {
  const Int8RowsView view = ViewInt8Rows(t.w);
  for (int64_t r = 0; r < t.rows; ++r) {
    const int8_t* from = view.codes + (t.row + r) * t.w.cols + t.col;
    const float scale = LoadScale(view.scales, t.row + r);
    T* out = OutRow<T>(t, r);
    ForEach(t.cols, [&](auto d, int64_t i) HWY_ATTR {
      StoreAs(hn::Mul(hn::Mul(LoadAs(d, from + i), hn::Set(d, scale)), hn::Set(d, kInt8Unit)), d, out + i);
    });
  }
}

template <class Stored, class T>
void DecodePlain(const StoredTile& t) {
  for (int64_t r = 0; r < t.rows; ++r) {
    const Stored* from = reinterpret_cast<const Stored*>(Raw<const std::byte>(t.w)) + (t.row + r) * t.w.cols + t.col;
    T* out = OutRow<T>(t, r);
    ForEach(t.cols, [&](auto d, int64_t i) HWY_ATTR { StoreAs(LoadAs(d, from + i), d, out + i); });
  }
}

// Sixteen look-ups in a table of sixteen.
struct Table {
  explicit Table(const float* values, float scale) {
    const FullF32 d;
    for (int i = 0; i < 16 / kLanes; ++i) {
      hn::Store(hn::Mul(hn::LoadU(d, values + i * kLanes), hn::Set(d, scale)), d, products + i * kLanes);
    }
  }

  HWY_INLINE void LookUp(VBytes16 codes, float* out) const {
    ForLanes(codes, [&](auto bytes, int place) HWY_ATTR {
      const FullF32 d;
      const hn::RebindToSigned<FullF32> di;
      const auto code = hn::PromoteTo(di, bytes);
      const auto low =
          hn::TableLookupLanes(hn::Load(d, products), hn::IndicesFromVec(d, hn::And(code, hn::Set(di, kLanes - 1))));
      if constexpr (kLanes == 16) {
        hn::StoreU(low, d, out + place);
      } else {
        const auto high =
            hn::TableLookupLanes(hn::Load(d, products + 8), hn::IndicesFromVec(d, hn::And(code, hn::Set(di, 7))));
        hn::StoreU(hn::IfThenElse(hn::RebindMask(d, hn::Gt(code, hn::Set(di, 7))), high, low), d, out + place);
      }
    });
  }
  HWY_ALIGN float products[16];
};

// The same in bf16, the products rounded once a block.
struct NarrowTable {
  explicit NarrowTable(const float* values, float scale) {
    const Table wide(values, scale);
    const FullF32 d;
    for (int i = 0; i < 16; i += kLanes) StoreAs(hn::Load(d, wide.products + i), d, products + i);
#if HWY_TARGET > HWY_AVX3
    for (int i = 0; i < 16; ++i) {
      lows[i] = static_cast<uint8_t>(products[i]);
      highs[i] = static_cast<uint8_t>(products[i] >> 8);
    }
#endif
  }

  HWY_INLINE void LookUp(VBytes16 codes, uint16_t* out) const {
#if HWY_TARGET <= HWY_AVX3
    const __m256i table = _mm256_load_si256(reinterpret_cast<const __m256i*>(products));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                        _mm256_permutexvar_epi16(_mm256_cvtepu8_epi16(codes.raw), table));
#else
    const auto low = hn::TableLookupBytes(hn::Load(Bytes16(), lows), codes);
    const auto high = hn::TableLookupBytes(hn::Load(Bytes16(), highs), codes);
    const hn::Full128<uint16_t> d16;
    hn::StoreU(hn::BitCast(d16, hn::InterleaveLower(Bytes16(), low, high)), d16, out);
    hn::StoreU(hn::BitCast(d16, hn::InterleaveUpper(Bytes16(), low, high)), d16, out + 8);
#endif
  }
  HWY_ALIGN uint16_t products[16];
#if HWY_TARGET > HWY_AVX3
  HWY_ALIGN uint8_t lows[16], highs[16];
#endif
};

// What Bnb4View::Scale gives, without its division (block sizes are powers of two): a block of 64 takes no longer than
// one.
class BlockScales {
 public:
  explicit BlockScales(const Bnb4View& view)
      : view_(view), nested_shift_(std::countr_zero(static_cast<uint64_t>(view.nested_block_size))) {}

  HWY_INLINE float operator()(int64_t block) const {
    if (!view_.nested) return LoadScale(view_.absmax, block);
    const auto code = static_cast<uint8_t>(view_.absmax[block]);
    return LoadScale(view_.nested_map, code) * LoadScale(view_.nested_absmax, block >> nested_shift_) + view_.offset;
  }

 private:
  const Bnb4View& view_;
  int nested_shift_;
};

template <class T, class Lookup>
void DecodeCodes(const StoredTile& t) {
  const Bnb4View view = ViewBnb4(t.w);
  const BlockScales scale(view);
  const int shift = std::countr_zero(static_cast<uint64_t>(view.block_size));
  const auto* packed = reinterpret_cast<const uint8_t*>(view.packed);
  for (int64_t r = 0; r < t.rows; ++r) {
    int64_t first = (t.row + r) * t.w.cols + t.col, left = t.cols;
    T* out = OutRow<T>(t, r);
    while (left > 0) {
      const int64_t block = first >> shift;
      const int64_t here = std::min(left, ((block + 1) << shift) - first);
      int64_t done = 0;
      if (first % 2 == 0 && here >= 32) {
        const Lookup table(view.table.data(), scale(block));
        for (; done + 32 <= here; done += 32) {
          const VBytes16 bytes = Load16(packed + (first + done) / 2);
          const VBytes16 high = Nibble(bytes, 1), low = Nibble(bytes, 0);
          table.LookUp(hn::InterleaveLower(Bytes16(), high, low), out + done);
          table.LookUp(hn::InterleaveUpper(Bytes16(), high, low), out + done + 16);
        }
      }
      if (done < here) DecodeBnb4(view, first + done, here - done, out + done);
      first += here;
      out += here;
      left -= here;
    }
  }
}

template <class T>
void DecodeTo(const StoredTile& t) {
  switch (t.w.dtype) {
    case DType::kF32:
      return DecodePlain<float, T>(t);
    case DType::kBF16:
      return DecodePlain<uint16_t, T>(t);
    case DType::kF16:
      return DecodePlain<StoredHalf, T>(t);
    case DType::kQ4_0:
      return DecodeFormat<Q4_0, T>(t);
    case DType::kQ4_1:
      return DecodeFormat<Q4_1, T>(t);
    case DType::kQ5_0:
      return DecodeFormat<Q5_0, T>(t);
    case DType::kQ5_1:
      return DecodeFormat<Q5_1, T>(t);
    case DType::kQ8_0:
      return DecodeFormat<Q8_0, T>(t);
    case DType::kQ2_K:
      return DecodeFormat<Q2_K, T>(t);
    case DType::kQ3_K:
      return DecodeFormat<Q3_K, T>(t);
    case DType::kQ4_K:
      return DecodeFormat<Q4_K, T>(t);
    case DType::kQ5_K:
      return DecodeFormat<Q5_K, T>(t);
    case DType::kQ6_K:
      return DecodeFormat<Q6_K, T>(t);
    case DType::kInt8Rows:
      return DecodeInt8<T>(t);
    case DType::kBnb4:
      if constexpr (sizeof(T) == 2) return DecodeCodes<T, NarrowTable>(t);
      if constexpr (sizeof(T) == 4) return DecodeCodes<T, Table>(t);
      return;
    default:
      Failed("weights of type {} cannot be decoded", NameOf(t.w.dtype));
  }
}

}  // namespace stored_tile

void DecodeTileKernel(const StoredTile& tile, DType out_type) {
  WithComputeType(out_type, [&](auto type) { stored_tile::DecodeTo<decltype(type)>(tile); });
}

}  // namespace HWY_NAMESPACE
}  // namespace attune
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune {
HWY_EXPORT(DecodeTileKernel);
void DecodeTile(const StoredTile& tile, DType out_type) { HWY_DYNAMIC_DISPATCH(DecodeTileKernel)(tile, out_type); }
}  // namespace attune
#endif
