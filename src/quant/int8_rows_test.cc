#include "quant/int8_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "quant/float16.h"

namespace attune::int8_rows_test {

struct Encoded {
  std::vector<int8_t> codes;
  std::vector<float> absmax;
};

Encoded Encode(const std::vector<float>& values, int64_t rows) {
  const auto columns = static_cast<int64_t>(values.size()) / rows;
  Encoded out{std::vector<int8_t>(values.size()), std::vector<float>(static_cast<size_t>(rows))};
  EncodeInt8Rows(DType::kF32, reinterpret_cast<const std::byte*>(values.data()), rows, columns, out.codes.data(),
                 out.absmax.data());
  return out;
}

// bitsandbytes 0.50.2, int8_vectorwise_quant of the same numbers as float16:
// codes [[127, -64, 32, 0], [-127, 42, 85, -18]], scales [2.0, 0.30004883].
TEST(Int8Rows, EncodesAsBitsandbytes) {
  const Encoded encoded = Encode({2.0f, -1.0f, 0.5f, 0.001f, -0.3f, 0.1f, 0.2f, -0.0425f}, 2);
  EXPECT_EQ(encoded.codes, (std::vector<int8_t>{127, -64, 32, 0, -127, 42, 85, -18}));
  EXPECT_EQ(encoded.absmax, (std::vector<float>{2.0f, 0.30004883f}));
}

TEST(Int8Rows, ComesBackWithinHalfAStep) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(7 * 33), back(values.size());
  for (float& value : values) value = normal(random) * 0.02f;
  const Encoded encoded = Encode(values, 7);
  DecodeInt8Rows(encoded.codes.data(), encoded.absmax.data(), 7, 33, back.data());
  std::vector<uint16_t> back16(values.size());
  DecodeInt8Rows(encoded.codes.data(), encoded.absmax.data(), 7, 33, back16.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const float absmax = encoded.absmax[i / 33];
    EXPECT_NEAR(back[i], values[i], absmax * (0.5f / 127 + 1e-3f));  // and the rounding to float16
    EXPECT_NEAR(back[i], static_cast<float>(encoded.codes[i]) * absmax / 127, 1e-6f * absmax);
    EXPECT_EQ(back16[i], FloatToBf16(back[i]));
  }
}

TEST(Int8Rows, ReadsBfloat16AndHalf) {
  const std::vector<uint16_t> bf16 = {FloatToBf16(1.0f), FloatToBf16(-0.5f)};
  const std::vector<uint16_t> half = {FloatToHalf(1.0f), FloatToHalf(-0.5f)};
  for (const auto& [type, values] : {std::pair(DType::kBF16, bf16), std::pair(DType::kF16, half)}) {
    int8_t codes[2];
    float absmax;
    EncodeInt8Rows(type, reinterpret_cast<const std::byte*>(values.data()), 1, 2, codes, &absmax);
    EXPECT_EQ(codes[0], 127);
    EXPECT_EQ(codes[1], -64);  // -63.5, half to even
    EXPECT_EQ(absmax, 1.0f);
  }
}

TEST(Int8Rows, ZerosStayZerosAndWhatIsNotFiniteSpoilsItsRowOnly) {
  const Encoded encoded = Encode({0, 0, 0, 1e6f, 1, 2, NAN, 1, 2, 1, -1, 0}, 4);
  std::vector<float> back(12);
  DecodeInt8Rows(encoded.codes.data(), encoded.absmax.data(), 4, 3, back.data());
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(back[i], 0.0f);
  for (size_t i = 3; i < 9; ++i) EXPECT_TRUE(std::isnan(back[i])) << i;  // 1e6 is beyond float16
  EXPECT_NEAR(back[9], 1.0f, 1e-6);
}

TEST(FloatToHalf, UndoesHalfToFloatAndRoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(value))));
      continue;
    }
    ASSERT_EQ(FloatToHalf(value), half);
    if ((half & 0x7FFF) >= 0x7BFF) continue;  // the largest, infinity
    const float next = HalfToFloat(static_cast<uint16_t>(half + 1)), middle = (value + next) / 2;
    ASSERT_EQ(FloatToHalf(middle), half % 2 == 0 ? half : half + 1) << half;
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, value)), half);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, next)), half + 1);
  }
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToHalf(-1e30f), 0xFC00);
  EXPECT_EQ(FloatToHalf(1e-30f), 0);
}

}  // namespace attune::int8_rows_test
