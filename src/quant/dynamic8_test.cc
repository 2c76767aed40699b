#include "quant/dynamic8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "formats/safetensors.h"

namespace attune::dynamic8_test {

const std::string kNf4Data = std::string(ATTUNE_TEST_DATA) + "/nf4";

TEST(Dynamic8, MapsAreThoseOfBitsandbytes) {
  const SafetensorsFile file(kNf4Data + "/blocks.safetensors");
  for (const bool is_signed : {false, true}) {
    const TensorView* tensor = file.Find(is_signed ? "nested_quant_map" : "dynamic_map_unsigned");
    ASSERT_NE(tensor, nullptr);
    CodeMap expected;
    std::memcpy(expected.data(), tensor->bytes.data(), sizeof expected);
    int equal = 0;
    for (size_t i = 0; i < 256; ++i) {
      EXPECT_NEAR(DynamicMap(is_signed)[i], expected[i], 1e-6) << i;
      equal += DynamicMap(is_signed)[i] == expected[i];
    }
    EXPECT_EQ(equal, 256) << "the build of torch that made the fixture";
  }
}

// The first of the nearest values, searched one by one.
uint8_t SearchNearest(const CodeMap& map, float x) {
  size_t best = 0;
  for (size_t i = 1; i < 256; ++i) {
    if (std::abs(double{x} - map[i]) < std::abs(double{x} - map[best])) best = i;
  }
  return static_cast<uint8_t>(best);
}

TEST(Dynamic8, TheNearestCodeIsNearest) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> exponent(-36, 1.5);
  for (const bool is_signed : {false, true}) {
    const NearestCode& nearest = NearestDynamic(is_signed);
    const CodeMap& map = DynamicMap(is_signed);
    for (size_t i = 0; i < 256; ++i) EXPECT_EQ(nearest(map[i]), i);
    for (size_t i = 0; i + 1 < 256; ++i) {
      const float middle = (map[i] + map[i + 1]) / 2;
      EXPECT_EQ(nearest(std::nextafter(middle, -2.0f)), i);
      EXPECT_EQ(nearest(std::nextafter(middle, 2.0f)), i + 1);
    }
    for (int i = 0; i < 20000; ++i) {
      const float x = std::exp2(exponent(random)) * (random() % 2 == 0 ? 1.0f : -1.0f);
      ASSERT_EQ(nearest(x), SearchNearest(map, x)) << x;
    }
    EXPECT_EQ(nearest(0.0f), is_signed ? 127 : 0);
    EXPECT_EQ(nearest(-0.0f), is_signed ? 127 : 0);
    EXPECT_EQ(nearest(INFINITY), 255);
    EXPECT_EQ(nearest(-INFINITY), 0);
    EXPECT_EQ(nearest(NAN), 255);
  }
}

TEST(Dynamic8, AMapWithManyEqualOrFarValuesIsSearchedAsWell) {
  CodeMap map;
  for (size_t i = 0; i < 256; ++i)
    map[i] = i < 200 ? -5e-11f * static_cast<float>(200 - i) : static_cast<float>(i) * 100;
  const NearestCode nearest(map);
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(nearest(map[i]), i);
}

TEST(Dynamic8, BlocksOfAnySizeComeBackWithinTheSpacingOfTheMap) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (const int64_t block_size : {64, 256, 4096}) {
    std::vector<float> values(static_cast<size_t>(2 * block_size + 5)), back(values.size());
    for (float& value : values) value = normal(random);
    for (int64_t i = 0; i < block_size; ++i) values[static_cast<size_t>(i)] = 0;  // a block of zeros
    const auto count = static_cast<int64_t>(values.size());
    std::vector<uint8_t> codes(values.size());
    std::vector<float> absmax(3);
    EncodeDynamic8(NearestDynamic(true), block_size, values.data(), count, codes.data(), absmax.data());
    DecodeDynamic8(DynamicMap(true), block_size, codes.data(), absmax.data(), count, back.data());
    EXPECT_EQ(absmax[0], 0.0f);
    for (size_t i = 0; i < values.size(); ++i) {
      // The widest gap of the upper decade is 0.9 / 64; below -0.993 there is no code.
      const float scale = absmax[i / static_cast<size_t>(block_size)];
      ASSERT_NEAR(back[i], values[i], scale * 0.0071f) << i;
    }
  }
}

TEST(Dynamic8, ABlockWithANanDecodesToNan) {
  std::vector<float> values = {1, NAN, 2}, back(3);
  std::vector<uint8_t> codes(3);
  float absmax;
  EncodeDynamic8(NearestDynamic(true), 256, values.data(), 3, codes.data(), &absmax);
  DecodeDynamic8(DynamicMap(true), 256, codes.data(), &absmax, 3, back.data());
  for (const float value : back) EXPECT_TRUE(std::isnan(value));
}

}  // namespace attune::dynamic8_test
