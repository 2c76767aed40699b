// First values of A and B that are worked out rather than drawn: PiSSA, OLoRA, orthogonal factors, and the components
// that EVA starts from, as PEFT's initialisations of these names (CONFORMANCE.md 1.3). The only user of Eigen, in
// decomposition.cc.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/torch_random.h"

namespace attune {

// A (rank, in) and B (out, rank), as files have them.
struct LowRankFactors {
  std::vector<float> a, b;
};

// A weight (out, in), row-major.
struct WeightView {
  std::span<const float> values;
  int64_t out = 0, in = 0;
};

// Meng et al. 2024: scale B A is the part of the weight in its `rank` largest singular values, shared evenly: A =
// sqrt(S / scale) V^T, B = U sqrt(S / scale). Exact: the eigenvectors of the smaller Gram matrix, in f64. rank <=
// min(out, in).
LowRankFactors PissaFactors(const WeightView& weight, int64_t rank, float scale);

// The same from a randomised decomposition with so many subspace iterations (Halko et al. 2009, algorithm 4.4), as
// torch.svd_lowrank; draws (in, rank) normal values.
LowRankFactors PissaFactorsByIteration(const WeightView& weight, int64_t rank, float scale, int64_t iterations,
                                       TorchGenerator& generator);

// Büyükakyüz 2024: W = Q R, B the first columns of Q, A the first rows of R, with LAPACK's signs. The scale plays no
// part.
LowRankFactors OloraFactors(const WeightView& weight, int64_t rank);

// Both from odd and even rows of one random orthogonal matrix, so that B A = 0. `rank` is even.
LowRankFactors OrthogonalFactors(int64_t out, int64_t in, int64_t rank, TorchGenerator& generator);

// Principal components of rows that come a batch at a time (Ross et al. 2008, as PEFT's IncrementalPCA): what EVA
// starts from. The decomposition of each batch with what is known is randomised, from a fixed seed.
class IncrementalPca {
 public:
  IncrementalPca(int64_t features, int64_t components);

  // Takes in rows (count, features). Gives false, and does nothing, where they are fewer than the components, as PEFT
  // does.
  bool Add(std::span<const float> rows);

  // How many of the components, from the largest on, the last Add turned so little that |cosine| stayed at `tau` or
  // above.
  int64_t CountStill(double tau) const;

  const std::vector<double>& components() const {
    return components_;
  }                                       // (components, features), unit rows, largest first
  std::vector<double> explained() const;  // the share of the rows' variance in each; empty before the first Add

 private:
  int64_t features_, count_, seen_ = 0;
  std::vector<double> components_, before_, singular_;
  std::vector<double> mean_, scatter_;  // of each feature: its mean, and the sum of squares about it
};

}  // namespace attune
