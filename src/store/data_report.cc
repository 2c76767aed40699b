#include "store/data_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "store/page.h"
#include "store/run_summary.h"
#include "store/svg.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDataStyle = R"(
.stages td:nth-child(n+2):nth-child(-n+3),.lengths td:nth-child(n+2){text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;width:14%}
.stages td:first-child,.lengths td:first-child{width:22%}
th{text-align:left;font-size:13px;font-weight:600;color:var(--soft);padding:4px 8px}.lengths th:nth-child(n+2),.stages th:nth-child(n+2):nth-child(-n+3){text-align:right}
.finding{padding:12px 16px;margin-bottom:12px}
.finding b{font-variant-numeric:tabular-nums}
.finding p{margin:6px 0 0;overflow-wrap:anywhere}.finding .where{color:var(--soft)}
.error{color:var(--bad);font-weight:600}.warning{color:var(--accent);font-weight:600}
.bars{display:grid;grid-template-columns:auto 1fr auto;gap:4px 10px;align-items:center;font-size:13px;font-variant-numeric:tabular-nums;padding:14px 16px}
.bars i{display:block;height:14px;border-radius:4px;background:var(--accent)}
.bars span:nth-child(3n+1){text-align:right;color:var(--soft)}
h3{font-size:14px;font-weight:600;margin:20px 0 8px}
.odd{padding:12px 16px;margin-bottom:12px;font-size:14px}
.odd p{margin:6px 0 0;overflow-wrap:anywhere;white-space:pre-wrap}.odd .asked,.odd .where{color:var(--soft)}.odd .where{margin-right:12px}
)";

// A manifest may hold anything: what is not what it should be counts as nothing.
int64_t WholeOf(const Json& value) {
  constexpr double kMost = 1e15;
  const double number = value.is_number_integer() ? value.get<double>() : 0;
  return number > 0 && number < kMost ? static_cast<int64_t>(number) : 0;
}
std::string StringOf(const Json& value) { return value.is_string() ? value.get<std::string>() : ""; }
int64_t NumberOf(const Json& json, const char* key) { return json.contains(key) ? WholeOf(json[key]) : 0; }
std::string Digits(int64_t number) { return GroupedDigits(static_cast<double>(number)); }
std::string TextOf(const Json& json, const char* key) { return json.contains(key) ? StringOf(json[key]) : ""; }

const Json& MemberOf(const Json& json, const char* key) {
  static const Json nothing = Json::array();
  return json.contains(key) ? json[key] : nothing;
}

std::string Share(int64_t part, int64_t all) {
  return all == 0 ? "–" : fmt::format("{:.1f} %", 100.0 * static_cast<double>(part) / static_cast<double>(all));
}

std::string Overview(const Json& report) {
  std::string html = "<div class=\"tiles\">\n";
  const Json& stages = MemberOf(report, "stages");
  if (!stages.empty()) {
    html += PageTile(Digits(NumberOf(stages.front(), "rows_in")), "rows at first") +
            PageTile(Digits(NumberOf(stages.back(), "rows_out")), "rows at last");
    int64_t removed = 0;
    for (const Json& stage : stages) removed += NumberOf(stage, "rows_in") - NumberOf(stage, "rows_out");
    html += PageTile(Digits(removed), "rows taken out");
  }
  if (report.contains("check")) {
    html += PageTile(Digits(NumberOf(report["check"], "errors")), "errors now") +
            PageTile(Digits(NumberOf(report["check"], "warnings")), "warnings now");
  }
  if (report.contains("diversity")) {
    const Json& diversity = report["diversity"];
    html += PageTile(fmt::format("{} of {}", GroupedDigits(diversity.value("vendi", 0.0)),
                                 Digits(NumberOf(diversity, "rows"))),
                     "effectively different rows (Vendi score)") +
            PageTile(fmt::format("{:.2f}", diversity.value("mean_nearest_distance", 0.0)),
                     "mean distance to the nearest other row, 0 to 2");
  }
  if (report.contains("tokens")) {
    const Json& tokens = report["tokens"];
    html += PageTile(Digits(NumberOf(tokens, "tokens")), "tokens") +
            PageTile(Share(NumberOf(tokens, "trained_tokens"), NumberOf(tokens, "tokens")), "of them trained on");
  }
  return html + "</div>\n";
}

