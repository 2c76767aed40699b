// The page of attune eval: figures with their intervals, differences of systems, and every row's answers side by side.
#include <algorithm>
#include <cmath>

#include "app/eval_bench.h"
#include "store/page.h"
#include "store/run_summary.h"
#include "store/svg.h"

namespace attune {
namespace {

constexpr size_t kMostRowsShown = 500;

constexpr const char* kBenchStyle = R"(
.figures{overflow-x:auto}
.figures th{text-align:left;font-size:13px;font-weight:600;color:var(--soft);padding:4px 8px;white-space:nowrap}
.figures td{font-variant-numeric:tabular-nums;white-space:nowrap}
.figures td:first-child{color:var(--ink);white-space:normal;width:auto;min-width:150px}
.figures td span{display:block;color:var(--soft);font-size:12px}
.figures .best{color:var(--good);font-weight:650}.figures .best span{font-weight:400}
.card + .sub{margin-top:8px}
.sure{font-weight:650}
.wrong{color:var(--bad);font-size:13px;margin:4px 0 0}
)";

// As good as any, and better than some.
bool IsBest(const EvalBenchResult& r, size_t system, size_t figure) {
  const BenchFigure& f = r.systems[system].figures[figure];
  const auto gain = [&](const BenchSystem& other) {
    return (f.value - other.figures[figure].value) * (f.lower_is_better ? -1 : 1);
  };
  return std::all_of(r.systems.begin(), r.systems.end(), [&](const BenchSystem& other) { return gain(other) >= 0; }) &&
         std::any_of(r.systems.begin(), r.systems.end(), [&](const BenchSystem& other) { return gain(other) > 0; });
}

std::string FigureTable(const EvalBenchResult& r) {
  const bool has_general = r.systems.front().general_loss.has_value();
  std::string html = "<h2>Figures</h2>\n<div class=\"card figures\"><table><tr><th>system</th>";
  for (const BenchFigure& f : r.systems.front().figures) {
    html += fmt::format("<th>{} {}</th>", Escaped(f.metric), f.lower_is_better ? "↓" : "↑");
  }
  html += has_general ? "<th>loss of general text ↓</th></tr>\n" : "</tr>\n";
  for (size_t s = 0; s < r.systems.size(); ++s) {
    html += "<tr><td>" + Escaped(r.systems[s].name) + "</td>";
    for (size_t f = 0; f < r.systems[s].figures.size(); ++f) {
      const BenchFigure& figure = r.systems[s].figures[f];
      html += fmt::format("<td{}>{}<span>{} to {}</span></td>", IsBest(r, s, f) ? " class=\"best\"" : "",
                          FigureText(figure.metric, figure.value), FigureText(figure.metric, figure.interval.low),
                          FigureText(figure.metric, figure.interval.high));
    }
    if (has_general)
      html +=
          r.systems[s].general_loss ? fmt::format("<td>{:.3f}</td>", *r.systems[s].general_loss) : "<td>as base</td>";
    html += "</tr>\n";
  }
  return html +
         "</table></div>\n<p class=\"sub\">Below each figure: the middle 95 % of 10,000 draws of the rows.</p>\n";
}

std::string DifferenceTable(const EvalBenchResult& r) {
  if (r.differences.empty()) return "";
  std::string html =
      "<h2>Differences</h2>\n<div class=\"card "
      "figures\"><table><tr><th>systems</th><th>metric</th><th>difference</th><th>95 % interval</th>"
      "<th>verdict</th></tr>\n";
  for (const BenchDifference& d : r.differences) {
    const BenchFigure& figure = r.systems[d.a].figures[d.figure];
    const Interval& i = d.difference.interval;
    const std::string verdict = VerdictText(r, d);
    html += fmt::format(
        "<tr><td>{} against {}</td><td>{}</td><td>{}{}</td><td>{} to {}</td><td class=\"{}\">{}</td></tr>\n",
        Escaped(r.systems[d.a].name), Escaped(r.systems[d.b].name), Escaped(figure.metric), d.value > 0 ? "+" : "",
        FigureText(figure.metric, d.value), FigureText(figure.metric, i.low), FigureText(figure.metric, i.high),
        verdict == "not told apart" ? "" : "sure", verdict);
  }
  return html +
         "</table></div>\n<p class=\"sub\">Both systems on the same draws. An interval that holds 0 does not tell them "
         "apart.</p>\n";
}

std::string Answers(const EvalBenchResult& r) {
  if (r.systems.front().answers.empty()) return "";
  std::string html = "<h2>Answers</h2>\n";
  for (size_t i = 0; i < std::min(r.rows.size(), kMostRowsShown); ++i) {
    const BenchRow& row = r.rows[i];
    html += fmt::format("<div class=\"card sample\"><h3>{}</h3><p class=\"text\">{}</p><div class=\"answers\">",
                        Escaped(row.where), Escaped(row.question));
    if (!row.reference.empty())
      html += fmt::format("<div><h3>reference</h3><p class=\"text\">{}</p></div>", Escaped(row.reference));
    for (const BenchSystem& system : r.systems) {
      html += fmt::format("<div><h3>{}</h3><p class=\"text\">{}</p>", Escaped(system.name), Escaped(system.answers[i]));
      if (!system.code_failures.empty() && !system.code_failures[i].empty()) {
        html += "<p class=\"wrong\">" + Escaped(system.code_failures[i]) + "</p>";
      }
      html += "</div>";
    }
    html += "</div></div>\n";
  }
  if (r.rows.size() > kMostRowsShown)
    html += fmt::format("<p class=\"sub\">{} more rows are not shown.</p>\n", r.rows.size() - kMostRowsShown);
  return html;
}

}  // namespace

std::string BenchPage(const EvalBenchResult& r) {
  double seconds = 0;
  for (const BenchSystem& s : r.systems) seconds += s.seconds;
  std::string html = PageStart("Evaluation on " + r.data, kBenchStyle);
  html += "<h1>Evaluation</h1>\n<p class=\"sub\">" + Escaped(r.model) + " on " + Escaped(r.data) +
          "</p>\n<div class=\"tiles\">\n";
  html += PageTile(GroupedDigits(static_cast<double>(r.rows.size())), "rows") +
          PageTile(std::to_string(r.systems.size()), "systems") + PageTile(DurationText(seconds), "time") + "</div>\n";
  html += FigureTable(r) + DifferenceTable(r);
  for (const std::string& note : r.notes) html += "<p class=\"sub\">" + Escaped(note) + "</p>\n";
  return html + Answers(r) + PageEnd("attune eval");
}

}  // namespace attune
