// How sure a figure over rows is: the rows are drawn again with replacement, many times, and the figure is computed
// from each draw (Efron and Tibshirani 1993). Systems that answered the same rows are compared on the same draws, so
// that rows which are hard for all of them do not count as a difference (Koehn 2004, W04-3250).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace attune {

// What a figure is made from, row by row: `width` numbers a row, which are added over rows, and the figure of their
// sums (a mean: a value and 1; chrF: counts of n-grams).
struct RowSums {
  size_t width = 2;
  double (*figure)(std::span<const double> sums) = nullptr;
  std::vector<double> values;  // (rows, width)

  size_t rows() const { return values.size() / width; }
  double Figure() const;  // of all rows
};

// The mean of a value a row.
RowSums MeanOf(std::span<const double> values);

// sum / count over all rows, as a loss by token: `sums` and `counts` are by row.
RowSums RatioOf(std::span<const double> sums, std::span<const double> counts);

inline constexpr int64_t kResamples = 10000;

// (tables, resamples): the figure of every table from every draw. All tables have as many rows, above 0. The same seed
// gives the same draws.
std::vector<std::vector<double>> Resample(std::span<const RowSums* const> tables, uint64_t seed,
                                          int64_t resamples = kResamples);

// The middle 95 % of figures.
struct Interval {
  double low = 0, high = 0;
};
Interval MiddleOf(std::vector<double> figures);

// Of the difference a - b of two systems on the same draws; `share_above`: of the draws in which a is the larger (a tie
// is half).
struct Difference {
  Interval interval;
  double share_above = 0;
};
Difference DifferenceOf(std::span<const double> a, std::span<const double> b);

}  // namespace attune
