// Lines over steps: what both the SVG charts and the terminal plot draw, and the round numbers at their axes.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "store/run_data.h"

namespace attune {

struct Point {
  double x = 0, y = 0;
};

struct Series {
  std::string name;           // "train", "eval"
  std::vector<Point> points;  // by x, all finite
};

struct Chart {
  std::string title, unit;     // "Peak memory", "GiB"
  std::vector<Series> series;  // none of them empty
  bool from_zero = false;      // where a part of the axis would make much of little
};

// The finite values of a metric by step, in the order of steps.
Series SeriesOf(const RunData& run, const std::string& metric, const std::string& name);

// At most about `limit` points that keep every bucket's least and greatest value, so that no peak is lost.
std::vector<Point> Thinned(const std::vector<Point>& points, size_t limit);

// Loss of training and evaluation; a series without points is left out.
Chart LossChart(const RunData& run);

// All charts of a run: loss, learning rate, gradient norm, tokens a second, memory, then whatever else was
// logged at two steps or more, up to 40.
std::vector<Chart> ChartsOf(const RunData& run);

// An axis from `low` to `high` (widened to whole ticks) with about `wanted` ticks at 1, 2 or 5 times a power
// of ten. Equal bounds are widened.
struct Axis {
  double low = 0, high = 1, step = 1;
  int ticks() const;
  double tick(int i) const { return low + step * i; }
};
Axis NiceAxis(double low, double high, int wanted);

// The same for steps: whole numbers, not widened beyond the data.
std::vector<double> StepTicks(double low, double high, int wanted);

// "0.25", "2e-5", "12.5k": short, with digits enough to tell apart the ticks of an axis with steps of `step`.
std::string TickLabel(double value, double step);

// One value as a person reads it, to four digits.
std::string ValueLabel(double value);

}  // namespace attune
