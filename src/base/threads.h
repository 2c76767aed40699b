// Pieces of work, drawn one after the other by several threads: independent ones, or ones that come and are taken in
// order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace attune {

// Calls work(i, room) once for each i below `count`, on `threads` threads, this one among them; `room` is the thread's
// own and made anew for this call. After a failure no further piece is begun, and one of the failures is thrown here.
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

// A stream of pieces: read one after the other, worked on by several threads, taken in the order in which they came.
// Reading, working and taking go on side by side, each by whichever thread is free, so that nobody waits at the end of
// a round.
//   read(piece)        the next one, into the room of one that has been taken; false: there are no more
//   work(piece, room)  `room` is the thread's own and made anew for this call
//   take(piece)
// read and take run one at a time each, on any thread. The failure thrown is the first in the order of the pieces; none
// behind it is taken.
template <class Piece, class Room, class Read, class Work, class Take>
class OrderedStream {
 public:
  // At most `ahead` pieces are held at a time.
  OrderedStream(size_t ahead, const Read& read, const Work& work, const Take& take)
      : slots_(ahead), read_(read), work_(work), take_(take) {}

  void Run(int64_t threads) {
    std::vector<std::thread> others;
    for (int64_t i = 1; i < threads; ++i) others.emplace_back([this] { Help(); });
    Help();
    for (std::thread& thread : others) thread.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  struct Slot {
    Piece piece;
    bool done = false;
    std::exception_ptr failure;
  };
  Slot& SlotOf(size_t piece) { return slots_[piece % slots_.size()]; }

  void Help() {
    Room room;
    std::unique_lock lock(mutex_);
    while (!failure_) {
      if (!taking_ && taken_ < come_ && SlotOf(taken_).done) {
        TakeNext(lock);
      } else if (!reading_ && !ended_ && come_ - taken_ < slots_.size()) {
        ReadNext(lock);
      } else if (drawn_ < come_) {
        WorkOn(SlotOf(drawn_++), room, lock);
      } else if (ended_ && taken_ == come_) {
        return;
      } else {
        changed_.wait(lock);
        continue;
      }
      changed_.notify_all();
    }
  }

  template <class Call>
  static std::exception_ptr FailureOf(std::unique_lock<std::mutex>& lock, const Call& call) {
    std::exception_ptr failure;
    lock.unlock();
    try {
      call();
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    return failure;
  }

  void TakeNext(std::unique_lock<std::mutex>& lock) {
    Slot& slot = SlotOf(taken_);
    taking_ = true;
    failure_ = slot.failure ? slot.failure : FailureOf(lock, [&] { take_(slot.piece); });
    taking_ = false;
    ++taken_;
  }

  void ReadNext(std::unique_lock<std::mutex>& lock) {
    Slot& slot = SlotOf(come_);
    bool more = false;
    reading_ = true;
    slot.failure = FailureOf(lock, [&] { more = read_(slot.piece); });
    reading_ = false;
    ended_ = !more;
    slot.done = slot.failure != nullptr;  // to be thrown when all before it have been taken
    come_ += more || slot.done;
  }

  void WorkOn(Slot& slot, Room& room, std::unique_lock<std::mutex>& lock) {
    if (slot.done) return;  // it could not be read
    slot.failure = FailureOf(lock, [&] { work_(slot.piece, room); });
    slot.done = true;
  }

  std::vector<Slot> slots_;  // of the pieces that have come and have not been taken
  const Read& read_;
  const Work& work_;
  const Take& take_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t come_ = 0, drawn_ = 0, taken_ = 0;
  bool reading_ = false, taking_ = false, ended_ = false;
  std::exception_ptr failure_;
};

}  // namespace attune
