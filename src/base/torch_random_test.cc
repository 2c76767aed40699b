#include "base/torch_random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"

namespace attune::torch_random_test {

const nlohmann::json& Cases() {
  static const nlohmann::json cases = nlohmann::json::parse(ReadFile(std::string(ATTUNE_TEST_DATA) + "/rng.json"));
  return cases;
}

std::vector<float> Uniforms(TorchGenerator& generator, size_t n) {
  std::vector<float> out(n);
  for (float& x : out) x = generator.Uniform();
  return out;
}

std::vector<float> Normals(TorchGenerator& generator, size_t n) {
  std::vector<float> out(n);
  generator.FillNormal(out);
  return out;
}

void ExpectNear(const std::vector<float>& got, const std::vector<float>& want, float tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << i;
}

void ExpectWithinOneUlp(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const float next = std::nextafter(want[i], std::numeric_limits<float>::infinity());
    const float before = std::nextafter(want[i], -std::numeric_limits<float>::infinity());
    EXPECT_TRUE(got[i] >= before && got[i] <= next) << i << ": " << got[i] << " " << want[i];
  }
}

TEST(TorchRandom, Uniform) {
  for (const auto& c : Cases()) {
    const uint64_t seed = c["seed"];
    for (const auto& [n, want] : c["rand"].items()) {
      TorchGenerator generator(seed);
      EXPECT_EQ(Uniforms(generator, std::stoul(n)), want.get<std::vector<float>>()) << seed;
    }
    TorchGenerator generator(seed);
    for (double want : c["rand_float64"]) EXPECT_EQ(generator.UniformDouble(), want) << seed;
  }
}

TEST(TorchRandom, Normal) {
  for (const auto& c : Cases()) {
    for (const auto& [n, want] : c["randn"].items()) {
      TorchGenerator generator(c["seed"].get<uint64_t>());
      ExpectNear(Normals(generator, std::stoul(n)), want.get<std::vector<float>>(), 1e-6f);
    }
  }
}

TEST(TorchRandom, IntegersPermutationsAndMasks) {
  for (const auto& c : Cases()) {
    const uint64_t seed = c["seed"];
    TorchGenerator integers(seed);
    for (int64_t want : c["randint_0_1000"]) EXPECT_EQ(integers.Integer(0, 1000), want) << seed;
    for (const auto& [n, want] : c["randperm"].items()) {
      EXPECT_EQ(TorchGenerator(seed).Permutation(std::stol(n)), want.get<std::vector<int64_t>>()) << seed;
    }
    TorchGenerator mask(seed);
    for (int want : c["bernoulli_dropout_p0.1_keep"]) EXPECT_EQ(mask.Bernoulli(0.9), want == 1) << seed;
  }
}

TEST(TorchRandom, OneGeneratorManyKinds) {
  for (const auto& c : Cases()) {
    const auto& want = c["sequence"]["values"];
    TorchGenerator generator(c["seed"].get<uint64_t>());
    EXPECT_EQ(Uniforms(generator, 3), want[0].get<std::vector<float>>());
    ExpectNear(Normals(generator, 5), want[1].get<std::vector<float>>(), 1e-6f);
    EXPECT_EQ(generator.Permutation(6), want[2].get<std::vector<int64_t>>());
    EXPECT_EQ(Uniforms(generator, 2), want[3].get<std::vector<float>>());
  }
}

TEST(TorchRandom, KaimingUniform) {
  for (const auto& c : Cases()) {
    const uint64_t seed = c["seed"];
    std::vector<float> a(4 * 24), b(8 * 33);
    TorchGenerator(seed).FillKaimingUniform(a, 24);
    ExpectWithinOneUlp(a, c["kaiming_uniform_a_sqrt5_4x24"].get<std::vector<float>>());
    TorchGenerator(seed).FillKaimingUniform(b, 33);
    ExpectWithinOneUlp(b, c["kaiming_uniform_a_sqrt5_8x33"].get<std::vector<float>>());

    TorchGenerator generator(seed);  // as a LoRA layer is built: Linear(24, 4), Linear(4, 10), then A anew
    std::vector<float> linear_a(4 * 24), linear_b(10 * 4);
    generator.FillKaimingUniform(linear_a, 24);
    generator.FillKaimingUniform(linear_b, 4);
    generator.FillKaimingUniform(a, 24);
    ExpectWithinOneUlp(a, c["after_two_linear_constructors_24_4_10_kaiming_4x24"].get<std::vector<float>>());
  }
}

}  // namespace attune::torch_random_test
