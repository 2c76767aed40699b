// How far a long piece of work is. Jobs report, the command line shows (cli/progress_line.h).
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>

namespace attune {

// `what`: "scoring rows". Called from one thread, `done` growing to `total`.
using OnProgress = std::function<void(const char* what, int64_t done, int64_t total)>;

// Work that several threads do, reported by one of them at a time.
class SharedProgress {
 public:
  // `on_progress` may be empty; it and `what` must outlive this object.
  SharedProgress(const OnProgress& on_progress, const char* what, int64_t total)
      : on_progress_(on_progress), what_(what), total_(total) {}

  // From any thread, when so much more is done.
  void Add(int64_t done) {
    if (!on_progress_) return;
    const std::lock_guard lock(mutex_);
    done_ += done;
    on_progress_(what_, done_, total_);
  }

 private:
  const OnProgress& on_progress_;
  const char* what_;
  int64_t total_, done_ = 0;
  std::mutex mutex_;
};

}  // namespace attune
