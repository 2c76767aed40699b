#include "quant/gguf_blocks.h"

#include <cstring>

#include "base/error.h"
#include "quant/float16.h"

namespace attune {
namespace {

// One function a format: decodes one block at `in`. Little-endian files on a little-endian machine.

uint16_t Load16(const uint8_t* in) {
  uint16_t value;
  std::memcpy(&value, in, sizeof value);
  return value;
}

uint32_t Load32(const uint8_t* in) {
  uint32_t value;
  std::memcpy(&value, in, sizeof value);
  return value;
}

float LoadHalf(const uint8_t* in) { return HalfToFloat(Load16(in)); }

// scale, 32 signed bytes
void DecodeQ8_0(const uint8_t* in, float* out) {
  const float scale = LoadHalf(in);
  const uint8_t* quants = in + 2;
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(quants[i])) * scale;
}

// scale, 16 bytes: low nibbles are elements 0 to 15, high nibbles 16 to 31
void DecodeQ4_0(const uint8_t* in, float* out) {
  const float scale = LoadHalf(in);
  const uint8_t* quants = in + 2;
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>((quants[i] & 15) - 8) * scale;
    out[i + 16] = static_cast<float>((quants[i] >> 4) - 8) * scale;
  }
}

// scale, minimum, 16 bytes as in Q4_0
void DecodeQ4_1(const uint8_t* in, float* out) {
  const float scale = LoadHalf(in), minimum = LoadHalf(in + 2);
  const uint8_t* quants = in + 4;
  for (int i = 0; i < 16; ++i) {
    out[i] = static_cast<float>(quants[i] & 15) * scale + minimum;
    out[i + 16] = static_cast<float>(quants[i] >> 4) * scale + minimum;
  }
}

// scale, 32 fifth bits, 16 bytes as in Q4_0
void DecodeQ5_0(const uint8_t* in, float* out) {
  const float scale = LoadHalf(in);
  const uint32_t high = Load32(in + 2);
  const uint8_t* quants = in + 6;
  for (int i = 0; i < 16; ++i) {
    const int low_half = (quants[i] & 15) | static_cast<int>((high >> i & 1) << 4);
    const int high_half = (quants[i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    out[i] = static_cast<float>(low_half - 16) * scale;
    out[i + 16] = static_cast<float>(high_half - 16) * scale;
  }
}

// scale, minimum, 32 fifth bits, 16 bytes as in Q4_0
void DecodeQ5_1(const uint8_t* in, float* out) {
  const float scale = LoadHalf(in), minimum = LoadHalf(in + 2);
  const uint32_t high = Load32(in + 4);
  const uint8_t* quants = in + 8;
  for (int i = 0; i < 16; ++i) {
    const int low_half = (quants[i] & 15) | static_cast<int>((high >> i & 1) << 4);
    const int high_half = (quants[i] >> 4) | static_cast<int>((high >> (i + 16) & 1) << 4);
    out[i] = static_cast<float>(low_half) * scale + minimum;
    out[i + 16] = static_cast<float>(high_half) * scale + minimum;
  }
}

// 16 bytes (scale nibble, minimum nibble), 64 bytes of 2-bit quants, scale, minimum. Sub-blocks of 16; the
// two bits of element 128*half + 32*shift + i are bits 2*shift of byte 32*half + i.
void DecodeQ2_K(const uint8_t* in, float* out) {
  const uint8_t* scales = in;
  const uint8_t* quants = in + 16;
  const float scale = LoadHalf(in + 80), minimum = LoadHalf(in + 82);
  for (int sub = 0; sub < 16; ++sub) {
    const float sub_scale = scale * static_cast<float>(scales[sub] & 15);
    const float sub_minimum = minimum * static_cast<float>(scales[sub] >> 4);
    const uint8_t* bytes = quants + 32 * (sub / 8) + 16 * (sub % 2);
    const int shift = 2 * (sub % 8 / 2);
    for (int i = 0; i < 16; ++i) {
      out[16 * sub + i] = sub_scale * static_cast<float>(bytes[i] >> shift & 3) - sub_minimum;
    }
  }
}

// 32 bytes of third bits, 64 bytes of 2-bit quants as in Q2_K, 12 bytes of sixteen 6-bit scales, scale. A
// third bit that is clear subtracts 4.
void DecodeQ3_K(const uint8_t* in, float* out) {
  const uint8_t* high = in;
  const uint8_t* quants = in + 32;
  const uint8_t* packed = in + 96;
  const float scale = LoadHalf(in + 108);
  for (int sub = 0; sub < 16; ++sub) {
    const int low_bits = packed[sub % 8] >> (sub / 8 * 4) & 15;
    const int high_bits = packed[8 + sub % 4] >> (sub / 4 * 2) & 3;
    const float sub_scale = scale * static_cast<float>((low_bits | high_bits << 4) - 32);
    const uint8_t* bytes = quants + 32 * (sub / 8) + 16 * (sub % 2);
    const uint8_t* high_bytes = high + 16 * (sub % 2);
    const int shift = 2 * (sub % 8 / 2), high_shift = sub / 2;
    for (int i = 0; i < 16; ++i) {
      const int quant = (bytes[i] >> shift & 3) - ((~high_bytes[i] >> high_shift & 1) << 2);
      out[16 * sub + i] = sub_scale * static_cast<float>(quant);
    }
  }
}

// The eight 6-bit (scale, minimum) pairs that Q4_K and Q5_K pack into 12 bytes: bytes 0-3 and 4-7 hold pairs
// 0-3 in their low six bits; bytes 8-11 hold the low nibbles of pairs 4-7, whose top bits are the top bits of
// bytes 0-7.
void UnpackScales(const uint8_t* packed, int sub, int* scale, int* minimum) {
  if (sub < 4) {
    *scale = packed[sub] & 63;
    *minimum = packed[sub + 4] & 63;
  } else {
    *scale = (packed[sub + 4] & 15) | packed[sub - 4] >> 6 << 4;
    *minimum = packed[sub + 4] >> 4 | packed[sub] >> 6 << 4;
  }
}

// scale, minimum, 12 bytes of packed pairs, 128 bytes: sub-blocks of 32; a pair of them shares 32 bytes, low
// nibble first
void DecodeQ4_K(const uint8_t* in, float* out) {
  const float scale = LoadHalf(in), minimum = LoadHalf(in + 2);
  for (int sub = 0; sub < 8; ++sub) {
    int sub_scale, sub_minimum;
    UnpackScales(in + 4, sub, &sub_scale, &sub_minimum);
    const float d = scale * static_cast<float>(sub_scale), m = minimum * static_cast<float>(sub_minimum);
    const uint8_t* quants = in + 16 + 32 * (sub / 2);
    const int shift = sub % 2 * 4;
    for (int i = 0; i < 32; ++i) out[32 * sub + i] = d * static_cast<float>(quants[i] >> shift & 15) - m;
  }
}

// As Q4_K with 32 bytes of fifth bits before the nibbles: bit `sub` of byte i belongs to element 32*sub + i
void DecodeQ5_K(const uint8_t* in, float* out) {
  const float scale = LoadHalf(in), minimum = LoadHalf(in + 2);
  const uint8_t* high = in + 16;
  for (int sub = 0; sub < 8; ++sub) {
    int sub_scale, sub_minimum;
    UnpackScales(in + 4, sub, &sub_scale, &sub_minimum);
    const float d = scale * static_cast<float>(sub_scale), m = minimum * static_cast<float>(sub_minimum);
    const uint8_t* quants = in + 48 + 32 * (sub / 2);
    const int shift = sub % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      const int quant = (quants[i] >> shift & 15) | (high[i] >> sub & 1) << 4;
      out[32 * sub + i] = d * static_cast<float>(quant) - m;
    }
  }
}

// 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales, scale. Each half of 128 elements is
// four runs of 32: runs 0 and 1 take the low nibbles of 64 bytes, runs 2 and 3 the high ones; bits 2*run of
// 32 bytes go on top.
void DecodeQ6_K(const uint8_t* in, float* out) {
  const uint8_t* scales = in + 192;
  const float scale = LoadHalf(in + 208);
  for (int sub = 0; sub < 16; ++sub) {
    const int half = sub / 8, run = sub % 8 / 2, start = sub % 2 * 16;
    const float sub_scale = scale * static_cast<float>(static_cast<int8_t>(scales[sub]));
    const uint8_t* low = in + 64 * half + 32 * (run % 2) + start;
    const uint8_t* high = in + 128 + 32 * half + start;
    const int low_shift = run / 2 * 4, high_shift = run * 2;
    for (int i = 0; i < 16; ++i) {
      const int quant = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
      out[16 * sub + i] = sub_scale * static_cast<float>(quant - 32);
    }
  }
}

template <void (*Decode)(const uint8_t*, float*)>
void DecodeAll(DType type, const uint8_t* in, int64_t elements, float* out) {
  const DTypeLayout layout = LayoutOf(type);
  for (int64_t i = 0; i < elements; i += layout.block_elements, in += layout.block_bytes) Decode(in, out + i);
}

}  // namespace

