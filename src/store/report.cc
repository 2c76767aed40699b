#include "store/report.h"

#include <fmt/format.h>

#include <cstdlib>
#include <map>

#include "store/page.h"
#include "store/run_summary.h"
#include "store/svg.h"

namespace attune {
namespace {

std::string Tiles(const RunSummary& s) {
  std::string html = "<div class=\"tiles\">\n";
  if (s.best_eval_loss) {
    html +=
        PageTile(fmt::format("{:.4f}", *s.best_eval_loss), fmt::format("best eval loss, step {}", s.best_eval_step));
  }
  if (s.first_eval_loss && s.eval_loss && *s.first_eval_loss != *s.eval_loss) {
    html += PageTile(fmt::format("{:+.4f}", *s.eval_loss - *s.first_eval_loss), "eval loss since the first");
  }
  if (s.loss) html += PageTile(fmt::format("{:.4f}", *s.loss), "last training loss");
  html += PageTile(fmt::format("{}", s.steps), "steps");
  if (s.tokens) html += PageTile(GroupedDigits(*s.tokens), "tokens");
  if (s.tokens_per_second) html += PageTile(GroupedDigits(*s.tokens_per_second), "tokens per second");
  if (s.seconds) html += PageTile(DurationText(*s.seconds), "training time");
  if (s.peak_rss_bytes) {
    html += PageTile(BytesText(*s.peak_rss_bytes),
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
    html += fmt::format("<div class=\"card sample\"><h3>Prompt</h3><p class=\"text\">{}</p>\n", Escaped(key.first));
    html += "<div class=\"answers\">\n";
    if (!key.second.empty()) {
      html += fmt::format("<div><h3>Reference</h3><p class=\"text\">{}</p></div>\n", Escaped(key.second));
    }
    for (const RunSample* sample : by_prompt[key]) {
      html +=
          fmt::format("<div><h3>Step {}</h3><p class=\"text\">{}</p></div>\n", sample->step, Escaped(sample->answer));
    }
    html += "</div></div>\n";
  }
  return html;
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
  std::string html = PageStart(name, ChartStyle());
  html += fmt::format("<h1>{}</h1>\n<p class=\"sub\"><span class=\"status {}\">{}</span> · {} · {}{}{}</p>\n",
                      Escaped(name), Escaped(s.status), Escaped(s.status), Escaped(s.method), Escaped(s.model),
                      s.started.empty() ? "" : " · started " + Escaped(s.started),
                      s.id.empty() ? "" : " · run " + Escaped(s.id));
  if (const std::string reason = FieldText(run.record, "/reason"); !reason.empty()) {
    html += fmt::format("<p class=\"status failed\">{}</p>\n", Escaped(reason));
  }
  html += Tiles(s) + Charts(run) + Samples(run);
  html += PageTable("Settings", Part(run.record, "settings"));
  html += PageTable("Model", Part(run.record, "model")) + PageTable("Data", Part(run.record, "data"));
  html += PageTable("Environment", Part(run.record, "environment")) + PageTable("Result", Part(run.record, "result"));
  return html + PageEnd(fmt::format("Written by Attune {}. Rest on a point of a chart to read its value.",
                                    FieldText(run.record, "/attune_version")));
}

}  // namespace attune
