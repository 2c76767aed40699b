// Decompositions by what defines them.
#include "adapters/decomposition.h"

#include <gtest/gtest.h>

#include <cmath>

namespace attune::decomposition_test {

using Floats = std::vector<float>;

Floats Random(int64_t count, uint64_t seed) {
  Floats values(static_cast<size_t>(count));
  TorchGenerator generator(seed);
  generator.FillNormal(values);
  return values;
}

// c (m, n) = a (m, k) b (k, n), with either stored transposed.
Floats Product(const Floats& a, const Floats& b, int64_t m, int64_t n, int64_t k, bool a_turned = false,
               bool b_turned = false) {
  Floats c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t u = 0; u < k; ++u) {
        sum += static_cast<double>(a[static_cast<size_t>(a_turned ? u * m + i : i * k + u)]) *
               b[static_cast<size_t>(b_turned ? j * k + u : u * n + j)];
      }
      c[static_cast<size_t>(i * n + j)] = static_cast<float>(sum);
    }
  }
  return c;
}

void ExpectSame(const Floats& got, const Floats& expected, double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], expected[i], tolerance) << i;
}

struct Shape {
  int64_t out, in;
};

// W a_i = scale |a_i|^2 b_i and W^T b_i = scale |b_i|^2 a_i, |a_i| = |b_i| falling: the pairs are singular vectors, the
// weight is theirs, and nothing larger is left.
void ExpectSingularPairs(const Floats& w, const Shape& shape, int64_t rank, float scale, const LowRankFactors& f) {
  const Floats wa = Product(w, f.a, shape.out, rank, shape.in, false, true);
  const Floats wb = Product(f.b, w, rank, shape.in, shape.out, true);
  double last = INFINITY;
  for (int64_t r = 0; r < rank; ++r) {
    double a2 = 0, b2 = 0;
    for (int64_t i = 0; i < shape.in; ++i) a2 += std::pow(f.a[static_cast<size_t>(r * shape.in + i)], 2);
    for (int64_t j = 0; j < shape.out; ++j) b2 += std::pow(f.b[static_cast<size_t>(j * rank + r)], 2);
    EXPECT_NEAR(a2, b2, 1e-4 * a2);
    EXPECT_LE(a2, last * (1 + 1e-6));
    last = a2;
    for (int64_t j = 0; j < shape.out; ++j) {
      ASSERT_NEAR(wa[static_cast<size_t>(j * rank + r)], scale * a2 * f.b[static_cast<size_t>(j * rank + r)], 1e-3);
    }
    for (int64_t i = 0; i < shape.in; ++i) {
      ASSERT_NEAR(wb[static_cast<size_t>(r * shape.in + i)], scale * b2 * f.a[static_cast<size_t>(r * shape.in + i)],
                  1e-3);
    }
  }
  Floats rest = Product(f.b, f.a, shape.out, shape.in, rank);
  for (size_t i = 0; i < rest.size(); ++i) rest[i] = w[i] - scale * rest[i];
  Floats x = Random(shape.in, 9);  // the largest singular value of the rest, by power iteration
  double largest = 0;
  for (int step = 0; step < 50; ++step) {
    const Floats y = Product(rest, x, shape.out, 1, shape.in);
    x = Product(rest, y, shape.in, 1, shape.out, true);
    double norm = 0;
    for (const float value : x) norm += static_cast<double>(value) * value;
    largest = std::pow(norm, 0.25);
    for (float& value : x) value /= static_cast<float>(std::sqrt(norm));
  }
  EXPECT_LE(largest, scale * last * (1 + 1e-3));
}

TEST(Pissa, TakesTheLargestSingularValues) {
  for (const Shape shape : {Shape{24, 40}, Shape{40, 24}, Shape{20, 20}}) {
    const Floats w = Random(shape.out * shape.in, 3);
    ExpectSingularPairs(w, shape, 5, 1.7f, PissaFactors({w, shape.out, shape.in}, 5, 1.7f));
  }
}

TEST(Pissa, OfAWeightOfLowerRankIsTheWholeWeight) {
  const Shape shape{30, 22};
  const Floats w = Product(Random(shape.out * 3, 1), Random(3 * shape.in, 2), shape.out, shape.in, 3);
  const LowRankFactors exact = PissaFactors({w, shape.out, shape.in}, 4, 2);
  TorchGenerator generator(5);
  const LowRankFactors iterated = PissaFactorsByIteration({w, shape.out, shape.in}, 4, 2, 4, generator);
  for (const LowRankFactors& f : {exact, iterated}) {
    Floats product = Product(f.b, f.a, shape.out, shape.in, 4);
    for (float& value : product) value *= 2;
    ExpectSame(product, w, 2e-4);
  }
}