bool CanDecode(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16 || LayoutOf(type).block_elements > 1;
}

void DecodeBlocks(DType type, const std::byte* source, int64_t elements, float* out) {
  const auto* in = reinterpret_cast<const uint8_t*>(source);
  switch (type) {
    case DType::kF32:  // of an empty tensor, `out` may be null
      if (elements > 0) std::memcpy(out, in, static_cast<size_t>(elements) * sizeof(float));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < elements; ++i) out[i] = LoadHalf(in + 2 * i);
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < elements; ++i) out[i] = Bf16ToFloat(Load16(in + 2 * i));
      return;
    case DType::kQ8_0:
      return DecodeAll<DecodeQ8_0>(type, in, elements, out);
    case DType::kQ4_0:
      return DecodeAll<DecodeQ4_0>(type, in, elements, out);
    case DType::kQ4_1:
      return DecodeAll<DecodeQ4_1>(type, in, elements, out);
    case DType::kQ5_0:
      return DecodeAll<DecodeQ5_0>(type, in, elements, out);
    case DType::kQ5_1:
      return DecodeAll<DecodeQ5_1>(type, in, elements, out);
    case DType::kQ2_K:
      return DecodeAll<DecodeQ2_K>(type, in, elements, out);
    case DType::kQ3_K:
      return DecodeAll<DecodeQ3_K>(type, in, elements, out);
    case DType::kQ4_K:
      return DecodeAll<DecodeQ4_K>(type, in, elements, out);
    case DType::kQ5_K:
      return DecodeAll<DecodeQ5_K>(type, in, elements, out);
    case DType::kQ6_K:
      return DecodeAll<DecodeQ6_K>(type, in, elements, out);
    default:
      Failed("values of type {} are not weights", NameOf(type));
  }
}

}  // namespace attune
