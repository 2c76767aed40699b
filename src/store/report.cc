#include "store/report.h"

#include <fmt/format.h>

#include <cstdlib>
#include <map>

#include "store/run_summary.h"
#include "store/svg.h"

namespace attune {
namespace {

constexpr const char* kPageStyle = R"(
:root{--ink:#1c2430;--soft:#667085;--line:#e4e7ec;--paper:#fff;--ground:#f5f6f8;--accent:#2f6fde;--good:#177245;--bad:#b42318}
@media (prefers-color-scheme:dark){
:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#2b323d;--paper:#161b22;--ground:#0d1117;--accent:#6ea0ff;--good:#4cc38a;--bad:#ff8a80}
}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 16px 56px}
h1{font-size:26px;line-height:1.25;margin:0 0 2px;overflow-wrap:anywhere}
h2{font-size:18px;margin:36px 0 12px}
.sub{color:var(--soft);margin:0 0 20px;overflow-wrap:anywhere}
.status{font-weight:600}.status.finished{color:var(--good)}.status.failed,.status.interrupted{color:var(--bad)}.status.running{color:var(--accent)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(44%,210px),1fr));gap:12px;margin-bottom:12px}
.tile,.card{background:var(--paper);border:1px solid var(--line);border-radius:12px}
.tile{padding:12px 16px}
.tile b{display:block;font-size:22px;line-height:1.3;font-weight:650;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.card{padding:10px 12px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:12px;margin-top:12px}
.chart{display:block;width:100%;height:auto}
.small{display:none}
@media (max-width:640px){.small{display:block}.large{display:none}}
.sample{margin-bottom:12px;padding:14px 16px}
.sample h3,.answers h3{font-size:12px;letter-spacing:.03em;color:var(--soft);font-weight:600;margin:0 0 2px}
.text{white-space:pre-wrap;overflow-wrap:anywhere;margin:0 0 12px;max-height:22em;overflow-y:auto}
.answers{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(230px,1fr);gap:12px;overflow-x:auto;border-top:1px solid var(--line);padding-top:12px}
.answers .text{margin:0}
table{border-collapse:collapse;width:100%;font-size:14px}
td{padding:6px 8px;border-top:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
tr:first-child td{border-top:0}
td:first-child{color:var(--soft);width:34%}
footer{color:var(--soft);font-size:13px;margin-top:36px}
)";

std::string Tile(const std::string& value, const std::string& name) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", Escaped(value), Escaped(name));
}

std::string Grouped(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<size_t>(at), "\u202f");  // a narrow space that does not break
  }
  return digits;
}

std::string Tiles(const RunSummary& s) {
  std::string html = "<div class=\"tiles\">\n";
  if (s.best_eval_loss) {
    html += Tile(fmt::format("{:.4f}", *s.best_eval_loss),
                 fmt::format("best eval loss, step {}", s.best_eval_step));
  }
  if (s.first_eval_loss && s.eval_loss && *s.first_eval_loss != *s.eval_loss) {
    html += Tile(fmt::format("{:+.4f}", *s.eval_loss - *s.first_eval_loss), "eval loss since the first");
  }
  if (s.loss) html += Tile(fmt::format("{:.4f}", *s.loss), "last training loss");
  html += Tile(fmt::format("{}", s.steps), "steps");
  if (s.tokens) html += Tile(Grouped(*s.tokens), "tokens");
  if (s.tokens_per_second) html += Tile(Grouped(*s.tokens_per_second), "tokens per second");
  if (s.seconds) html += Tile(DurationText(*s.seconds), "training time");
  if (s.peak_rss_bytes) {
    html += Tile(BytesText(*s.peak_rss_bytes),
                 s.planned_bytes ? "peak memory, planned " + BytesText(*s.planned_bytes) : "peak memory");
  }
  return html + "</div>\n";
}

