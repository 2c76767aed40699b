// Ctrl-C and SIGTERM as a question that long work asks between steps: the first asks it to end in an orderly way, the
// second ends the process at once.
#pragma once

namespace attune {

// While one lives, the signals are taken. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool requested();
};

}  // namespace attune
