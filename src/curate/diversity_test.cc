#include "curate/diversity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

namespace attune::diversity_test {

Embeddings Of(const std::vector<std::vector<float>>& rows) {
  Embeddings made{rows[0].size(), {}};
  for (const auto& row : rows) made.values.insert(made.values.end(), row.begin(), row.end());
  for (size_t i = 0; i < made.size(); ++i) Normalize(made.Row(i));
  return made;
}

Places All(const Embeddings& embeddings) {
  Places places(embeddings.size());
  std::iota(places.begin(), places.end(), size_t{0});
  return places;
}

// 6 directions, the i-th with i + 1 rows close to it; the rows of a direction stand apart from each other.
Embeddings Crowds() {
  std::vector<std::vector<float>> rows;
  for (size_t round = 0; round < 6; ++round) {
    for (size_t kind = round; kind < 6; ++kind) {
      std::vector<float> row(7, 0.0f);
      row[kind] = 1;
      row[6] = 0.01f * static_cast<float>(round + 1);
      rows.push_back(row);
    }
  }
  return Of(rows);
}

size_t KindOf(const Embeddings& e, size_t row) {
  for (size_t kind = 0; kind < 6; ++kind) {
    if (e.Row(row)[kind] > 0.5f) return kind;
  }
  return 6;
}

TEST(Diversity, BothRulesTakeOneOfEachKindFirst) {
  const Embeddings e = Crowds();
  for (const Places& chosen : {KCentre(e, All(e), 3, 6, 1), FacilityLocation(e, All(e), 6, 1)}) {
    std::set<size_t> kinds;
    for (const size_t row : chosen) kinds.insert(KindOf(e, row));
    EXPECT_EQ(kinds.size(), 6u);
  }
  EXPECT_EQ(KCentre(e, All(e), 3, 1, 1), Places{3});
}

TEST(Diversity, FacilityLocationBeginsWithTheLargestCrowd) {
  const Embeddings e = Crowds();
  EXPECT_EQ(KindOf(e, FacilityLocation(e, All(e), 1, 1)[0]), 5u);
}

// The greedy choice made the slow way: every gain anew for every turn.
TEST(Diversity, LazyGainsChooseWhatGreedyWould) {
  std::vector<std::vector<float>> rows;
  for (size_t i = 0; i < 150; ++i) {
    std::vector<float> row;
    for (size_t k = 0; k < 9; ++k) row.push_back(static_cast<float>(std::sin(static_cast<double>(i * 37 + k * 101))));
    rows.push_back(row);
  }
  const Embeddings e = Of(rows);
  std::vector<float> nearest(rows.size(), -1);
  Places slow;
  while (slow.size() < 40) {
    double best = -1;
    size_t chosen = 0;
    for (size_t row = 0; row < rows.size(); ++row) {
      if (std::find(slow.begin(), slow.end(), row) != slow.end()) continue;
      double gain = 0;
      for (size_t i = 0; i < rows.size(); ++i) gain += std::max(0.0f, Cosine(e.Row(i), e.Row(row)) - nearest[i]);
      if (gain > best) best = gain, chosen = row;
    }
    slow.push_back(chosen);
    for (size_t i = 0; i < rows.size(); ++i) nearest[i] = std::max(nearest[i], Cosine(e.Row(i), e.Row(chosen)));
  }
  EXPECT_EQ(FacilityLocation(e, All(e), 40, 1), slow);
  EXPECT_EQ(FacilityLocation(e, All(e), 40, 3), slow);
  EXPECT_EQ(KCentre(e, All(e), 0, 40, 3), KCentre(e, All(e), 0, 40, 1));
}

TEST(Diversity, CountsRowsThatHaveNothingInCommon) {
  const Embeddings apart = Of({{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}), same = Of({{1, 0}, {1, 0}, {1, 0}, {1, 0}});
  EXPECT_NEAR(DiversityOf(apart, All(apart), 2).vendi, 3, 1e-6);
  EXPECT_NEAR(DiversityOf(apart, All(apart), 2).mean_nearest, 1, 1e-6);
  EXPECT_NEAR(DiversityOf(same, All(same), 1).vendi, 1, 1e-6);
  EXPECT_NEAR(DiversityOf(same, All(same), 1).mean_nearest, 0, 1e-6);
  EXPECT_EQ(DiversityOf(same, {}, 1).vendi, 0);
}

TEST(Embeddings, CentredVectorsShareNothing) {
  Embeddings e = Of({{10, 1, 0}, {10, -1, 0}, {10, 0, 1}, {10, 0, -1}});
  const std::vector<float> zeros(3, 0.0f);
  e.values.insert(e.values.end(), zeros.begin(), zeros.end());
  EXPECT_GT(Cosine(e.Row(0), e.Row(1)), 0.9f);
  CenterEmbeddings(&e);
  EXPECT_NEAR(Cosine(e.Row(0), e.Row(1)), -1, 1e-4);
  EXPECT_NEAR(Cosine(e.Row(0), e.Row(0)), 1, 1e-6);
  EXPECT_EQ(Cosine(e.Row(4), e.Row(4)), 0) << "a row of which nothing is known stays one";
  Embeddings equal = Of({{3, 4, 5}, {3, 4, 5}, {3, 4, 5}});
  CenterEmbeddings(&equal);
  EXPECT_EQ(Cosine(equal.Row(0), equal.Row(1)), 0) << "rounding is no direction";
}

}  // namespace attune::diversity_test
