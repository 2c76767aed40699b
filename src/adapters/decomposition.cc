#include "adapters/decomposition.h"

#define EIGEN_DONT_PARALLELIZE  // the caller runs several of these side by side
#include <Eigen/Eigenvalues>
#include <Eigen/QR>

#include <algorithm>
#include <cmath>

namespace attune {
namespace {

using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Doubles = Eigen::MatrixXd;

Eigen::Map<const Rows> MapOf(const WeightView& weight) { return {weight.values.data(), weight.out, weight.in}; }

std::vector<float> RowMajor(const Doubles& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.size()));
  Eigen::Map<Rows>(values.data(), matrix.rows(), matrix.cols()) = matrix.cast<float>();
  return values;
}

// W's largest singular values with their vectors, largest first: u (out, rank), v (in, rank).
struct TopSingular {
  Doubles u, v;
  Eigen::VectorXd s;
};

// 1 / x, 0 for 0: a singular value of 0 has no vector on the other side.
Eigen::VectorXd Inverse(const Eigen::VectorXd& x) {
  return x.unaryExpr([](double value) { return value > 0 ? 1 / value : 0.0; });
}

TopSingular Decompose(const Doubles& w, int64_t rank) {
  const bool is_wide = w.rows() <= w.cols();
  Doubles gram = Doubles::Zero(std::min(w.rows(), w.cols()), std::min(w.rows(), w.cols()));
  if (is_wide) {
    gram.selfadjointView<Eigen::Lower>().rankUpdate(w);
  } else {
    gram.selfadjointView<Eigen::Lower>().rankUpdate(w.transpose());
  }
  const Eigen::SelfAdjointEigenSolver<Doubles> solver(gram);  // in ascending order
  const Doubles vectors = solver.eigenvectors().rightCols(rank).rowwise().reverse();
  TopSingular top;
  top.s = solver.eigenvalues().tail(rank).reverse().cwiseMax(0).cwiseSqrt();
  if (is_wide) {
    top.u = vectors;
    top.v = w.transpose() * vectors * Inverse(top.s).asDiagonal();
  } else {
    top.v = vectors;
    top.u = w * vectors * Inverse(top.s).asDiagonal();
  }
  return top;
}

LowRankFactors Shared(const TopSingular& top, float scale) {
  const Eigen::VectorXd root = (top.s / static_cast<double>(scale)).cwiseSqrt();
  return {RowMajor(root.asDiagonal() * top.v.transpose()), RowMajor(top.u * root.asDiagonal())};
}

// An orthonormal basis of the columns.
Doubles Basis(const Doubles& columns) {
  return Eigen::HouseholderQR<Doubles>(columns).householderQ() * Doubles::Identity(columns.rows(), columns.cols());
}

Doubles Normal(int64_t rows, int64_t cols, TorchGenerator& generator) {
  std::vector<float> values(static_cast<size_t>(rows * cols));
  generator.FillNormal(values);
  return Eigen::Map<const Rows>(values.data(), rows, cols).cast<double>();
}

// As Decompose, from a random start and so many subspace iterations.
TopSingular DecomposeByIteration(const Doubles& w, int64_t rank, int64_t iterations, TorchGenerator& generator) {
  Doubles basis = Basis(w * Normal(w.cols(), rank, generator));
  for (int64_t i = 0; i < iterations; ++i) {
    basis = Basis(w.transpose() * basis);
    basis = Basis(w * basis);
  }
  TopSingular top = Decompose(basis.transpose() * w, rank);
  top.u = basis * top.u;
  return top;
}

}  // namespace

LowRankFactors PissaFactors(const WeightView& weight, int64_t rank, float scale) {
  return Shared(Decompose(MapOf(weight).cast<double>(), rank), scale);
}

LowRankFactors PissaFactorsByIteration(const WeightView& weight, int64_t rank, float scale, int64_t iterations,
                                       TorchGenerator& generator) {
  return Shared(DecomposeByIteration(MapOf(weight).cast<double>(), rank, iterations, generator), scale);
}

