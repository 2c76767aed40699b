#include "app/plan_picture.h"

#include <algorithm>

#include "app/output_dir.h"
#include "base/error.h"
#include "base/file.h"
#include "store/chart.h"
#include "store/run_summary.h"
#include "store/svg.h"

namespace attune {
namespace {

constexpr int kWidth = 860, kLeft = 90, kRight = 20, kTop = 52, kBar = 30, kStep = 50;
constexpr double kGib = 1 << 30, kLetter = 6.6;  // kLetter: pixels, about
// Told apart also by those who see fewer colours, and on either ground.
constexpr const char* kColours[] = {"#2f6fde", "#d9660f", "#177245", "#8a4fd3", "#c23b6b",
                                    "#0f8b8d", "#8d6e1f", "#667085", "#d4a017"};

// Parts of all methods, in the order of the trainer's table, so that a part has one colour throughout.
std::vector<std::string> PictureParts(const PlanReport& report) {
  std::vector<std::string> parts;
  for (auto m = report.methods.rbegin(); m != report.methods.rend(); ++m) {
    for (const MemoryRow& row : m->memory) {
      if (std::find(parts.begin(), parts.end(), row.name) == parts.end()) parts.push_back(row.name);
    }
  }
  return parts;
}

struct BarFrame {
  Axis axis;
  double room;  // GiB that the device has: where the line stands
  double X(double gib) const { return kLeft + (gib - axis.low) / (axis.high - axis.low) * (kWidth - kLeft - kRight); }
};

void DrawBar(const MethodPlan& m, const std::vector<std::string>& parts, const BarFrame& frame, int top,
             std::string& svg) {
  svg += fmt::format(R"(<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>)", kLeft - 8, top + 20,
                     Escaped(m.method));
  double at = 0;
  for (const MemoryRow& row : m.memory) {
    const auto colour = static_cast<size_t>(std::find(parts.begin(), parts.end(), row.name) - parts.begin());
    const double next = at + static_cast<double>(row.bytes) / kGib;
    svg += fmt::format(R"(<rect x="{:.1f}" y="{}" width="{:.1f}" height="{}" fill="{}"><title>{}: {}</title></rect>)",
                       frame.X(at), top, std::max(0.0, frame.X(next) - frame.X(at)), kBar,
                       kColours[colour % std::size(kColours)], Escaped(row.name),
                       Escaped(BytesText(static_cast<double>(row.bytes))));
    at = next;
  }
  const std::string text = BytesText(static_cast<double>(m.bytes)) + (m.fits ? "" : ", does not fit");
  const bool inside = frame.X(at) > kWidth - 150;
  double x = frame.X(at) + (inside ? -6 : 6);
  const double line = frame.X(frame.room);
  if (!inside && x < line && line < x + kLetter * static_cast<double>(text.size())) x = line + 6;
  svg += fmt::format(R"(<text class="{}" x="{:.1f}" y="{}" text-anchor="{}">{}</text>)", inside ? "onbar" : "tick", x,
                     top + 20, inside ? "end" : "start", Escaped(text));
}

void DrawLegend(const std::vector<std::string>& parts, int top, std::string& svg) {
  double x = kLeft;
  for (size_t i = 0; i < parts.size(); ++i) {
    const double width = 26 + kLetter * static_cast<double>(parts[i].size());
    if (x + width > kWidth) {
      x = kLeft;
      top += 20;
    }
    svg += fmt::format(R"(<rect x="{:.1f}" y="{}" width="10" height="10" rx="3" fill="{}"/>)", x, top,
                       kColours[i % std::size(kColours)]);
    svg += fmt::format(R"(<text class="tick" x="{:.1f}" y="{}">{}</text>)", x + 14, top + 9, Escaped(parts[i]));
    x += width;
  }
}

std::string TableRow(const std::string& name, const std::vector<std::string>& cells) {
  std::string html = "<tr><th>" + Escaped(name) + "</th>";
  for (const std::string& cell : cells) html += "<td>" + Escaped(cell) + "</td>";
  return html + "</tr>\n";
}

std::string Table(const PlanReport& r) {
  std::vector<std::string> names, peaks, fits, times, prices;
  for (const MethodPlan& m : r.methods) {
    const bool is_timed = r.tokens > 0 && m.method != "prompt";
    names.push_back(m.method);
    peaks.push_back(BytesText(static_cast<double>(m.bytes)));
    fits.emplace_back(m.fits ? "yes" : "no");
    times.push_back(is_timed ? fmt::format("{} ({} to {})", DurationText(m.seconds), DurationText(m.seconds_low),
                                           DurationText(m.seconds_high))
                             : "");
    prices.push_back(is_timed ? fmt::format("{:.2f} {}", m.rent.value_or(m.electricity_cost), r.prices.currency) : "");
  }
  return "<table>\n" + TableRow("", names) + TableRow("planned peak", peaks) + TableRow("fits", fits) +
         TableRow("time", times) + TableRow("rent, else electricity", prices) + "</table>\n";
}

}  // namespace

std::string PlanSvg(const PlanReport& report) {
  const std::vector<std::string> parts = PictureParts(report);
  const double room = static_cast<double>(report.device.memory_bytes) / kGib;
  double most = room;
  for (const MethodPlan& m : report.methods) most = std::max(most, static_cast<double>(m.bytes) / kGib);
  const BarFrame frame{NiceAxis(0, most, 8), room};
  const int bottom = kTop + kStep * static_cast<int>(report.methods.size()), height = bottom + 84;
  std::string svg = fmt::format(
      R"(<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img" aria-label="Memory of each method">)",
      kWidth, height);
  svg += "<style>" + ChartStyle() + ".chart .onbar{font-size:12px;fill:#fff}</style>";
  svg += fmt::format(R"(<text class="title" x="8" y="19">{} on {}{} (GiB{})</text>)", Escaped(report.model.name),
                     report.devices > 1 ? fmt::format("{} x ", report.devices) : "", Escaped(report.device.name),
                     report.devices > 1 ? ", each" : "");
  for (int i = 0; i < frame.axis.ticks(); ++i) {
    const double x = frame.X(frame.axis.tick(i));
    svg += fmt::format(R"(<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>)", x, kTop - 8, bottom);
    svg += fmt::format(R"(<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>)", x, bottom + 16,
                       TickLabel(frame.axis.tick(i), frame.axis.step));
  }
  for (size_t i = 0; i < report.methods.size(); ++i) {
    DrawBar(report.methods[i], parts, frame, kTop + kStep * static_cast<int>(i), svg);
  }
  svg += fmt::format(
      R"(<line x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}" stroke="#b42318" stroke-width="2" stroke-dasharray="5 4"/>)",
      frame.X(room), kTop - 8, bottom);
  svg += fmt::format(R"(<text class="tick" x="{:.1f}" y="{}" text-anchor="{}">{} {}</text>)", frame.X(room), kTop - 14,
                     frame.X(room) > kWidth - 120 ? "end" : "middle",
                     Escaped(BytesText(static_cast<double>(report.device.memory_bytes))),
                     report.device.is_this_machine ? "free" : "there");
  DrawLegend(parts, bottom + 34, svg);
  return svg + "</svg>\n";
}

std::string PlanHtml(const PlanReport& report) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" +
      Escaped("Plan: " + report.model.name) +
      "</title>\n<style>body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:24px auto;padding:0 16px}"
      "table{border-collapse:collapse}th,td{text-align:left;padding:4px 12px;border-top:1px solid #98a2b3}"
      "@media (prefers-color-scheme:dark){body{background:#161b22;color:#e6e9ef}}</style></head><body>\n";
  html += PlanSvg(report) + Table(report);
  for (const std::string& note : report.notes) html += "<p>" + Escaped(note) + "</p>\n";
  return html + "</body></html>\n";
}

void RequirePictureName(const std::string& path) {
  if (!path.ends_with(".svg") && !path.ends_with(".html"))
    BadInput("--output {}: the name must end in .svg or .html", path);
  RequireFolderOf(path);
}

void WritePlanPicture(const PlanReport& report, const std::string& path) {
  WriteFileAtomic(path, path.ends_with(".svg") ? PlanSvg(report) : PlanHtml(report));
}

}  // namespace attune
