#include "curate/embeddings.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

namespace attune {
namespace {

constexpr float kNothingLeft =
    1e-8f;  // of the square of a length of 1: what rounding leaves where all vectors are the same

}  // namespace

void Normalize(std::span<float> vector) {
  const float length = std::sqrt(Cosine(vector, vector));
  if (length > 0) {
    for (float& value : vector) value /= length;
  }
}

std::vector<float> CenterEmbeddings(Embeddings* embeddings) {
  std::vector<double> sums(embeddings->width);
  int64_t known = 0;
  const auto is_zero = [](std::span<const float> row) { return Cosine(row, row) == 0; };
  for (size_t i = 0; i < embeddings->size(); ++i) {
    const std::span<const float> row = std::as_const(*embeddings).Row(i);
    known += !is_zero(row);
    for (size_t k = 0; k < row.size(); ++k) sums[k] += row[k];
  }
  std::vector<float> mean;
  for (const double sum : sums)
    mean.push_back(static_cast<float>(sum / static_cast<double>(std::max<int64_t>(1, known))));
  for (size_t i = 0; i < embeddings->size(); ++i) {
    const std::span<float> row = embeddings->Row(i);
    if (is_zero(row)) continue;
    for (size_t k = 0; k < row.size(); ++k) row[k] -= mean[k];
    if (Cosine(row, row) < kNothingLeft) std::fill(row.begin(), row.end(), 0.0f);
    Normalize(row);
  }
  return mean;
}

}  // namespace attune