std::string StageTable(const Json& stages) {
  if (stages.empty()) return "";
  std::string html =
      "<h2>Stages</h2>\n<div class=\"card\"><table class=\"stages\"><tr><th>stage</th><th>rows "
      "in</th><th>rows out</th><th>why</th></tr>\n";
  for (const Json& stage : stages) {
    std::string why;
    for (const char* part : {"removed", "changed"}) {
      for (const auto& [rule, rows] : MemberOf(stage, part).items())
        why += fmt::format("{}{} {} {}", why.empty() ? "" : ", ", Digits(WholeOf(rows)), part, rule);
    }
    html += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n", Escaped(TextOf(stage, "stage")),
                        Digits(NumberOf(stage, "rows_in")), Digits(NumberOf(stage, "rows_out")), Escaped(why));
  }
  return html + "</table></div>\n";
}

std::string Findings(const Json& check) {
  std::string html = "<h2>What check finds now</h2>\n";
  if (MemberOf(check, "findings").empty()) return html + "<div class=\"card finding\">Nothing.</div>\n";
  for (const Json& finding : check["findings"]) {
    html += fmt::format("<div class=\"card finding\"><span class=\"{0}\">{0}</span> <b>{1}</b> rows: {2}, {3}\n",
                        Escaped(TextOf(finding, "severity")), Digits(NumberOf(finding, "rows")),
                        Escaped(TextOf(finding, "rule")), Escaped(TextOf(finding, "what")));
    for (const Json& example : MemberOf(finding, "examples"))
      html += fmt::format("<p><span class=\"where\">{}</span> {}</p>\n", Escaped(TextOf(example, "where")),
                          Escaped(TextOf(example, "detail")));
    html += "</div>\n";
  }
  return html;
}

// Doubles, leakage and mended texts, as the stages noted them.
std::string StageExamples(const Json& stage) {
  std::string html;
  for (const Json& cluster : MemberOf(stage, "largest")) {
    std::string removed;
    for (const Json& row : MemberOf(cluster, "removed")) removed += (removed.empty() ? "" : ", ") + StringOf(row);
    html += fmt::format(
        "<div class=\"card finding\"><b>{}</b> rows say the same; <span class=\"where\">{}</span> "
        "stays\n<p>taken out: {}{}</p></div>\n",
        Digits(NumberOf(cluster, "rows")), Escaped(TextOf(cluster, "kept")), Escaped(removed),
        NumberOf(cluster, "rows") > std::ssize(MemberOf(cluster, "removed")) + 1 ? " …" : "");
  }
  for (const Json& example : MemberOf(stage, "examples")) {
    html +=
        fmt::format("<div class=\"card finding\"><span class=\"where\">{}</span> ", Escaped(TextOf(example, "where")));
    if (example.contains("before")) {
      html += fmt::format("{}<p>{}</p><p>→ {}</p>", Escaped(TextOf(example, "rule")),
                          Escaped(TextOf(example, "before")), Escaped(TextOf(example, "after")));
    } else {
      html += fmt::format("shares <b>{}</b> words with <span class=\"where\">{}</span><p>{}</p>",
                          Digits(NumberOf(example, "words")), Escaped(TextOf(example, "eval")),
                          Escaped(TextOf(example, "text")));
    }
    html += "</div>\n";
  }
  if (html.empty()) return "";
  const std::string name = TextOf(stage, "stage");
  const char* title = name == "dedupe"          ? "The largest clusters of doubles"
                      : name == "decontaminate" ? "Rows that evaluation files hold too"
                                                : "What was mended";
  return fmt::format("<h2>{}</h2>\n", title) + html;
}

// A bar for each name and its count.
std::string Bars(const std::vector<std::pair<std::string, int64_t>>& bars) {
  int64_t most = 1;
  for (const auto& bar : bars) most = std::max(most, bar.second);
  std::string html = "<div class=\"card bars\">\n";
  for (const auto& [name, count] : bars) {
    html += fmt::format("<span>{}</span><i style=\"width:{:.2f}%{}\"></i><span>{}</span>\n", Escaped(name),
                        100.0 * static_cast<double>(count) / static_cast<double>(most),
                        count > 0 ? ";min-width:1px" : "", Digits(count));
  }
  return html + "</div>\n";
}

