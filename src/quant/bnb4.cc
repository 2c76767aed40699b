#include "quant/bnb4.h"

#include <algorithm>
#include <cstring>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "quant/dynamic8.h"
#include "quant/float16.h"
#include "quant/gguf_blocks.h"
#include "quant/largest.h"
#include "quant/torch_mean.h"

namespace attune {
namespace {

constexpr std::array<float, 16> kNf4 = {-1.0f,
                                        -0.6961928009986877f,
                                        -0.5250730514526367f,
                                        -0.39491748809814453f,
                                        -0.28444138169288635f,
                                        -0.18477343022823334f,
                                        -0.09105003625154495f,
                                        0.0f,
                                        0.07958029955625534f,
                                        0.16093020141124725f,
                                        0.24611230194568634f,
                                        0.33791524171829224f,
                                        0.44070982933044434f,
                                        0.5626170039176941f,
                                        0.7229568362236023f,
                                        1.0f};

// Three bits in an order of their own, then the sign.
constexpr std::array<float, 16> kFp4 = {0.0f, 0.0625f / 12,  8.0f / 12,  1.0f,  4.0f / 12,  0.5f,  2.0f / 12,  0.25f,
                                        0.0f, -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -0.5f, -2.0f / 12, -0.25f};

// A table sorted: the code of each place, and the numbers above which a value belongs to the next place.
struct SortedTable {
  std::array<uint8_t, 16> codes;
  std::array<float, 15> bounds;
};

SortedTable Sort(const std::array<float, 16>& table) {
  SortedTable sorted;
  for (uint8_t i = 0; i < 16; ++i) sorted.codes[i] = i;
  std::stable_sort(sorted.codes.begin(), sorted.codes.end(), [&](uint8_t a, uint8_t b) { return table[a] < table[b]; });
  for (size_t i = 0; i < 15; ++i) sorted.bounds[i] = (table[sorted.codes[i]] + table[sorted.codes[i + 1]]) / 2.0f;
  return sorted;
}

// How many of the bounds lie below x; a NaN lies above all. Spelt out, so that the loop around it is the one
// that the compiler vectorises.
template <size_t... k>
int32_t CountBelow(float x, const std::array<float, 15>& bounds, std::index_sequence<k...>) {
  return (... + static_cast<int32_t>(!(x <= bounds[k])));
}

// The place of each value * factor in a sorted table.
void FindPlaces(const float* values, int64_t count, float factor, const std::array<float, 15>& sorted_bounds,
                uint8_t* places) {
  const std::array<float, 15> bounds = sorted_bounds;  // a copy that `places` cannot overlap
  for (int64_t i = 0; i < count; ++i) {
    places[i] = static_cast<uint8_t>(CountBelow(values[i] * factor, bounds, std::make_index_sequence<15>()));
  }
}

// The scale of a block, and its values' places; `places` holds an even number.
float EncodeBlock(const SortedTable& sorted, float* values, int64_t count, bool is_short, uint8_t* places) {
  const float largest = LargestMagnitude(values, count);
  const float scale = largest < kLeastScale ? kLeastScale : largest;
  if (is_short) {
    for (int64_t i = 0; i < count; ++i) values[i] /= scale;
    values[count] = 0;
    FindPlaces(values, count + count % 2, 1.0f, sorted.bounds, places);
    return scale;
  }
  FindPlaces(values, count, 1.0f / scale, sorted.bounds, places);
  return largest;
}

float LoadFloat(const std::byte* at) {
  float value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Looks up both codes of each byte: out[2i] from the high four bits, out[2i + 1] from the low ones.
template <class T>
void LookUp(const T* table, const uint8_t* packed, int64_t bytes, T* out) {
  for (int64_t i = 0; i < bytes; ++i) {
    out[2 * i] = table[packed[i] >> 4];
    out[2 * i + 1] = table[packed[i] & 15];
  }
}

#if defined(__AVX2__)
// The codes of 8 bytes (`low` of them, the high half ignored) or of 16, in the order of the elements.
struct Codes {
  __m128i first, second;
  explicit Codes(__m128i bytes) {
    const __m128i mask = _mm_set1_epi8(15);
    const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask), low = _mm_and_si128(bytes, mask);
    first = _mm_unpacklo_epi8(high, low);
    second = _mm_unpackhi_epi8(high, low);
  }
};

// A byte shuffle is a look-up in a table of 16 bytes: one for the low bytes of the table's values, one for
// the high.
void LookUpFast(const uint16_t* table, const uint8_t* packed, int64_t bytes, uint16_t* out) {
  const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  const __m128i second = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 8));
  const __m128i byte = _mm_set1_epi16(255);
  const __m128i lows = _mm_packus_epi16(_mm_and_si128(first, byte), _mm_and_si128(second, byte));
  const __m128i highs = _mm_packus_epi16(_mm_srli_epi16(first, 8), _mm_srli_epi16(second, 8));
  int64_t i = 0;
  for (; i + 16 <= bytes; i += 16) {
    const Codes codes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + i)));
    auto* to = reinterpret_cast<__m128i*>(out + 2 * i);
    for (const __m128i code : {codes.first, codes.second}) {
      const __m128i l = _mm_shuffle_epi8(lows, code), h = _mm_shuffle_epi8(highs, code);
      _mm_storeu_si128(to++, _mm_unpacklo_epi8(l, h));
      _mm_storeu_si128(to++, _mm_unpackhi_epi8(l, h));
    }
  }
  LookUp(table, packed + i, bytes - i, out + 2 * i);
}