LowRankFactors OloraFactors(const WeightView& weight, int64_t rank) {
  const Eigen::HouseholderQR<Doubles> qr(MapOf(weight).cast<double>());
  const Doubles q = qr.householderQ() * Doubles::Identity(weight.out, rank);
  const Doubles r = qr.matrixQR().topRows(rank).triangularView<Eigen::Upper>();
  return {RowMajor(r), RowMajor(q)};
}

LowRankFactors OrthogonalFactors(int64_t out, int64_t in, int64_t rank, TorchGenerator& generator) {
  const Doubles q = Basis(Normal(rank, rank, generator));
  const int64_t half = rank / 2;
  Doubles odd(half, rank), even(half, rank);
  for (int64_t i = 0; i < half; ++i) {
    odd.row(i) = q.row(2 * i);
    even.row(i) = q.row(2 * i + 1);
  }
  const Doubles a = (Normal(in, half, generator) * odd).transpose() / 10;
  const Doubles b = Normal(half, out, generator).transpose() * even / 10;
  return {RowMajor(a), RowMajor(b)};
}

IncrementalPca::IncrementalPca(int64_t features, int64_t components)
    : features_(features), count_(std::min(features, components)) {}

bool IncrementalPca::Add(std::span<const float> rows) {
  const int64_t count = std::ssize(rows) / features_;
  if (count < count_) return false;
  const Doubles x = Eigen::Map<const Rows>(rows.data(), count, features_).cast<double>();
  const Eigen::RowVectorXd batch_mean = x.colwise().mean();
  const bool first = seen_ == 0;
  if (first) {
    mean_.assign(static_cast<size_t>(features_), 0);
    scatter_ = mean_;
  }
  Eigen::Map<Eigen::RowVectorXd> mean(mean_.data(), features_), scatter(scatter_.data(), features_);
  // What is known comes in as rows: components stretched by their singular values, and the step between the two means.
  const int64_t known = first ? 0 : count_ + 1;
  Doubles stacked(count + known, features_);
  stacked.topRows(count) = x.rowwise() - batch_mean;
  scatter += stacked.topRows(count).colwise().squaredNorm();
  const auto seen = static_cast<double>(seen_), added = static_cast<double>(count), total = seen + added;
  if (!first) {
    using RowMajorDoubles = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const RowMajorDoubles> components(components_.data(), count_, features_);
    const Eigen::Map<const Eigen::VectorXd> singular(singular_.data(), count_);
    stacked.middleRows(count, count_) = singular.asDiagonal() * components;
    const Eigen::RowVectorXd step = std::sqrt(seen * added / total) * (mean - batch_mean);
    stacked.bottomRows(1) = step;
    scatter += step.cwiseAbs2();
  }
  mean = (mean * seen + batch_mean * added) / total;
  seen_ += count;
  TorchGenerator generator(42);
  constexpr int64_t kIterations = 2;  // torch.svd_lowrank's
  const TopSingular top = DecomposeByIteration(stacked, count_, kIterations, generator);
  before_ = std::move(components_);
  components_.resize(static_cast<size_t>(count_ * features_));
  for (int64_t c = 0; c < count_; ++c) {
    Eigen::Map<Eigen::VectorXd>(components_.data() + c * features_, features_) = top.v.col(c);
  }
  singular_.assign(top.s.data(), top.s.data() + count_);
  return true;
}

int64_t IncrementalPca::CountStill(double tau) const {
  int64_t still = 0;
  for (; still < count_ && !before_.empty(); ++still) {
    const Eigen::Map<const Eigen::VectorXd> now(components_.data() + still * features_, features_),
        then(before_.data() + still * features_, features_);
    if (std::fabs(now.dot(then)) < tau) break;
  }
  return still;
}

std::vector<double> IncrementalPca::explained() const {
  double total = 0;
  for (const double value : scatter_) total += value;
  std::vector<double> shares;
  for (const double s : singular_) shares.push_back(total > 0 ? s * s / total : 0);
  return shares;
}

}  // namespace attune
