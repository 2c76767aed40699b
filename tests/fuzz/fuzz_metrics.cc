// A metrics.jsonl as a person may have left it: parsed, written as CSV and events, drawn.
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "store/event_file.h"
#include "store/metrics_csv.h"
#include "store/report.h"
#include "store/terminal_plot.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace attune;
  try {
    RunData run;
    run.record = nlohmann::ordered_json::object();
    run.metrics = ParseMetrics({reinterpret_cast<const char*>(data), size}, "m");
    CsvText(run.metrics);
    EventFileContent(run.metrics, 0);
    PlotInTerminal(LossChart(run), 80, 10, true);
    const std::string html = ReportHtml(run);
    if (html.find("<script") != std::string::npos) __builtin_trap();
  } catch (const Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();  // one line
  }
  return 0;
}
