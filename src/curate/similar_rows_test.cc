#include "curate/similar_rows.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace attune::similar_rows_test {

// Rows that point everywhere, every tenth a little off the one before it.
Embeddings Scattered(size_t count) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  Embeddings made{24, std::vector<float>(24 * count)};
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < made.width; ++k)
      made.Row(i)[k] = i % 10 == 1 ? made.Row(i - 1)[k] + 0.04f * normal(random) : normal(random);
    Normalize(made.Row(i));
  }
  return made;
}

TEST(SimilarRows, AreThoseThatComparingAllFinds) {
  const Embeddings e = Scattered(600);
  std::vector<uint32_t> rows(e.size());
  std::iota(rows.begin(), rows.end(), 0u);
  std::vector<SimilarPair> all;
  for (uint32_t a = 0; a < rows.size(); ++a) {
    for (uint32_t b = a + 1; b < rows.size(); ++b) {
      const float cosine = Cosine(e.Row(a), e.Row(b));
      if (cosine >= 0.9) all.push_back({a, b, cosine});
    }
  }
  ASSERT_GE(all.size(), 60u);
  EXPECT_EQ(FindSimilarPairs(e, rows, 0.9, 1), all);
  EXPECT_EQ(FindSimilarPairs(e, rows, 0.9, 3), all);
}

TEST(SimilarRows, OnlyThoseAskedFor) {
  const Embeddings e = Scattered(40);
  const std::vector<uint32_t> none = {3}, some = {10, 11, 25};
  EXPECT_TRUE(FindSimilarPairs(e, none, 0.9, 1).empty());
  const std::vector<SimilarPair> pairs = FindSimilarPairs(e, some, 0.9, 1);
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs[0].a, 10u);
  EXPECT_EQ(pairs[0].b, 11u);
}

}  // namespace attune::similar_rows_test
