#include "cli/progress_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/clock.h"
#include "store/run_summary.h"

namespace attune {
namespace {

constexpr double kQuietSeconds = 2, kTerminalSeconds = 0.2, kLineSeconds = 10;

}  // namespace

std::string ProgressText(const char* what, int64_t done, int64_t total, double seconds) {
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  std::string text = fmt::format("{}: {} of {} ({:.0f} %)", what, done, total, 100 * share);
  if (done > 0 && done < total) text += fmt::format(", {} left", DurationText(seconds * (1 - share) / share));
  return text;
}

ProgressLine::ProgressLine() : terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() { Clear(); }

void ProgressLine::Clear() {
  if (terminal_ && shown_) fmt::print(stderr, "\r\x1b[K");
  shown_ = false;
}

void ProgressLine::Report(const char* what, int64_t done, int64_t total) {
  const double now = Now();
  if (what_ != what) {
    Clear();
    what_ = what;
    begin_ = last_ = now;
  }
  if (now - begin_ < kQuietSeconds || now - last_ < (terminal_ ? kTerminalSeconds : kLineSeconds)) return;
  last_ = now;
  shown_ = true;
  const std::string text = ProgressText(what, done, total, now - begin_);
  fmt::print(stderr, "{}{}{}", terminal_ ? "\r\x1b[K" : "", text, terminal_ ? "" : "\n");
  std::fflush(stderr);
}

}  // namespace attune
