// NEFTune's noise: the bits of the reference, its range and moments, and what it may depend on.
#include "ops/pointwise.h"
#include "ops/test_operands.h"

namespace attune::embedding_noise_test {

// The noise itself: what is added to zeros.
Matrix Noise(Operands& o, const std::vector<int32_t>& keys, const std::vector<int32_t>& starts, int64_t columns,
             float alpha, int threads = 2) {
  const EmbeddingNoise op{o.Zeros(static_cast<int64_t>(keys.size()), columns), o.Ints(keys), o.Ints(starts), alpha};
  Cpu(threads).Run(op);
  return op.x;
}

std::vector<int32_t> Keys(int32_t count, int32_t first = 0, int32_t step = 1) {
  std::vector<int32_t> keys;
  for (int32_t i = 0; i < count; ++i) keys.push_back(first + step * i);
  return keys;
}

TEST(EmbeddingNoise, AgainstReference) {
  for (int64_t columns : {1, 7, 16, 33, 576}) {
    for (int64_t gap : {0, 3}) {
      Operands o;
      const EmbeddingNoise op{o.Random(9, columns, DType::kF32, 1, gap), o.Ints({0, 1, -1, 7, INT32_MIN, 7, 5, 6, 8}),
                              o.Ints({0, 2, 2, 8, 9}), 5.0f};
      EmbeddingNoise expected = op, one = op;
      expected.x = o.Clone(op.x);
      one.x = o.Clone(op.x);
      Cpu(3).Run(op);
      Cpu(1).Run(one);
      Reference(expected);
      ExpectClose(op.x, expected.x);
      ExpectSameBits(op.x, one.x);
    }
  }
}

TEST(EmbeddingNoise, UniformInItsRange) {
  Operands o;
  constexpr int64_t kTokens = 2000, kColumns = 576;
  constexpr double kCount = kTokens * kColumns;
  const double a = 5 / std::sqrt(kCount);  // one sequence
  for (const int32_t step : {1, 65536}) {
    const Matrix noise = Noise(o, Keys(kTokens, 17, step), {0, kTokens}, kColumns, 5.0f);
    double sum = 0, squares = 0, next_column = 0, next_token = 0, largest = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t c = 0; c < kColumns; ++c) {
        const double x = Get(noise, t, c) / a;
        largest = std::max(largest, std::abs(x));
        sum += x;
        squares += x * x;
        next_column += x * Get(noise, t, (c + 1) % kColumns) / a;
        next_token += x * Get(noise, (t + 1) % kTokens, c) / a;
      }
    }
    const double deviation = std::sqrt(1 / 3.0 / kCount);  // of a mean of independent draws
    EXPECT_NEAR(sum / kCount, 0, 5 * deviation);
    EXPECT_NEAR(squares / kCount, 1 / 3.0, 5 * std::sqrt(4 / 45.0 / kCount));
    EXPECT_NEAR(next_column / kCount, 0, 5 / 3.0 / std::sqrt(kCount));
    EXPECT_NEAR(next_token / kCount, 0, 5 / 3.0 / std::sqrt(kCount));
    EXPECT_LE(largest, 1.0 + 1e-6);
    EXPECT_GT(largest, 0.9999);
  }
}

// A token's noise follows its key and the length of its own sequence, wherever it stands.
TEST(EmbeddingNoise, IndependentOfPacking) {
  Operands o;
  const Matrix alone = Noise(o, {5, 6, 7}, {0, 3}, 100, 2.0f);
  const Matrix packed = Noise(o, {1, 2, 5, 6, 7, 9}, {0, 2, 5, 6}, 100, 2.0f);
  ExpectSameBits(alone, packed.Rows(2, 3));
  const Matrix longer = Noise(o, {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, {0, 12}, 100, 2.0f);
  for (int64_t c = 0; c < 100; ++c) EXPECT_NEAR(Get(longer, 0, c), Get(alone, 0, c) / 2, 1e-7);
}

// The same keys serve dropout: which elements are kept says nothing about their noise.
TEST(EmbeddingNoise, IndependentOfDropout) {
  Operands o;
  constexpr int64_t kTokens = 1000, kColumns = 576;
  const Matrix noise = Noise(o, Keys(kTokens), {0, kTokens}, kColumns, 1.0f);
  const double a = 1 / std::sqrt(static_cast<double>(kTokens * kColumns));
  for (const uint32_t module : {0u, 1u}) {
    const std::vector<uint8_t> zeros(kTokens * kColumns / 8);
    const DropoutMask mask{o.Bytes(zeros.data(), kColumns / 8, DType::kU8, kTokens), o.Ints(Keys(kTokens)), module,
                           0.5f};
    Cpu().Run(mask);
    double sum = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      const uint8_t* bits = Operands::Pointer(mask.bits.Rows(t, 1));
      for (int64_t c = 0; c < kColumns; ++c) sum += Get(noise, t, c) / a * ((bits[c / 8] >> (c % 8) & 1) != 0 ? 1 : -1);
    }
    EXPECT_NEAR(sum / (kTokens * kColumns), 0, 5 * std::sqrt(1 / 3.0 / (kTokens * kColumns)));
  }
}

}  // namespace attune::embedding_noise_test
