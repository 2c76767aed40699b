#include "quant/torch_mean.h"

#include <algorithm>
#include <bit>
#include <vector>

namespace attune {
namespace {

constexpr int kLevels = 4, kRowsAtOnce = 4;

int CeilLog2(int64_t x) { return x <= 2 ? 1 : std::bit_width(static_cast<uint64_t>(x - 1)); }

// Sums `rows` rows of `width` columns, column by column; each level collects 2^power sums of the one below.
std::vector<float> SumColumns(const float* values, int64_t rows, size_t width) {
  const int power = std::max(4, CeilLog2(rows) / kLevels);
  const int64_t step = int64_t{1} << power, mask = step - 1;
  std::vector<std::vector<float>> levels(kLevels, std::vector<float>(width));
  const auto add = [width](std::vector<float>& to, const float* from) {
    for (size_t c = 0; c < width; ++c) to[c] += from[c];
  };
  int64_t row = 0;
  while (row + step <= rows) {
    for (int64_t end = row + step; row < end; ++row) add(levels[0], values + row * static_cast<int64_t>(width));
    for (int level = 1; level < kLevels; ++level) {
      auto& below = levels[static_cast<size_t>(level - 1)];
      add(levels[static_cast<size_t>(level)], below.data());
      std::fill(below.begin(), below.end(), 0.0f);
      if ((row & (mask << (level * power))) != 0) break;
    }
  }
  for (; row < rows; ++row) add(levels[0], values + row * static_cast<int64_t>(width));
  for (size_t level = 1; level < kLevels; ++level) add(levels[0], levels[level].data());
  return levels[0];
}

// Sums rows of `lanes` columns, four rows side by side.
std::vector<float> SumRows(const float* values, int64_t rows, size_t lanes) {
  std::vector<float> sums = SumColumns(values, rows / kRowsAtOnce, lanes * kRowsAtOnce);
  for (int64_t row = rows / kRowsAtOnce * kRowsAtOnce; row < rows; ++row) {
    for (size_t c = 0; c < lanes; ++c) sums[c] += values[row * static_cast<int64_t>(lanes) + static_cast<int64_t>(c)];
  }
  for (size_t part = 1; part < kRowsAtOnce; ++part) {
    for (size_t c = 0; c < lanes; ++c) sums[c] += sums[part * lanes + c];
  }
  sums.resize(lanes);
  return sums;
}

}  // namespace

float TorchMean(const float* values, int64_t count) {
  constexpr int64_t kLanes = 8;
  float sum = 0;
  if (count < kLanes) {
    sum = SumRows(values, count, 1)[0];
  } else {
    for (int64_t i = count / kLanes * kLanes; i < count; ++i) sum += values[i];
    for (const float lane : SumRows(values, count / kLanes, kLanes)) sum += lane;
  }
  return sum / static_cast<float>(count);
}

}  // namespace attune
