// attune advise --measure: the methods against each other on a person's own rows.
#include <fmt/format.h>

#include <cmath>

#include "app/ladder_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/ladder.h"
#include "cli/progress_line.h"
#include "store/run_summary.h"

namespace attune {
namespace {

void SayRung(const CommandContext& context, const LadderRung& rung) {
  if (!rung.skipped.empty()) return Say(context, fmt::format("{:<8} not run: {}", rung.name, rung.skipped));
  Say(context, fmt::format("{:<8} loss {:.4f}  {:>8}  {:>10}  {}", rung.name, rung.loss, DurationText(rung.seconds),
                           BytesText(static_cast<double>(rung.peak_bytes)), rung.what));
}

void SayTable(const CommandContext& context, const LadderResult& r) {
  Say(context, fmt::format("\n{:<8} {:>9} {:>20} {:>13} {:>9} {:>9} {:>11} {:>9} {:>10}", "method", "loss",
                           "95 % interval", "general text", "time", "best run", "peak", "kWh", r.currency));
  for (const LadderRung& rung : r.rungs) {
    if (!rung.skipped.empty()) continue;
    Say(context, fmt::format("{:<8} {:>9.4f} {:>20} {:>13} {:>9} {:>9} {:>11} {:>9.4f} {:>10.4f}", rung.name, rung.loss,
                             fmt::format("{:.3f} to {:.3f}", rung.interval.low, rung.interval.high),
                             rung.general_loss > 0 ? fmt::format("{:.3f}", rung.general_loss) : "as base",
                             DurationText(rung.seconds), rung.best_seconds > 0 ? DurationText(rung.best_seconds) : "-",
                             BytesText(static_cast<double>(rung.peak_bytes)), rung.kilowatt_hours, rung.cost));
  }
}

}  // namespace

double SecondsOf(const std::string& text, const char* flag) {
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(used);
  const double factor = unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : unit == "d" ? 86400 : 0;
  if (used == 0 || factor == 0 || !std::isfinite(value) || value <= 0)
    BadInput("{} {}: write a time, as in 90s, 30m or 2h", flag, text);
  return value * factor;
}

void SayLadder(const LadderJob& job, const CommandContext& context) {
  ProgressLine progress;
  const auto on_rung = [&](const LadderRung& rung) {
    progress.Clear();
    SayRung(context, rung);
  };
  const LadderResult result = RunLadder(job, on_rung, progress.Reporter());
  progress.Clear();
  if (context.json) return PrintJson(ToJson(result));
  SayTable(context, result);
  Say(context, fmt::format("\n{}\n", LadderVerdict(result)));
  const LadderRung& use = result.rungs[result.recommended];
  if (!use.path.empty()) Say(context, "it is in " + use.path);
  Say(context, fmt::format("wrote {0}/ladder.html and {0}/ladder.json", job.output_dir));
}

}  // namespace attune
