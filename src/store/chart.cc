#include "store/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>

namespace attune {
namespace {

constexpr size_t kMostCharts = 40;
constexpr double kGiB = 1024.0 * 1024 * 1024;

void AddSeries(Chart& chart, Series series) {
  if (!series.points.empty()) chart.series.push_back(std::move(series));
}

// Digits behind the point that tell two neighbouring ticks apart.
int DigitsFor(double step) { return std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 12); }

std::string WithoutTrailingZeros(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text;
}

// "2e-5" for 2.00e-05.
std::string Scientific(double value) {
  const std::string text = fmt::format("{:.2e}", value);
  const size_t e = text.find('e');
  return WithoutTrailingZeros(text.substr(0, e)) + fmt::format("e{}", std::atoi(text.c_str() + e + 1));
}

// Bytes in GiB, or in MiB where they are few.
void ScaleBytes(Chart& chart) {
  double most = 0;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) most = std::max(most, point.y);
  }
  chart.unit = most >= kGiB ? "GiB" : "MiB";
  for (Series& series : chart.series) {
    for (Point& point : series.points) point.y /= most >= kGiB ? kGiB : kGiB / 1024;
  }
}

}  // namespace

Series SeriesOf(const RunData& run, const std::string& metric, const std::string& name) {
  Series series{name, {}};
  for (const MetricsEntry& entry : run.metrics) {
    const double* value = entry.Find(metric);
    if (value != nullptr && std::isfinite(*value)) series.points.push_back({static_cast<double>(entry.step), *value});
  }
  std::stable_sort(series.points.begin(), series.points.end(),
                   [](const Point& a, const Point& b) { return a.x < b.x; });
  return series;
}

std::vector<Point> Thinned(const std::vector<Point>& points, size_t limit) {
  if (points.size() <= limit || limit < 4) return points;
  const size_t buckets = limit / 2;
  std::vector<Point> thin;
  for (size_t bucket = 0; bucket < buckets; ++bucket) {
    const auto begin = points.begin() + static_cast<std::ptrdiff_t>(points.size() * bucket / buckets);
    const auto end = points.begin() + static_cast<std::ptrdiff_t>(points.size() * (bucket + 1) / buckets);
    auto [least, most] = std::minmax_element(begin, end, [](const Point& a, const Point& b) { return a.y < b.y; });
    if (most < least) std::swap(least, most);
    thin.push_back(*least);
    if (most != least) thin.push_back(*most);
  }
  thin.front() = points.front();
  thin.back() = points.back();
  return thin;
}

Chart LossChart(const RunData& run) {
  Chart chart{"Loss", "", {}};
  AddSeries(chart, SeriesOf(run, "loss", "train"));
  AddSeries(chart, SeriesOf(run, "eval_loss", "eval"));
  return chart;
}

std::vector<Chart> ChartsOf(const RunData& run) {
  std::vector<Chart> charts = {LossChart(run)};
  const auto add = [&](const std::string& metric, const std::string& title) {
    Chart chart{title, "", {}};
    AddSeries(chart, SeriesOf(run, metric, "train"));
    AddSeries(chart, SeriesOf(run, "eval_" + metric, "eval"));
    if (chart.series.size() == 1 && chart.series[0].name == "eval") chart.title = "eval_" + metric;
    chart.from_zero = metric == "peak_rss_bytes" || metric == "tokens_per_second";
    if (metric.ends_with("_bytes")) ScaleBytes(chart);
    charts.push_back(std::move(chart));
  };
  add("learning_rate", "Learning rate");
  add("grad_norm", "Gradient norm");
  add("tokens_per_second", "Tokens per second");
  add("peak_rss_bytes", "Peak memory");
  std::erase_if(charts, [](const Chart& chart) { return chart.series.empty(); });
  std::set<std::string> seen = {"loss",           "learning_rate", "grad_norm",      "tokens_per_second",
                                "peak_rss_bytes", "epoch",         "trained_tokens", "num_tokens",
                                "time",           "tokens",        "runtime"};
  for (const MetricsEntry& entry : run.metrics) {
    for (const auto& [name, value] : entry.values) {
      const std::string metric = name.starts_with("eval_") ? name.substr(5) : name;
      if (charts.size() >= kMostCharts || !seen.insert(metric).second) continue;
      add(metric, metric);
      const auto& series = charts.back().series;
      if (std::none_of(series.begin(), series.end(), [](const Series& s) { return s.points.size() > 1; }))
        charts.pop_back();
    }
  }
  return charts;
}

int Axis::ticks() const { return static_cast<int>(std::lround((high - low) / step)) + 1; }

Axis NiceAxis(double low, double high, int wanted) {
  // Beyond this, differences overflow; and a span that is nothing beside its values has no ticks to tell
  // apart.
  low = std::clamp(low, -1e300, 1e300);
  high = std::clamp(high, -1e300, 1e300);
  const double size = std::max(std::abs(low), std::abs(high));
  if (!(high - low > std::max(size * 1e-9, 1e-290))) {
    const double margin = size < 1e-280 ? 1 : size * 0.1;
    low -= margin;
    high += margin;
  }
  const double raw = (high - low) / wanted;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double scaled = raw / power;
  Axis axis;
  axis.step = (scaled <= 1 ? 1 : scaled <= 2 ? 2 : scaled <= 5 ? 5 : 10) * power;
  axis.low = std::floor(low / axis.step + 1e-9) * axis.step;
  axis.high = std::ceil(high / axis.step - 1e-9) * axis.step;
  return axis;
}

std::vector<double> StepTicks(double low, double high, int wanted) {
  if (!(high > low)) return {low};
  Axis axis = NiceAxis(low, high, wanted);
  axis.step = std::max(1.0, axis.step);
  std::vector<double> ticks;
  for (double tick = std::ceil(low / axis.step) * axis.step; tick <= high; tick += axis.step) ticks.push_back(tick);
  return ticks;
}

std::string TickLabel(double value, double step) {
  const double size = std::abs(value);
  if (size < step * 1e-6) return "0";
  if (size >= 1e15 || (size < 1e-2 && step < 1e-3)) return Scientific(value);
  for (const auto& [scale, letter] :
       {std::pair{1e12, "T"}, std::pair{1e9, "G"}, std::pair{1e6, "M"}, std::pair{1e3, "k"}}) {
    if (size >= 10 * scale || (size >= scale && step >= scale / 10)) {
      return WithoutTrailingZeros(fmt::format("{:.{}f}", value / scale, DigitsFor(step / scale))) + letter;
    }
  }
  return fmt::format("{:.{}f}", value, DigitsFor(step));
}

std::string ValueLabel(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e9) return fmt::format("{}", static_cast<int64_t>(value));
  return std::abs(value) < 1e-3 ? Scientific(value) : fmt::format("{:.4g}", value);
}

}  // namespace attune
