#include "store/page.h"

#include <fmt/format.h>

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

}  // namespace

std::string PageStart(const std::string& title, const std::string& more_style) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{} – "
      "Attune</title>\n<style>{}{}</style></head>\n<body><main>\n",
      Escaped(title), kPageStyle, more_style);
}

std::string PageEnd(const std::string& footer) {
  return fmt::format("<footer>{}</footer>\n</main></body></html>\n", Escaped(footer));
}

std::string PageTile(const std::string& value, const std::string& name) {
  return fmt::format("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", Escaped(value), Escaped(name));
}

std::string GroupedDigits(double value) {
  std::string digits = fmt::format("{:.0f}", value);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) {
    digits.insert(static_cast<size_t>(at), "\u202f");  // a narrow space that does not break
  }
  return digits;
}

std::string PageTable(const std::string& title, const std::vector<std::pair<std::string, std::string>>& rows) {
  if (rows.empty()) return "";
  std::string html = fmt::format("<h2>{}</h2>\n<div class=\"card\"><table>\n", Escaped(title));
  for (const auto& [name, value] : rows) {
    html += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", Escaped(name), Escaped(value));
  }
  return html + "</table></div>\n";
}

}  // namespace attune
