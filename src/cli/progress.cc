#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/clock.h"
#include "store/run_summary.h"

namespace attune {
namespace {

constexpr double kQuietSeconds = 2, kLiveSeconds = 0.2, kLineSeconds = 15;

}  // namespace

ProgressLine::ProgressLine() : is_terminal_(::isatty(STDERR_FILENO) == 1), began_(Now()), shown_(began_) {}

void ProgressLine::Show(const std::string& what, int64_t done, int64_t total) {
  const double now = Now();
  if (what != what_) {
    what_ = what;
    began_ = now;
  }
  const double pause = is_shown_ ? (is_terminal_ ? kLiveSeconds : kLineSeconds) : kQuietSeconds;
  if (done >= total || now - shown_ < pause) return;
  const double left = done > 0 ? (now - began_) / static_cast<double>(done) * static_cast<double>(total - done) : 0;
  const std::string text = fmt::format("{}: {} of {}{}", what, done, total, left > 0 ? ", " + DurationText(left) + " left" : "");
  fmt::print(stderr, "{}{}{}", is_terminal_ ? "\r\033[K" : "", text, is_terminal_ ? "" : "\n");
  std::fflush(stderr);
  is_shown_ = true;
  shown_ = now;
}

void ProgressLine::Clear() {
  if (is_shown_ && is_terminal_) fmt::print(stderr, "\r\033[K");
}

}  // namespace attune
