#include "store/terminal_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace attune {
namespace {

constexpr const char* kBlue = "\033[34m";
constexpr const char* kYellow = "\033[33m";
constexpr const char* kPlain = "\033[0m";

std::string Utf8Braille(int dots) {
  const int code = 0x2800 + dots;
  return {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
          static_cast<char>(0x80 | (code & 63))};
}

class Canvas {
 public:
  Canvas(int columns, int rows) : columns_(columns), rows_(rows), cells_(static_cast<size_t>(columns * rows)) {}

  int dot_columns() const { return columns_ * 2; }
  int dot_rows() const { return rows_ * 4; }

  void Dot(int x, int y) {
    constexpr int kBits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    Cell(x / 2, y / 4).dots |= kBits[y % 4][x % 2];
  }

  void Line(int x0, int y0, int x1, int y1) {
    const int length = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
    for (int i = 0; i <= length; ++i) Dot(x0 + (x1 - x0) * i / length, y0 + (y1 - y0) * i / length);
  }

  void Disc(int x, int y) { Cell(x / 2, y / 4).disc = true; }

  std::string Row(int row, bool colour) {
    std::string text;
    for (int column = 0; column < columns_; ++column) {
      const auto& cell = Cell(column, row);
      if (cell.disc) {
        text += colour ? fmt::format("{}●{}", kYellow, kPlain) : "●";
      } else if (cell.dots != 0) {
        text += colour ? kBlue + Utf8Braille(cell.dots) + kPlain : Utf8Braille(cell.dots);
      } else {
        text += ' ';
      }
    }
    return text.substr(0, text.find_last_not_of(' ') + 1);
  }

 private:
  struct CellContent {
    int dots = 0;
    bool disc = false;
  };
  CellContent& Cell(int column, int row) { return cells_[static_cast<size_t>(row * columns_ + column)]; }

  int columns_, rows_;
  std::vector<CellContent> cells_;
};

struct Bounds {
  double x_low = std::numeric_limits<double>::infinity(), x_high = -x_low, low = x_low, high = -x_low;
};

Bounds BoundsOf(const Chart& chart) {
  Bounds b;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      b.x_low = std::min(b.x_low, point.x);
      b.x_high = std::max(b.x_high, point.x);
      b.low = std::min(b.low, point.y);
      b.high = std::max(b.high, point.y);
    }
  }
  return b;
}

// The place of `value` between the bounds among so many dots.
int Place(double value, double low, double high, int dots) {
  if (!(high > low)) return dots / 2;
  return std::clamp(static_cast<int>(std::lround((value - low) / (high - low) * (dots - 1))), 0, dots - 1);
}

void Draw(const Chart& chart, const Bounds& b, const Axis& axis, Canvas& canvas) {
  for (const Series& series : chart.series) {
    int last_x = 0, last_y = 0;
    for (size_t i = 0; i < series.points.size(); ++i) {
      const int x = Place(series.points[i].x, b.x_low, b.x_high, canvas.dot_columns());
      const int y = canvas.dot_rows() - 1 - Place(series.points[i].y, axis.low, axis.high, canvas.dot_rows());
      if (series.name == "eval") {
        canvas.Disc(x, y);
      } else {
        canvas.Line(i > 0 ? last_x : x, i > 0 ? last_y : y, x, y);
      }
      last_x = x;
      last_y = y;
    }
  }
}

// Labels below the axis, centred on their ticks and never into one another.
std::string StepLabels(const Bounds& b, int columns, std::string* axis_line) {
  std::string labels;
  std::vector<int> places;
  const std::vector<double> ticks = StepTicks(b.x_low, b.x_high, std::max(2, columns / 12));
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
  for (const double tick : ticks) {
    const std::string label = TickLabel(tick, step);
    const int place = Place(tick, b.x_low, b.x_high, columns);
    const int size = static_cast<int>(label.size());
    const int begin = std::clamp(place - size / 2, 0, std::max(0, columns - size));
    if (!labels.empty() && begin <= static_cast<int>(labels.size())) continue;
    labels.resize(static_cast<size_t>(begin), ' ');
    labels += label;
    places.push_back(place);
  }
  for (int column = 0; column < columns; ++column) {
    *axis_line += std::find(places.begin(), places.end(), column) != places.end() ? "┬" : "─";
  }
  return labels;
}

}  // namespace

std::string PlotInTerminal(const Chart& chart, int width, int height, bool colour) {
  if (chart.series.empty()) return "no loss was logged\n";
  width = std::clamp(width, 40, 400);
  height = std::clamp(height, 4, 100);
  const Bounds b = BoundsOf(chart);
  const Axis axis = NiceAxis(b.low, b.high, std::max(2, height / 3));
  std::vector<std::string> labels(static_cast<size_t>(height));
  size_t margin = 0;
  for (int i = 0; i < axis.ticks(); ++i) {
    const int row = height - 1 - Place(axis.tick(i), axis.low, axis.high, height);
    labels[static_cast<size_t>(row)] = TickLabel(axis.tick(i), axis.step);
    margin = std::max(margin, labels[static_cast<size_t>(row)].size());
  }
  const int columns = width - static_cast<int>(margin) - 2;
  Canvas canvas(columns, height);
  Draw(chart, b, axis, canvas);
  std::string text;
  for (int row = 0; row < height; ++row) {
    const std::string& label = labels[static_cast<size_t>(row)];
    text += fmt::format("{:>{}} {}{}\n", label, margin, label.empty() ? "│" : "┤", canvas.Row(row, colour));
  }
  std::string axis_line;
  const std::string steps = StepLabels(b, columns, &axis_line);
  text += fmt::format("{:>{}} └{}\n{:>{}}  {}\n", "", margin, axis_line, "", margin, steps);
  std::string legend;
  for (const Series& series : chart.series) {
    const bool is_eval = series.name == "eval";
    const std::string mark = is_eval ? "●" : Utf8Braille(0x12) + Utf8Braille(0x12);
    legend += fmt::format("  {}{}{} {} {}", colour ? (is_eval ? kYellow : kBlue) : "", mark, colour ? kPlain : "",
                          chart.title, series.name);
  }
  return text + fmt::format("{:>{}}{}, by step\n", "", margin, legend);
}

}  // namespace attune
