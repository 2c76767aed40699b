// Sharing tasks of unequal size among threads that all walk the same list of them.
#pragma once

#include <atomic>
#include <cstdint>

namespace attune {

// Takes tasks in order, each by exactly one thread. `mine` is a thread's own, -1 at the start.
class Tickets {
 public:
  bool Mine(int64_t index, int64_t* mine) {
    if (*mine < 0) *mine = next_.fetch_add(1, std::memory_order_relaxed);
    if (index != *mine) return false;
    *mine = -1;
    return true;
  }

 private:
  std::atomic<int64_t> next_{0};
};

}  // namespace attune
