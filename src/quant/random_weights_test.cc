#include "quant/random_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numbers>
#include <vector>

#include "quant/float16.h"

namespace attune::random_weights_test {

std::vector<float> Floats(uint64_t key, float stddev, int64_t first, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  FillNormalWeights(key, stddev, DType::kF32, first, count, reinterpret_cast<std::byte*>(values.data()));
  return values;
}

uint32_t Mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x85ebca6bu;
  x = (x ^ x >> 13) * 0xc2b2ae35u;
  return x ^ x >> 16;
}

// Box and Muller's formula in double precision on the same bits.
double Reference(uint64_t key, uint32_t place) {
  const auto low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
  const uint32_t pair = place / 16 * 8 + place % 8;
  const uint32_t a = Mix(Mix(pair ^ low) + high), b = Mix(a ^ 0x9e3779b9u ^ Mix(pair + high));
  const double radius = std::sqrt(-2 * std::log(((a >> 8) + 1.0) / 0x1p24));
  const double angle =
      std::numbers::pi / 2 * (b >> 30) + (static_cast<double>(b & 0xffffff) / 0x1p24 - 0.5) * std::numbers::pi / 2;
  return radius * (place % 16 < 8 ? std::cos(angle) : std::sin(angle));
}

TEST(RandomWeights, AreBoxMullersNumbers) {
  const uint64_t key = 0x123456789abcdef0;
  const std::vector<float> values = Floats(key, 1, 0, 100000);
  for (uint32_t i = 0; i < values.size(); ++i) ASSERT_NEAR(values[i], Reference(key, i), 2e-6) << i;
}

TEST(RandomWeights, AnyPieceIsThatOfTheWholeInEveryType) {
  const std::vector<float> whole = Floats(7, 0.02f, 0, 5000);
  const std::vector<float> part = Floats(7, 0.02f, 1616, 1313);
  EXPECT_EQ(std::memcmp(part.data(), whole.data() + 1616, part.size() * 4), 0);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    std::vector<uint16_t> narrow(5000);
    FillNormalWeights(7, 0.02f, dtype, 0, 5000, reinterpret_cast<std::byte*>(narrow.data()));
    for (size_t i = 0; i < narrow.size(); ++i) {
      ASSERT_EQ(narrow[i], dtype == DType::kBF16 ? FloatToBf16(whole[i]) : FloatToHalf(whole[i])) << i;
    }
  }
}

// Moments within five standard errors; and places, pairs and neighbouring keys do not follow one another.
TEST(RandomWeights, AreNormalAndIndependent) {
  const int64_t n = 1 << 20;
  const std::vector<float> x = Floats(42, 1, 0, n), y = Floats(43, 1, 0, n), z = Floats(42 + (1ull << 32), 1, 0, n);
  double sum = 0, square = 0, fourth = 0, next = 0, pair = 0, key = 0, high_key = 0, beyond3 = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i];
    sum += v;
    square += v * v;
    fourth += v * v * v * v;
    next += v * x[(i + 1) % x.size()];
    pair += v * x[(i + 8) % x.size()];
    key += v * y[i];
    high_key += v * z[i];
    beyond3 += std::abs(v) > 3;
  }
  const double error = 1 / std::sqrt(static_cast<double>(n));
  EXPECT_NEAR(sum / n, 0, 5 * error);
  EXPECT_NEAR(square / n, 1, 5 * std::sqrt(2.0) * error);
  EXPECT_NEAR(fourth / n, 3, 5 * std::sqrt(96.0) * error);
  EXPECT_NEAR(beyond3 / n, 0.0026998, 5 * std::sqrt(0.0026998) * error);
  for (const double product : {next, pair, key, high_key}) EXPECT_NEAR(product / n, 0, 5 * error);
}

}  // namespace attune::random_weights_test