TEST(Pissa, ByIterationComesCloseToTheExactOne) {
  const Shape shape{40, 64};
  Floats w = Random(shape.out * shape.in, 3);
  for (int64_t j = 0; j < shape.out; ++j) {  // with singular values that fall
    for (int64_t i = 0; i < shape.in; ++i)
      w[static_cast<size_t>(j * shape.in + i)] *= std::pow(0.7f, static_cast<float>(j));
  }
  TorchGenerator generator(5);
  const LowRankFactors f = PissaFactorsByIteration({w, shape.out, shape.in}, 4, 1, 16, generator);
  ExpectSingularPairs(w, shape, 4, 1, f);
}

TEST(Olora, IsTheBeginningOfAQrDecomposition) {
  for (const Shape shape : {Shape{12, 20}, Shape{20, 12}}) {
    const Floats w = Random(shape.out * shape.in, 4);
    const int64_t rank = 5;
    const LowRankFactors f = OloraFactors({w, shape.out, shape.in}, rank);
    Floats identity(static_cast<size_t>(rank * rank));
    for (int64_t r = 0; r < rank; ++r) identity[static_cast<size_t>(r * rank + r)] = 1;
    ExpectSame(Product(f.b, f.b, rank, rank, shape.out, true), identity, 1e-5);
    const Floats product = Product(f.b, f.a, shape.out, shape.in, rank);
    for (int64_t j = 0; j < shape.out; ++j) {
      for (int64_t i = 0; i < rank; ++i) {
        const auto at = static_cast<size_t>(j * shape.in + i);
        EXPECT_NEAR(product[at], w[at], 1e-5);
      }
    }
    for (int64_t r = 1; r < rank; ++r) {
      for (int64_t i = 0; i < r; ++i) EXPECT_EQ(f.a[static_cast<size_t>(r * shape.in + i)], 0);
    }
  }
  const Floats w = {3, 1, 4, 2};
  EXPECT_NEAR(OloraFactors({w, 2, 2}, 1).a[0], -5, 1e-6);  // LAPACK's sign, and so torch's
}

TEST(Orthogonal, FactorsCancel) {
  TorchGenerator generator(6);
  const LowRankFactors f = OrthogonalFactors(14, 18, 6, generator);
  ExpectSame(Product(f.b, f.a, 14, 18, 6), Floats(14 * 18), 1e-6);
  double squares = 0;
  for (const float value : f.a) squares += static_cast<double>(value) * value;
  EXPECT_NEAR(squares, 18 * 3 / 100.0, 0.4);
}

// Rows with falling deviations along three directions and a mean far from zero: in batches the components are those of
// all rows at once.
TEST(IncrementalPca, FindsTheDirectionsOfAllBatches) {
  constexpr int64_t kFeatures = 12, kBatch = 60;
  const Floats directions = OloraFactors({Random(kFeatures * 3, 8), kFeatures, 3}, 3).b;  // orthonormal (features, 3)
  IncrementalPca batches(kFeatures, 3), whole(kFeatures, 3);
  Floats all;
  for (uint64_t batch = 0; batch < 5; ++batch) {
    Floats draws = Random(kBatch * 3, 20 + batch);
    for (size_t i = 0; i < draws.size(); ++i) draws[i] *= i % 3 == 0 ? 5.0f : i % 3 == 1 ? 2.0f : 0.7f;
    Floats rows = Product(draws, directions, kBatch, kFeatures, 3, false, true);
    for (float& value : rows) value += 3;
    ASSERT_TRUE(batches.Add(rows));
    all.insert(all.end(), rows.begin(), rows.end());
  }
  EXPECT_FALSE(batches.Add(std::span(all).first(2 * kFeatures))) << "fewer rows than components";
  ASSERT_TRUE(whole.Add(all));
  EXPECT_EQ(whole.CountStill(0), 0) << "nothing to compare with yet";
  EXPECT_EQ(batches.CountStill(0.9), 3);
  EXPECT_LT(batches.CountStill(0.9999999), 3);
  double shares = 0;
  for (int64_t c = 0; c < 3; ++c) {
    double cosine = 0, truth = 0;
    for (int64_t i = 0; i < kFeatures; ++i) {
      const auto at = static_cast<size_t>(c * kFeatures + i);
      cosine += batches.components()[at] * whole.components()[at];
      truth += batches.components()[at] * directions[static_cast<size_t>(i * 3 + c)];
    }
    EXPECT_NEAR(std::fabs(cosine), 1, 1e-6);
    EXPECT_GT(std::fabs(truth), 0.97);
    EXPECT_NEAR(batches.explained()[static_cast<size_t>(c)], whole.explained()[static_cast<size_t>(c)], 1e-6);
    shares += batches.explained()[static_cast<size_t>(c)];
  }
  EXPECT_NEAR(shares, 1, 1e-6);
  EXPECT_GT(batches.explained()[0], batches.explained()[1]);
}

}  // namespace attune::decomposition_test