// Two look-ups in tables of eight; the code's fourth bit chooses between them.
void LookUpFast(const float* table, const uint8_t* packed, int64_t bytes, float* out) {
  const __m256 lower = _mm256_loadu_ps(table), upper = _mm256_loadu_ps(table + 8);
  int64_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    __m128i codes = Codes(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(packed + i))).first;
    for (int half = 0; half < 2; ++half, codes = _mm_srli_si128(codes, 8)) {
      const __m256i code = _mm256_cvtepu8_epi32(codes);
      const __m256 fourth_bit = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
      _mm256_storeu_ps(out + 2 * i + 8 * half, _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, code),
                                                                _mm256_permutevar8x32_ps(upper, code), fourth_bit));
    }
  }
  LookUp(table, packed + i, bytes - i, out + 2 * i);
}
#else
template <class T>
void LookUpFast(const T* table, const uint8_t* packed, int64_t bytes, T* out) {
  LookUp(table, packed, bytes, out);
}
#endif

void Narrow(float value, float* out) { *out = value; }
void Narrow(float value, uint16_t* out) { *out = FloatToBf16(value); }

// Within a block every code stands for one of 16 products, so those are formed and rounded once.
template <class T>
void Decode(const Bnb4View& view, int64_t first, int64_t count, T* out) {
  const auto* packed = reinterpret_cast<const uint8_t*>(view.packed);
  while (count > 0) {
    const int64_t block = first / view.block_size;
    int64_t here = std::min(count, (block + 1) * view.block_size - first);
    count -= here;
    const float scale = view.Scale(block);
    T products[16];
    for (size_t i = 0; i < 16; ++i) Narrow(view.table[i] * scale, &products[i]);
    if (first % 2 != 0) {
      *out++ = products[packed[first / 2] & 15];
      ++first, --here;
    }
    LookUpFast(products, packed + first / 2, here / 2, out);
    first += here;
    out += here;
    if (here % 2 != 0) out[-1] = products[packed[(first - 1) / 2] >> 4];
  }
}

}  // namespace

std::string_view NameOf(Bnb4Type type) { return type == Bnb4Type::kNf4 ? "nf4" : "fp4"; }

std::optional<Bnb4Type> Bnb4TypeOf(std::string_view name) {
  for (const Bnb4Type type : {Bnb4Type::kNf4, Bnb4Type::kFp4}) {
    if (name == NameOf(type)) return type;
  }
  return std::nullopt;
}

const std::array<float, 16>& Bnb4Table(Bnb4Type type) { return type == Bnb4Type::kNf4 ? kNf4 : kFp4; }

void EncodeBnb4(Bnb4Type type, int64_t block_size, DType dtype, const std::byte* source, int64_t elements,
                uint8_t* packed, float* absmax) {
  static const SortedTable kSorted[] = {Sort(kNf4), Sort(kFp4)};
  const SortedTable& sorted = kSorted[type == Bnb4Type::kFp4];
  float values[4096];
  uint8_t places[4096];
  for (int64_t start = 0; start < elements; start += block_size) {
    const int64_t count = std::min(block_size, elements - start);
    DecodeBlocks(dtype, source, count, values);
    source += BytesOf(dtype, count);
    *absmax++ = EncodeBlock(sorted, values, count, count < block_size, places);
    const int64_t bytes = Bnb4PackedBytes(count);
    for (int64_t i = 0; i < bytes; ++i) {
      *packed++ = static_cast<uint8_t>(sorted.codes[places[2 * i]] << 4 | sorted.codes[places[2 * i + 1]]);
    }
  }
}

NestedScales EncodeNestedScales(const std::vector<float>& absmax) {
  NestedScales nested;
  const auto count = static_cast<int64_t>(absmax.size());
  nested.codes.resize(absmax.size());
  nested.absmax.resize(static_cast<size_t>(BlockCount(count, NestedScales::kBlockSize)));
  nested.offset = TorchMean(absmax.data(), count);
  std::vector<float> rest(absmax);
  for (float& value : rest) value -= nested.offset;
  EncodeDynamic8(NearestDynamic(true), NestedScales::kBlockSize, rest.data(), count, nested.codes.data(),
                 nested.absmax.data());
  return nested;
}

float Bnb4View::Scale(int64_t block) const {
  if (!nested) return LoadFloat(absmax + 4 * block);
  const auto code = static_cast<size_t>(absmax[block]);
  return LoadFloat(nested_map + 4 * code) * LoadFloat(nested_absmax + 4 * (block / nested_block_size)) + offset;
}

void DecodeBnb4(const Bnb4View& view, int64_t first, int64_t count, float* out) { Decode(view, first, count, out); }

void DecodeBnb4(const Bnb4View& view, int64_t first, int64_t count, uint16_t* bf16_out) {
  Decode(view, first, count, bf16_out);
}

}  // namespace attune
