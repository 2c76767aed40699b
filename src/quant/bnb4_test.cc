#include "quant/bnb4.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "quant/dynamic8.h"
#include "quant/float16.h"
#include "quant/torch_mean.h"

namespace attune::bnb4_test {

const std::string kNf4Data = std::string(ATTUNE_TEST_DATA) + "/nf4";

const SafetensorsFile& Blocks() {
  static const SafetensorsFile file(kNf4Data + "/blocks.safetensors");
  return file;
}

const TensorView& Tensor(const std::string& name) {
  const TensorView* tensor = Blocks().Find(name);
  if (tensor == nullptr) throw std::runtime_error("no tensor " + name);
  return *tensor;
}

template <class T = float>
std::vector<T> Values(const std::string& name) {
  const TensorView& tensor = Tensor(name);
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

struct Case {
  std::string name, weight;
  Bnb4Type type;
  int64_t block_size;
  bool nested;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const auto& json : ParseJsonFile(kNf4Data + "/blocks.json")) {
    cases.push_back({json["case"], json["weight"], *Bnb4TypeOf(json["quant_type"].get<std::string>()),
                     json["blocksize"], json["nested"]});
  }
  return cases;
}

struct Encoded {
  std::vector<uint8_t> packed;
  std::vector<float> absmax;
};

Encoded Encode(Bnb4Type type, int64_t block_size, DType dtype, const std::byte* source, int64_t elements) {
  Encoded out;
  out.packed.resize(static_cast<size_t>(Bnb4PackedBytes(elements)));
  out.absmax.resize(static_cast<size_t>(BlockCount(elements, block_size)));
  EncodeBnb4(type, block_size, dtype, source, elements, out.packed.data(), out.absmax.data());
  return out;
}

Encoded Encode(Bnb4Type type, int64_t block_size, const std::vector<float>& values) {
  return Encode(type, block_size, DType::kF32, reinterpret_cast<const std::byte*>(values.data()),
                static_cast<int64_t>(values.size()));
}

Bnb4View ViewOf(Bnb4Type type, int64_t block_size, const Encoded& encoded) {
  Bnb4View view;
  view.table = Bnb4Table(type);
  view.block_size = block_size;
  view.packed = reinterpret_cast<const std::byte*>(encoded.packed.data());
  view.absmax = reinterpret_cast<const std::byte*>(encoded.absmax.data());
  return view;
}

uint8_t CodeOf(const std::vector<uint8_t>& packed, int64_t i) {
  const uint8_t byte = packed[static_cast<size_t>(i / 2)];
  return i % 2 == 0 ? byte >> 4 : byte & 15;
}

TEST(Bnb4, TablesAreThoseOfBitsandbytes) {
  for (const Bnb4Type type : {Bnb4Type::kNf4, Bnb4Type::kFp4}) {
    const std::vector<float> expected = Values(std::string(NameOf(type)) + ".quant_map");
    EXPECT_EQ(std::vector<float>(Bnb4Table(type).begin(), Bnb4Table(type).end()), expected);
  }
  EXPECT_FALSE(Bnb4TypeOf("int4"));
}

TEST(Bnb4, EncodesTheFixturesToTheSameBits) {
  int cases = 0;
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    const TensorView& weight = Tensor(c.weight);
    const Encoded encoded =
        Encode(c.type, c.block_size, weight.dtype, weight.bytes.data(), *ElementCount(weight.shape));
    EXPECT_EQ(encoded.packed, Values<uint8_t>(c.name + ".packed"));
    if (c.nested) {
      const NestedScales nested = EncodeNestedScales(encoded.absmax);
      EXPECT_EQ(nested.offset, Values(c.name + ".nested_offset")[0]);
      EXPECT_EQ(nested.codes, Values<uint8_t>(c.name + ".absmax_u8"));
      EXPECT_EQ(nested.absmax, Values(c.name + ".nested_absmax"));
    } else {
      EXPECT_EQ(encoded.absmax, Values(c.name + ".absmax"));
    }
    ++cases;
  }
  EXPECT_EQ(cases, 105);
}

