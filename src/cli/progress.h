// How far long work is, on standard error: one live line on a terminal, elsewhere a line now and then. Work of less than two seconds
// shows nothing.
#pragma once

#include <cstdint>
#include <string>

#include "app/progress.h"

namespace attune {

class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { Clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void Show(const std::string& what, int64_t done, int64_t total);
  // Before other lines are printed.
  void Clear();
  // Calls Show; must not outlive this.
  OnProgress Callback() {
    return [this](const std::string& what, int64_t done, int64_t total) { Show(what, done, total); };
  }

 private:
  bool is_terminal_, is_shown_ = false;
  std::string what_;
  double began_ = 0, shown_ = 0;  // of `what_`; when a line was last written
};

}  // namespace attune