std::string Lengths(const Json& tokens) {
  std::vector<std::pair<std::string, int64_t>> bars;
  for (const Json& bin : MemberOf(tokens, "lengths"))
    bars.emplace_back("≤ " + Digits(NumberOf(bin, "to")), NumberOf(bin, "rows"));
  std::string html = "<h2>Lengths in tokens</h2>\n" + Bars(bars);
  html +=
      "<div class=\"card\" style=\"margin-top:12px\"><table "
      "class=\"lengths\"><tr><th>max_length</th><th>rows cut</th><th>tokens lost</th>"
      "<th>packing fills</th></tr>\n";
  for (const Json& at : MemberOf(tokens, "at_max_length")) {
    html +=
        fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.1f} %</td></tr>\n", Digits(NumberOf(at, "max_length")),
                    Share(NumberOf(at, "cut_rows"), NumberOf(tokens, "rows")),
                    Share(NumberOf(at, "cut_tokens"), NumberOf(tokens, "tokens")), 100.0 * at.value("packing", 0.0));
  }
  return html + "</table></div>\n";
}

std::string OddRows(const Json& list) {
  if (MemberOf(list, "rows").empty()) return "";
  std::string html = fmt::format("<h3>{}</h3>\n", Escaped(TextOf(list, "what")));
  for (const Json& row : list["rows"]) {
    html += fmt::format("<div class=\"card odd\"><div><span class=\"where\">{}</span><b>{:.2f}</b> nats a token",
                        Escaped(TextOf(row, "where")), row.value("loss", 0.0));
    if (row.contains("ifd")) html += fmt::format(", IFD <b>{:.2f}</b>", row.value("ifd", 0.0));
    html += "</div>\n";
    if (!TextOf(row, "prompt").empty())
      html += fmt::format("<p class=\"asked\">{}</p>", Escaped(TextOf(row, "prompt")));
    html += fmt::format("<p>{}</p></div>\n", Escaped(TextOf(row, "answer")));
  }
  return html;
}

std::string Scores(const Json& scores) {
  std::string html =
      "<h2>What the model makes of the rows</h2>\n<div class=\"tiles\">\n" +
      PageTile(fmt::format("{:.2f}", scores.value("mean_loss", 0.0)), "nats a token of the answers, mean of rows");
  if (scores.contains("mean_ifd")) {
    html += PageTile(fmt::format("{:.2f}", scores.value("mean_ifd", 0.0)), "mean IFD: loss with the prompt / without") +
            PageTile(Digits(NumberOf(scores, "ifd_from_1")), "rows whose prompt does not help");
  }
  html += "</div>\n";
  const Json& classes = MemberOf(scores, "ifd");
  if (!classes.empty()) {
    std::vector<std::pair<std::string, int64_t>> bars;
    for (const Json& bin : classes)
      bars.emplace_back(fmt::format("IFD ≥ {:.1f}", bin.value("from", 0.0)), NumberOf(bin, "rows"));
    html += Bars(bars);
  }
  for (const Json& list : MemberOf(scores, "worst")) html += OddRows(list);
  return html;
}

std::vector<std::pair<std::string, std::string>> Counts(const Json& counts) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& [name, count] : counts.items()) rows.emplace_back(name, Digits(WholeOf(count)));
  return rows;
}

std::string Files(const Json& stages) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Json& stage : stages) {
    for (const char* part : {"inputs", "against", "outputs"}) {
      for (const Json& file : MemberOf(stage, part))
        rows.emplace_back(TextOf(file, "path"),
                          fmt::format("{} bytes, XXH3 {}", Digits(NumberOf(file, "bytes")), TextOf(file, "xxh3_128")));
    }
  }
  std::stable_sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return PageTable("Files", rows);
}

}  // namespace

std::string DataReportHtml(const Json& report) {
  const Json& stages = MemberOf(report, "stages");
  const std::string title = TextOf(report, "title");
  std::string html =
      PageStart(title, kDataStyle) +
      fmt::format("<h1>{}</h1>\n<p class=\"sub\">What was done to this data set, and what it is like now</p>\n",
                  Escaped(title));
  html += Overview(report) + StageTable(stages);
  if (report.contains("check")) html += Findings(report["check"]);
  if (report.contains("tokens")) html += Lengths(report["tokens"]);
  if (report.contains("scores")) html += Scores(report["scores"]);
  for (const Json& stage : stages) html += StageExamples(stage);
  if (report.contains("check")) {
    html += PageTable("Formats", Counts(MemberOf(report["check"], "formats"))) +
            PageTable("Languages", Counts(MemberOf(report["check"], "languages")));
  }
  for (const Json& stage : stages)
    html += PageTable("Settings of " + TextOf(stage, "stage"), Flattened(MemberOf(stage, "settings")));
  return html + Files(stages) + PageEnd("Written by attune data report.");
}

}  // namespace attune