TEST(Bnb4, DecodesTheFixturesToTheSameBits) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(c.name);
    Bnb4View view;
    view.table = Bnb4Table(c.type);
    view.block_size = c.block_size;
    view.packed = Tensor(c.name + ".packed").bytes.data();
    view.nested = c.nested;
    if (c.nested) {
      view.absmax = Tensor(c.name + ".absmax_u8").bytes.data();
      view.nested_absmax = Tensor(c.name + ".nested_absmax").bytes.data();
      view.nested_map = Tensor("nested_quant_map").bytes.data();
      view.offset = Values(c.name + ".nested_offset")[0];
      const std::vector<float> scales = Values(c.name + ".absmax_restored");
      for (size_t i = 0; i < scales.size(); ++i) ASSERT_EQ(view.Scale(static_cast<int64_t>(i)), scales[i]) << i;
    } else {
      view.absmax = Tensor(c.name + ".absmax").bytes.data();
    }
    const TensorView& expected = Tensor(c.name + ".dequantized");
    const int64_t count = *ElementCount(expected.shape);
    if (expected.dtype == DType::kF32) {
      std::vector<float> decoded(static_cast<size_t>(count));
      DecodeBnb4(view, 0, count, decoded.data());
      EXPECT_EQ(decoded, Values(c.name + ".dequantized"));
    } else {
      std::vector<uint16_t> decoded(static_cast<size_t>(count));
      DecodeBnb4(view, 0, count, decoded.data());
      const std::vector<uint16_t> wanted = Values<uint16_t>(c.name + ".dequantized");
      for (size_t i = 0; i < decoded.size(); ++i) {  // as numbers: the sign of a zero is free
        ASSERT_EQ(Bf16ToFloat(decoded[i]), Bf16ToFloat(wanted[i])) << i;
      }
    }
  }
}

// Against the nearest entry of the table, searched one by one, at every block size and with odd ends.
TEST(Bnb4, EveryBlockSizeTakesTheNearestCode) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const Bnb4Type type : {Bnb4Type::kNf4, Bnb4Type::kFp4}) {
    for (int64_t block_size = 32; block_size <= 4096; block_size *= 2) {
      ASSERT_TRUE(IsBnb4BlockSize(block_size));
      const int64_t count = 2 * block_size + 17;
      std::vector<float> values(static_cast<size_t>(count));
      for (float& value : values) value = normal(random);
      const Encoded encoded = Encode(type, block_size, values);
      for (int64_t i = 0; i < count; ++i) {
        const double scaled =
            double{values[static_cast<size_t>(i)]} / encoded.absmax[static_cast<size_t>(i / block_size)];
        double best = 9;
        for (const float entry : Bnb4Table(type)) best = std::min(best, std::abs(scaled - entry));
        const double mine = std::abs(scaled - Bnb4Table(type)[CodeOf(encoded.packed, i)]);
        ASSERT_LE(mine, best + 1e-6) << block_size << " " << i;
      }
      EXPECT_EQ(CodeOf(encoded.packed, count), type == Bnb4Type::kNf4 ? 7 : 0);  // what fills the last byte
    }
  }
  EXPECT_FALSE(IsBnb4BlockSize(0) || IsBnb4BlockSize(16) || IsBnb4BlockSize(96) || IsBnb4BlockSize(8192) ||
               IsBnb4BlockSize(-64));
}

TEST(Bnb4, AnyRangeDecodesAsThePartOfTheWhole) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> values(64 * 5 + 31);
  for (float& value : values) value = normal(random);
  const auto count = static_cast<int64_t>(values.size());
  for (const Bnb4Type type : {Bnb4Type::kNf4, Bnb4Type::kFp4}) {
    const Encoded encoded = Encode(type, 64, values);
    const Bnb4View view = ViewOf(type, 64, encoded);
    std::vector<float> whole(values.size());
    for (int64_t i = 0; i < count; ++i) {
      whole[static_cast<size_t>(i)] =
          Bnb4Table(type)[CodeOf(encoded.packed, i)] * encoded.absmax[static_cast<size_t>(i / 64)];
    }
    for (int64_t first = 0; first < count; first += 7) {
      for (int64_t size = 0; size <= count - first; size += 13) {
        std::vector<float> part(static_cast<size_t>(size) + 1, -77.0f);
        std::vector<uint16_t> part16(static_cast<size_t>(size) + 1, 0x1234);
        DecodeBnb4(view, first, size, part.data());
        DecodeBnb4(view, first, size, part16.data());
        for (int64_t i = 0; i < size; ++i) {
          ASSERT_EQ(part[static_cast<size_t>(i)], whole[static_cast<size_t>(first + i)]) << first << "+" << i;
          ASSERT_EQ(part16[static_cast<size_t>(i)], FloatToBf16(whole[static_cast<size_t>(first + i)]));
        }
        ASSERT_EQ(part.back(), -77.0f);
        ASSERT_EQ(part16.back(), 0x1234);
      }
    }
  }
}