// The loss is drawn twice, and the page shows the one that suits its width: text in a picture shrinks with
// it.
std::string Charts(const RunData& run) {
  const Chart loss = LossChart(run);
  std::string html = fmt::format("<div class=\"card large\">{}</div>\n<div class=\"card small\">{}</div>\n",
                                 ChartSvg(loss, 1040, 360), ChartSvg(loss, 420, 260));
  html += "<div class=\"charts\">\n";
  for (const Chart& chart : ChartsOf(run)) {
    if (chart.title != loss.title) html += "<div class=\"card\">" + ChartSvg(chart, 500, 240) + "</div>\n";
  }
  return html + "</div>\n";
}

std::string Samples(const RunData& run) {
  if (run.samples.empty()) return "";
  std::vector<std::pair<std::string, std::string>> order;
  std::map<std::pair<std::string, std::string>, std::vector<const RunSample*>> by_prompt;
  for (const RunSample& sample : run.samples) {
    auto& answers = by_prompt[{sample.prompt, sample.reference}];
    if (answers.empty()) order.emplace_back(sample.prompt, sample.reference);
    answers.push_back(&sample);
  }
  std::string html = "<h2>Samples</h2>\n";
  for (const auto& key : order) {
    html += fmt::format("<div class=\"card sample\"><h3>Prompt</h3><p class=\"text\">{}</p>\n",
                        Escaped(key.first));
    html += "<div class=\"answers\">\n";
    if (!key.second.empty()) {
      html += fmt::format("<div><h3>Reference</h3><p class=\"text\">{}</p></div>\n", Escaped(key.second));
    }
    for (const RunSample* sample : by_prompt[key]) {
      html += fmt::format("<div><h3>Step {}</h3><p class=\"text\">{}</p></div>\n", sample->step,
                          Escaped(sample->answer));
    }
    html += "</div></div>\n";
  }
  return html;
}

std::string Table(const std::string& title, const std::vector<std::pair<std::string, std::string>>& rows) {
  if (rows.empty()) return "";
  std::string html = fmt::format("<h2>{}</h2>\n<div class=\"card\"><table>\n", title);
  for (const auto& [name, value] : rows) {
    html += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", Escaped(name), Escaped(value));
  }
  return html + "</table></div>\n";
}

std::vector<std::pair<std::string, std::string>> Part(const nlohmann::ordered_json& record, const char* key) {
  const auto part = record.find(key);
  if (part == record.end() || part->is_null()) return {};
  auto rows = Flattened(*part);
  for (auto& [name, value] : rows) {
    if (name.ends_with("_bytes") || name == "bytes") {
      char* end = nullptr;
      const double bytes = std::strtod(value.c_str(), &end);
      if (!value.empty() && *end == '\0') value = BytesText(bytes);
    }
  }
  return rows;
}

}  // namespace

std::string ReportHtml(const RunData& run) {
  const RunSummary s = Summarize(run);
  std::string name = s.output_dir.substr(s.output_dir.find_last_of('/') + 1);
  if (name.empty()) name = s.id.empty() ? "run" : s.id;
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{} – "
      "Attune</title>\n<style>{}{}</style></head>\n<body><main>\n",
      Escaped(name), kPageStyle, ChartStyle());
  html += fmt::format("<h1>{}</h1>\n<p class=\"sub\"><span class=\"status {}\">{}</span> · {} · {}{}{}</p>\n",
                      Escaped(name), Escaped(s.status), Escaped(s.status), Escaped(s.method),
                      Escaped(s.model), s.started.empty() ? "" : " · started " + Escaped(s.started),
                      s.id.empty() ? "" : " · run " + Escaped(s.id));
  if (const std::string reason = FieldText(run.record, "/reason"); !reason.empty()) {
    html += fmt::format("<p class=\"status failed\">{}</p>\n", Escaped(reason));
  }
  html += Tiles(s) + Charts(run) + Samples(run);
  html += Table("Settings", Part(run.record, "settings"));
  html += Table("Model", Part(run.record, "model")) + Table("Data", Part(run.record, "data"));
  html += Table("Environment", Part(run.record, "environment")) + Table("Result", Part(run.record, "result"));
  html +=
      fmt::format("<footer>Written by Attune {}. Rest on a point of a chart to read its value.</footer>\n",
                  Escaped(FieldText(run.record, "/attune_version")));
  return html + "</main></body></html>\n";
}

}  // namespace attune
