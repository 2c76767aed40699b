// Texts as vectors, however they were made: hashed words (curate/hashed_words.h) or a model's hidden states, which the
// caller supplies.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace attune {

// One vector of `width` numbers a row, of length 1; zeros: a row of which nothing is known.
struct Embeddings {
  size_t width = 0;
  std::vector<float> values;

  size_t size() const { return width == 0 ? 0 : values.size() / width; }
  std::span<const float> Row(size_t i) const { return std::span(values).subspan(i * width, width); }
  std::span<float> Row(size_t i) { return std::span(values).subspan(i * width, width); }
};

// The cosine of two vectors of length 1. Sums in an order that only the width decides.
inline float Cosine(std::span<const float> a, std::span<const float> b) {
  float sums[8] = {};  // the compiler keeps them in registers
  size_t i = 0;
  for (; i + 8 <= a.size(); i += 8) {
    for (size_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  }
  for (; i < a.size(); ++i) sums[0] += a[i] * b[i];
  float sum = 0;
  for (const float s : sums) sum += s;
  return sum;
}

// Makes its length 1; zeros stay.
void Normalize(std::span<float> vector);

// Takes the mean of all vectors but zeros from each of them, and makes their lengths 1 again. Returns the mean.
std::vector<float> CenterEmbeddings(Embeddings* embeddings);

}  // namespace attune
