// One line on standard error on how far a long job is and how long it will still take, once it has taken two seconds.
#pragma once

#include <cstdint>
#include <string>

#include "base/progress.h"

namespace attune {

// "scoring rows: 1200 of 8600 (14 %), 3m07s left".
std::string ProgressText(const char* what, int64_t done, int64_t total, double seconds);

// On a terminal the line is written over, and gone at the end; elsewhere there is a line every ten seconds.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // For a job; must not outlive this object.
  OnProgress Reporter() {
    return [this](const char* what, int64_t done, int64_t total) { Report(what, done, total); };
  }

  // Before another line is printed.
  void Clear();

 private:
  void Report(const char* what, int64_t done, int64_t total);

  bool terminal_, shown_ = false;
  std::string what_;  // the piece of work that began at begin_
  double begin_ = 0, last_ = 0;
};

}  // namespace attune
