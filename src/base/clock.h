// Seconds that only run forward, for measuring spans.
#pragma once

#include <chrono>

namespace attune {

inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace attune
