// OrderedStream: whatever the threads do, pieces are taken in order, and so is the first failure.
#include "base/threads.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <string>

namespace attune::threads_test {

struct Numbered {
  size_t number = 0, square = 0;
};
struct NoRoom {};

// Reads `count` pieces, and fails to read the one after if `read_fails`; fails to work on those of `failing`.
std::string ErrorOfStream(int64_t threads, size_t count, const std::vector<size_t>& failing, bool read_fails,
                          std::vector<size_t>* taken) {
  size_t come = 0;
  const auto read = [&](Numbered& piece) {
    if (come == count && read_fails) throw std::runtime_error("read");
    if (come == count) return false;
    piece.number = come++;
    return true;
  };
  const auto work = [&](Numbered& piece, NoRoom&) {
    if (piece.number % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (std::count(failing.begin(), failing.end(), piece.number) > 0)
      throw std::runtime_error(std::to_string(piece.number));
    piece.square = piece.number * piece.number;
  };
  const auto take = [&](Numbered& piece) {
    EXPECT_EQ(piece.square, piece.number * piece.number);
    taken->push_back(piece.number);
  };
  try {
    OrderedStream<Numbered, NoRoom, decltype(read), decltype(work), decltype(take)>(5, read, work, take).Run(threads);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

std::vector<size_t> UpTo(size_t count) {
  std::vector<size_t> numbers;
  while (numbers.size() < count) numbers.push_back(numbers.size());
  return numbers;
}

TEST(OrderedStream, PiecesAreTakenInOrder) {
  for (const int64_t threads : {1, 2, 5}) {
    for (const size_t count : {0, 1, 4, 5, 100}) {
      std::vector<size_t> taken;
      EXPECT_EQ(ErrorOfStream(threads, count, {}, false, &taken), "");
      EXPECT_EQ(taken, UpTo(count));
    }
  }
}

TEST(OrderedStream, TheFirstFailureCounts) {
  for (const int64_t threads : {1, 2, 5}) {
    std::vector<size_t> taken;
    EXPECT_EQ(ErrorOfStream(threads, 60, {49, 50, 51}, true, &taken), "49");
    EXPECT_EQ(taken, UpTo(49));
    taken.clear();
    EXPECT_EQ(ErrorOfStream(threads, 3, {}, true, &taken), "read") << "what came before is taken";
    EXPECT_EQ(taken, UpTo(3));
    taken.clear();
    EXPECT_EQ(ErrorOfStream(threads, 3, {2}, true, &taken), "2");
    EXPECT_EQ(taken, UpTo(2));
  }
}

}  // namespace attune::threads_test
