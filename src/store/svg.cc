#include "store/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/unicode.h"

namespace attune {
namespace {

constexpr size_t kMostPoints = 800;   // of a line
constexpr size_t kMostTargets = 160;  // points that answer a pointer

struct Frame {
  double left, top, right, bottom;  // of the plot within the picture
  Axis y;
  double x_low, x_high;

  double X(double x) const {
    return x_high > x_low ? left + (x - x_low) / (x_high - x_low) * (right - left) : (left + right) / 2;
  }
  double Y(double value) const { return bottom - (value - y.low) / (y.high - y.low) * (bottom - top); }
};

// Bounds of the values. Where a few of them tower over the rest (the first steps of a run), they still count:
// a chart that cuts off what happened misleads.
Frame FrameFor(const Chart& chart, int width, int height) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Frame frame{0, 40, width - 14.0, height - 30.0, {}, kInfinity, -kInfinity};
  double low = chart.from_zero ? 0 : kInfinity, high = -kInfinity;
  for (const Series& series : chart.series) {
    for (const Point& point : series.points) {
      low = std::min(low, point.y);
      high = std::max(high, point.y);
      frame.x_low = std::min(frame.x_low, point.x);
      frame.x_high = std::max(frame.x_high, point.x);
    }
  }
  frame.y = NiceAxis(low, high, std::max(2, height / 55));
  size_t longest = 1;
  for (int i = 0; i < frame.y.ticks(); ++i)
    longest = std::max(longest, TickLabel(frame.y.tick(i), frame.y.step).size());
  frame.left = 14.0 + 7.0 * static_cast<double>(longest);
  return frame;
}

void DrawAxes(const Frame& frame, std::string& svg) {
  for (int i = 0; i < frame.y.ticks(); ++i) {
    const double value = frame.y.tick(i), y = frame.Y(value);
    svg += fmt::format(R"(<line class="{}" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>)",
                       i == 0 ? "base" : "grid", frame.left, frame.right, y, y);
    svg += fmt::format(R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="end">{}</text>)", frame.left - 6, y + 4,
                       TickLabel(value, frame.y.step));
  }
  const std::vector<double> ticks =
      StepTicks(frame.x_low, frame.x_high, std::max(2, static_cast<int>((frame.right - frame.left) / 80)));
  for (const double tick : ticks) {
    const double x = frame.X(tick);
    svg += fmt::format(R"(<line class="base" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>)", x, frame.bottom,
                       frame.bottom + 4);
    const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
    svg += fmt::format(R"(<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>)", x,
                       frame.bottom + 18, TickLabel(tick, step));
  }
}

// "Loss" at the left, the names of its lines at the right.
void DrawHead(const Chart& chart, const Frame& frame, std::string& svg) {
  svg += fmt::format(R"(<text class="title" x="8" y="19">{}{}</text>)", Escaped(chart.title),
                     chart.unit.empty() ? "" : " (" + Escaped(chart.unit) + ")");
  if (chart.series.size() < 2) return;
  double x = frame.right;
  for (auto series = chart.series.rbegin(); series != chart.series.rend(); ++series) {
    svg += fmt::format(R"(<text class="tick" x="{:.1f}" y="19" text-anchor="end">{}</text>)", x, Escaped(series->name));
    x -= 8.0 + 6.5 * static_cast<double>(series->name.size());
    svg += fmt::format(R"(<rect class="fill-{}" x="{:.1f}" y="11" width="10" height="10" rx="3"/>)",
                       Escaped(series->name), x - 6);
    x -= 20;
  }
}

void DrawLine(const Series& series, const Frame& frame, std::string& svg) {
  const std::vector<Point> points = Thinned(series.points, kMostPoints);
  std::string path;
  for (const Point& point : points) {
    path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : "L", frame.X(point.x), frame.Y(point.y));
  }
  if (points.size() > 1) svg += fmt::format(R"(<path class="line-{}" d="{}"/>)", series.name, path);
  const bool few = points.size() <= 40 && (series.name == "eval" || points.size() == 1);
  for (const Point& point : few ? points : std::vector<Point>{}) {
    svg += fmt::format(R"(<circle class="fill-{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>)", series.name, frame.X(point.x),
                       frame.Y(point.y));
  }
}

// A point shows its value to a pointer that rests on it, by the title that browsers show.
void DrawTargets(const Chart& chart, const Series& series, const Frame& frame, std::string& svg) {
  for (const Point& point : Thinned(series.points, kMostTargets)) {
    svg +=
        fmt::format(R"(<circle class="hit" cx="{:.1f}" cy="{:.1f}" r="7"><title>step {:.0f}: {}{}{}</title></circle>)",
                    frame.X(point.x), frame.Y(point.y), point.x, chart.series.size() > 1 ? series.name + " " : "",
                    ValueLabel(point.y), chart.unit.empty() ? "" : " " + chart.unit);
  }
}

}  // namespace

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : HarmlessText(text)) {
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '"') {
      escaped += "&quot;";
    } else if (c == '\'') {
      escaped += "&#39;";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string ChartSvg(const Chart& chart, int width, int height) {
  const std::string label = Escaped(chart.title);
  std::string svg = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {} {}" role="img" aria-label="{} by step">)",
      width, height, label);
  if (chart.series.empty()) {
    svg += fmt::format(
        R"(<text class="title" x="8" y="19">{}</text><text class="tick" x="{}" y="{}" text-anchor="middle">)"
        "nothing was logged</text></svg>",
        label, width / 2, height / 2);
    return svg;
  }
  const Frame frame = FrameFor(chart, width, height);
  DrawAxes(frame, svg);
  DrawHead(chart, frame, svg);
  for (const Series& series : chart.series) DrawLine(series, frame, svg);
  for (const Series& series : chart.series) DrawTargets(chart, series, frame, svg);
  return svg + "</svg>";
}

std::string ChartStyle() {
  return R"(.chart text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.chart .title{font-size:14px;font-weight:600;fill:#1c2430}
.chart .tick{font-size:12px;fill:#667085}
.chart .grid{stroke:#e4e7ec;stroke-width:1}
.chart .base{stroke:#98a2b3;stroke-width:1}
.chart path{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.chart .line-train{stroke:#2f6fde}
.chart .line-eval{stroke:#d9660f}
.chart .fill-train{fill:#2f6fde}
.chart .fill-eval{fill:#d9660f}
.chart .hit{fill:#000;fill-opacity:0}
.chart .hit:hover{fill:#667085;fill-opacity:.35}
@media (prefers-color-scheme:dark){
.chart .title{fill:#e6e9ef}
.chart .tick{fill:#98a2b3}
.chart .grid{stroke:#2b323d}
.chart .base{stroke:#667085}
.chart .line-train{stroke:#6ea0ff}
.chart .line-eval{stroke:#ff9d4d}
.chart .fill-train{fill:#6ea0ff}
.chart .fill-eval{fill:#ff9d4d}
}
)";
}

std::string ChartSvgFile(const Chart& chart, int width, int height) {
  std::string svg = ChartSvg(chart, width, height);
  const std::string head = fmt::format(
      "<style>{}.chart .paper{{fill:#fff}}\n@media (prefers-color-scheme:dark){{.chart "
      ".paper{{fill:#161b22}}}}\n</style>"
      R"(<rect class="paper" width="{}" height="{}"/>)",
      ChartStyle(), width, height);
  svg.insert(svg.find('>') + 1, head);
  svg.insert(4, fmt::format(R"( width="{}" height="{}")", width, height));
  return svg + "\n";
}

}  // namespace attune
