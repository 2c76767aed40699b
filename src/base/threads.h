// Independent pieces of work, drawn one after the other by several threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace attune {

// Calls work(i, room) once for each i below `count`, on `threads` threads, this one among them; `room` is the thread's own
// and made anew for this call. After a failure no further piece is begun, and one of the failures is thrown here.
template <class Room, class Work>
void InThreads(int64_t threads, size_t count, const Work& work) {
  std::atomic<size_t> ticket{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto draw = [&] {
    Room room;
    try {
      for (size_t i = ticket++; i < count; i = ticket++) work(i, room);
    } catch (...) {
      ticket = count;
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  for (int64_t i = 1; i < threads; ++i) others.emplace_back(draw);
  draw();
  for (std::thread& thread : others) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace attune
