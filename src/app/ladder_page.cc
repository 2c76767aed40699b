// The page of a ladder: the loss of each rung against the time it took, and a table.
#include <algorithm>

#include "app/ladder_job.h"
#include "store/chart.h"
#include "store/page.h"
#include "store/run_summary.h"
#include "store/svg.h"

namespace attune {
namespace {

constexpr int kPlotWidth = 860, kPlotHeight = 400, kPlotLeft = 70, kPlotRight = 150, kPlotTop = 44, kPlotBottom = 344;

constexpr const char* kLadderStyle = R"(
.rungs{overflow-x:auto}
.rungs th{text-align:left;font-size:13px;font-weight:600;color:var(--soft);padding:4px 8px}
.rungs td{font-variant-numeric:tabular-nums}
.rungs td:first-child{color:var(--ink);font-weight:600;width:auto}
.rungs td span{display:block;color:var(--soft);font-size:12px}
.dot{fill:var(--accent)}.dot.use{fill:var(--good)}.bar{stroke:var(--soft);stroke-width:1.5}
)";

struct PlotFrame {
  Axis minutes, loss;
  double X(double m) const {
    return kPlotLeft + (m - minutes.low) / (minutes.high - minutes.low) * (kPlotWidth - kPlotLeft - kPlotRight);
  }
  double Y(double value) const {
    return kPlotBottom - (value - loss.low) / (loss.high - loss.low) * (kPlotBottom - kPlotTop);
  }
};

std::string Axes(const PlotFrame& frame) {
  std::string svg;
  for (int i = 0; i < frame.loss.ticks(); ++i) {
    const double value = frame.loss.tick(i), y = frame.Y(value);
    svg += fmt::format(R"(<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>)", i == 0 ? "base" : "grid",
                       kPlotLeft, kPlotWidth - kPlotRight, y, y);
    svg += fmt::format(R"(<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>)", kPlotLeft - 8, y + 4,
                       TickLabel(value, frame.loss.step));
  }
  for (int i = 0; i < frame.minutes.ticks(); ++i) {
    const double value = frame.minutes.tick(i);
    svg += fmt::format(R"(<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", frame.X(value),
                       kPlotBottom + 18, TickLabel(value, frame.minutes.step));
  }
  return svg + fmt::format(R"(<text class="tick" x="{}" y="{}" text-anchor="end">minutes spent</text>)",
                           kPlotWidth - kPlotRight, kPlotBottom + 38);
}

std::string Dot(const LadderRung& rung, const PlotFrame& frame, bool is_recommended) {
  const double x = frame.X(rung.seconds / 60), y = frame.Y(rung.loss);
  std::string svg = fmt::format(R"(<line class="bar" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>)", x,
                                frame.Y(rung.interval.low), frame.Y(rung.interval.high));
  svg += fmt::format(R"(<circle class="dot{}" cx="{:.1f}" cy="{:.1f}" r="6"><title>{}: {:.3f}, {}</title></circle>)",
                     is_recommended ? " use" : "", x, y, Escaped(rung.name), rung.loss,
                     Escaped(DurationText(rung.seconds)));
  return svg + fmt::format(R"(<text class="tick" x="{:.1f}" y="{:.1f}">{} {:.2f}, {}</text>)", x + 11, y + 4,
                           Escaped(rung.name), rung.loss, Escaped(BytesText(static_cast<double>(rung.peak_bytes))));
}

std::string Plot(const LadderResult& r) {
  double most = 0, low = r.rungs[r.best].loss, high = low;
  for (const LadderRung& rung : r.rungs) {
    if (!rung.skipped.empty()) continue;
    most = std::max(most, rung.seconds / 60);
    low = std::min(low, rung.interval.low);
    high = std::max(high, rung.interval.high);
  }
  const PlotFrame frame{NiceAxis(0, most, 8), NiceAxis(low, high, 7)};
  std::string svg = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {} {}" role="img" aria-label="Loss against time">)",
      kPlotWidth, kPlotHeight);
  svg += "<style>" + ChartStyle() +
         "</style><text class=\"title\" x=\"8\" y=\"19\">Held-out loss a token against the time spent, with 95 % "
         "intervals</text>";
  svg += Axes(frame);
  for (size_t i = 0; i < r.rungs.size(); ++i) {
    if (r.rungs[i].skipped.empty()) svg += Dot(r.rungs[i], frame, i == r.recommended);
  }
  return svg + "</svg>\n";
}

std::string RungTable(const LadderResult& r) {
  std::string html =
      "<div class=\"card rungs\"><table><tr><th>method</th><th>held-out loss</th><th>loss of general "
      "text</th><th>time</th>"
      "<th>peak memory</th><th>electricity</th></tr>\n";
  for (const LadderRung& rung : r.rungs) {
    html += "<tr><td>" + Escaped(rung.name) + "</td>";
    if (!rung.skipped.empty()) {
      html += "<td colspan=\"5\">" + Escaped(rung.skipped) + "</td></tr>\n";
      continue;
    }
    html += fmt::format("<td>{:.3f} <span>{:.3f} to {:.3f}</span><span>{}</span></td><td>{}</td>", rung.loss,
                        rung.interval.low, rung.interval.high, Escaped(rung.what),
                        rung.general_loss > 0 ? fmt::format("{:.3f}", rung.general_loss) : "as base");
    html += fmt::format(
        "<td>{}{}</td><td>{}</td><td>{:.2g} kWh, {:.2g} {}</td></tr>\n", Escaped(DurationText(rung.seconds)),
        rung.best_seconds > 0 ? "<span>the best run alone " + Escaped(DurationText(rung.best_seconds)) + "</span>" : "",
        Escaped(BytesText(static_cast<double>(rung.peak_bytes))), rung.kilowatt_hours, rung.cost, Escaped(r.currency));
  }
  return html + "</table></div>\n";
}

}  // namespace

std::string LadderPage(const LadderResult& r) {
  std::string html = PageStart("Methods measured on " + r.data, kLadderStyle);
  html += "<h1>Which method</h1>\n<p class=\"sub\">" + Escaped(r.model) + " on " + Escaped(r.data) + ", " +
          std::to_string(r.train_rows) + " rows to learn from, " + std::to_string(r.rows) + " held out, " +
          Escaped(DurationText(r.budget_seconds)) + " in all</p>\n";
  html += "<p><b>" + Escaped(LadderVerdict(r)) + "</b></p>\n<div class=\"card\">" + Plot(r) +
          "</div>\n<h2>Figures</h2>\n" + RungTable(r);
  return html + PageEnd("attune advise --measure");
}

}  // namespace attune
