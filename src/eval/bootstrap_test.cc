#include "eval/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/torch_random.h"

namespace attune::bootstrap_test {

std::vector<double> Normal(size_t count, uint64_t seed) {
  std::vector<float> drawn(count);
  TorchGenerator(seed).FillNormal(drawn);
  return {drawn.begin(), drawn.end()};
}

// For a mean the interval is known: 1.96 standard errors to each side.
TEST(Bootstrap, AgreesWithTheStandardErrorOfAMean) {
  const std::vector<double> values = Normal(400, 1);
  const RowSums table = MeanOf(values);
  double variance = 0;
  for (const double v : values) variance += (v - table.Figure()) * (v - table.Figure());
  const double error = std::sqrt(variance / 400) / 20;
  const RowSums* tables[] = {&table};
  const Interval interval = MiddleOf(Resample(tables, 7)[0]);
  EXPECT_NEAR(interval.low, table.Figure() - 1.96 * error, 0.1 * error);
  EXPECT_NEAR(interval.high, table.Figure() + 1.96 * error, 0.1 * error);
}

// Rows that differ much among themselves and little between two systems.
TEST(Bootstrap, ComparesOnTheSameDraws) {
  std::vector<double> a = Normal(100, 2), b = a;
  for (double& v : a) v = 10 * v;
  for (size_t i = 0; i < b.size(); ++i) b[i] = a[i] - 0.1 - 0.01 * b[i];
  const RowSums of_a = MeanOf(a), of_b = MeanOf(b);
  const RowSums* tables[] = {&of_a, &of_b};
  const auto figures = Resample(tables, 3, 2000);
  const Difference difference = DifferenceOf(figures[0], figures[1]);
  EXPECT_EQ(difference.share_above, 1);
  EXPECT_NEAR(difference.interval.low, 0.1, 0.01);
  EXPECT_NEAR(difference.interval.high, 0.1, 0.01);
  const Interval alone = MiddleOf(figures[0]);
  EXPECT_GT(alone.high - alone.low, 2);
  EXPECT_EQ(Resample(tables, 3, 50)[0], std::vector<double>(figures[0].begin(), figures[0].begin() + 50));
}

TEST(Bootstrap, WeighsRowsByTheirTokens) {
  const double sums[] = {10, 2}, tokens[] = {5, 1};
  EXPECT_DOUBLE_EQ(RatioOf(sums, tokens).Figure(), 2);
  const double same[] = {3, 3, 3};
  const RowSums table = MeanOf(same);
  const RowSums* tables[] = {&table, &table};
  const auto figures = Resample(tables, 1, 10);
  EXPECT_EQ(DifferenceOf(figures[0], figures[1]).share_above, 0.5);
}

}  // namespace attune::bootstrap_test
