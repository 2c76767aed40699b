#include "models/adapter_values.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace attune {
namespace {

using Kind = TrainableTensor::Kind;

// w (rows, cols) += scale left right, left (rows, rank) with the given strides, right (rank, cols) likewise.
void AddProduct(std::vector<float>& w, int64_t rows, int64_t cols, int64_t rank, float scale, const float* left,
                int64_t left_row, int64_t left_rank, const float* right, int64_t right_rank, int64_t right_col) {
  std::vector<float> delta(static_cast<size_t>(cols));
  for (int64_t i = 0; i < rows; ++i) {
    std::fill(delta.begin(), delta.end(), 0.0f);
    for (int64_t r = 0; r < rank; ++r) {
      const float factor = left[i * left_row + r * left_rank];
      const float* row = right + r * right_rank;
      for (int64_t j = 0; j < cols; ++j) delta[static_cast<size_t>(j)] += factor * row[j * right_col];
    }
    float* out = w.data() + i * cols;
    for (int64_t j = 0; j < cols; ++j) out[j] += scale * delta[static_cast<size_t>(j)];
  }
}

// Gives row i the length magnitude[i]; a row of zeros has no direction and stays one.
void StretchRows(std::vector<float>& w, const std::vector<float>& magnitude) {
  const size_t cols = w.size() / magnitude.size();
  for (size_t i = 0; i < magnitude.size(); ++i) {
    const std::span<float> row(w.data() + i * cols, cols);
    double squares = 0;
    for (const float value : row) squares += static_cast<double>(value) * value;
    const auto factor = static_cast<float>(squares > 0 ? magnitude[i] / std::sqrt(squares) : 0);
    for (float& value : row) value *= factor;
  }
}

}  // namespace

const std::vector<float>* AdapterValues::Find(const std::string& module, Kind kind) const {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (tensors[i].module == module && tensors[i].kind == kind) return &values[i];
  }
  return nullptr;
}

const AdapterModule* AdapterValues::FindModule(const std::string& path) const {
  const auto found =
      std::find_if(spec.modules.begin(), spec.modules.end(), [&](const auto& m) { return m.path == path; });
  return found == spec.modules.end() ? nullptr : &*found;
}

const std::vector<float>* AdapterValues::Replacement(const std::string& module, bool bias) const {
  if (bias) return Find(module, Kind::kBias);
  for (const Kind kind : {Kind::kFullWeight, Kind::kEmbedding, Kind::kNorm}) {
    if (const auto* found = Find(module, kind)) return found;
  }
  return nullptr;
}

void AdapterValues::MergeBias(const std::string& module, std::vector<float>& bias) const {
  const auto* added = Find(module, Kind::kLoraBias);
  if (added == nullptr) return;
  const float scale = FindModule(module)->scale;
  for (size_t i = 0; i < bias.size(); ++i) bias[i] += scale * (*added)[i];
}

void AdapterValues::PutTokenRows(std::vector<float>& table) const {
  const auto* rows = Find("model.embed_tokens", Kind::kTokenRows);
  for (size_t i = 0; i < spec.tokens.ids.size(); ++i) {
    const int64_t width = spec.tokens.width;
    std::copy_n(rows->begin() + static_cast<int64_t>(i) * width, width, table.begin() + spec.tokens.ids[i] * width);
  }
}

void AdapterValues::Merge(const AdapterModule& m, std::vector<float>& w) const {
  if (m.is_embedding) {  // A (rank, vocabulary), B (width, rank)
    const std::vector<float>&a = *Find(m.path, Kind::kLoraEmbeddingA), &b = *Find(m.path, Kind::kLoraEmbeddingB);
    AddProduct(w, m.in, m.out, m.rank, m.scale, a.data(), 1, m.in, b.data(), 1, m.rank);
  } else {  // A (rank, in), B (out, rank)
    const std::vector<float>&a = *Find(m.path, Kind::kLoraA), &b = *Find(m.path, Kind::kLoraB);
    AddProduct(w, m.out, m.in, m.rank, m.scale, b.data(), m.rank, 1, a.data(), m.in, 1);
    if (const auto* magnitude = Find(m.path, Kind::kMagnitude)) StretchRows(w, *magnitude);
  }
}

}  // namespace attune