TEST(Bnb4, HalfAndBfloat16EncodeAsTheirFloats) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> from_half, from_bf16;
  std::vector<uint16_t> half, bf16;
  for (int i = 0; i < 333; ++i) {
    const float value = normal(random);
    half.push_back(FloatToHalf(value));
    bf16.push_back(FloatToBf16(value));
    from_half.push_back(HalfToFloat(half.back()));
    from_bf16.push_back(Bf16ToFloat(bf16.back()));
  }
  const auto* half_bytes = reinterpret_cast<const std::byte*>(half.data());
  const auto* bf16_bytes = reinterpret_cast<const std::byte*>(bf16.data());
  EXPECT_EQ(Encode(Bnb4Type::kNf4, 64, DType::kF16, half_bytes, 333).packed,
            Encode(Bnb4Type::kNf4, 64, from_half).packed);
  EXPECT_EQ(Encode(Bnb4Type::kFp4, 64, DType::kBF16, bf16_bytes, 333).packed,
            Encode(Bnb4Type::kFp4, 64, from_bf16).packed);
}

// bitsandbytes 0.50.2: quantize_4bit(torch.zeros(3, 22)) gives bytes 119 and the scales 0 and 1e-38.
TEST(Bnb4, ZerosStayZeros) {
  const Encoded encoded = Encode(Bnb4Type::kNf4, 64, std::vector<float>(66));
  EXPECT_EQ(encoded.packed, std::vector<uint8_t>(33, 119));
  EXPECT_EQ(encoded.absmax, (std::vector<float>{0.0f, 1e-38f}));
}

TEST(Bnb4, WhatIsNotFiniteSpoilsItsBlockOnly) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> values(128, 0.5f), decoded(128);
    values[3] = bad;
    const Encoded encoded = Encode(Bnb4Type::kNf4, 64, values);
    DecodeBnb4(ViewOf(Bnb4Type::kNf4, 64, encoded), 0, 128, decoded.data());
    EXPECT_FALSE(std::isfinite(decoded[3])) << bad;
    EXPECT_FALSE(std::isfinite(decoded[4])) << bad;
    EXPECT_EQ(decoded[64], 0.5f);
  }
}

// Sums of torch 2.15 (AVX2, one thread) of the float32 values ((i * 7919) % 1009) / 1009, divided by their
// number; tests/data/nf4/torch_mean.py prints them.
TEST(TorchMean, RoundsAsTorchDoes) {
  const std::pair<int64_t, float> cases[] = {{1, 0x0.0p+0f},
                                             {3, 0x1.07b2320000000p-1f},
                                             {7, 0x1.9be4040000000p-2f},
                                             {8, 0x1.e08a060000000p-2f},
                                             {31, 0x1.ffa8000000000p-2f},
                                             {100, 0x1.02134c0000000p-1f},
                                             {257, 0x1.fd3bda0000000p-2f},
                                             {599, 0x1.0066b00000000p-1f},
                                             {1000, 0x1.00171e0000000p-1f},
                                             {4097, 0x1.ff80840000000p-2f},
                                             {30001, 0x1.ff7bc00000000p-2f}};
  for (const auto& [count, mean] : cases) {
    std::vector<float> values(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i * 7919 % 1009) / 1009.0f;
    EXPECT_EQ(TorchMean(values.data(), count), mean) << count;
  }
}

}  // namespace attune::bnb4_test
