#include "eval/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "base/torch_random.h"

namespace attune {
namespace {

double Ratio(std::span<const double> sums) { return sums[1] > 0 ? sums[0] / sums[1] : 0; }

}  // namespace

double RowSums::Figure() const {
  std::vector<double> sums(width, 0);
  for (size_t i = 0; i < values.size(); ++i) sums[i % width] += values[i];
  return figure(sums);
}

RowSums MeanOf(std::span<const double> values) { return RatioOf(values, std::vector<double>(values.size(), 1)); }

RowSums RatioOf(std::span<const double> sums, std::span<const double> counts) {
  RowSums table{2, Ratio, {}};
  for (size_t i = 0; i < sums.size(); ++i) table.values.insert(table.values.end(), {sums[i], counts[i]});
  return table;
}

std::vector<std::vector<double>> Resample(std::span<const RowSums* const> tables, uint64_t seed, int64_t resamples) {
  std::vector<std::vector<double>> figures(tables.size());
  if (tables.empty()) return figures;
  const size_t rows = tables[0]->rows();
  TorchGenerator random(seed);
  std::vector<double> times(rows), sums;  // how often each row was drawn
  for (int64_t n = 0; n < resamples; ++n) {
    std::fill(times.begin(), times.end(), 0.0);
    for (size_t i = 0; i < rows; ++i) ++times[static_cast<size_t>(random.Integer(0, static_cast<int64_t>(rows)))];
    for (size_t t = 0; t < tables.size(); ++t) {
      const RowSums& table = *tables[t];
      sums.assign(table.width, 0);
      const double* value = table.values.data();
      for (size_t i = 0; i < rows; ++i) {
        for (size_t k = 0; k < table.width; ++k) sums[k] += times[i] * *value++;
      }
      figures[t].push_back(table.figure(sums));
    }
  }
  return figures;
}

Interval MiddleOf(std::vector<double> figures) {
  std::sort(figures.begin(), figures.end());
  const auto at = [&](double share) {  // between the two nearest
    const double place = share * static_cast<double>(figures.size() - 1);
    const auto below = static_cast<size_t>(place);
    const size_t above = std::min(below + 1, figures.size() - 1);
    return figures[below] + (place - static_cast<double>(below)) * (figures[above] - figures[below]);
  };
  return {at(0.025), at(0.975)};
}

Difference DifferenceOf(std::span<const double> a, std::span<const double> b) {
  Difference d;
  std::vector<double> differences;
  for (size_t i = 0; i < a.size(); ++i) {
    differences.push_back(a[i] - b[i]);
    d.share_above += a[i] > b[i] ? 1 : a[i] == b[i] ? 0.5 : 0;
  }
  d.share_above /= static_cast<double>(a.size());
  d.interval = MiddleOf(std::move(differences));
  return d;
}

}  // namespace attune
