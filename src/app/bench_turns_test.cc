#include "app/bench_turns.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "base/error.h"

namespace attune::bench_turns_test {

constexpr int kOut = 3;

// Standard input and descriptor 3 are the ends of two pipes while a test runs.
class TurnsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::pipe(to_us_.data()), 0);
    ASSERT_EQ(::pipe(from_us_.data()), 0);
    saved_in_ = ::fcntl(STDIN_FILENO, F_DUPFD, 100);
    saved_out_ = ::fcntl(kOut, F_DUPFD, 100);
    for (int* end : {&to_us_[0], &to_us_[1], &from_us_[0], &from_us_[1]}) {
      const int high = ::fcntl(*end, F_DUPFD, 100);
      ::close(*end);
      *end = high;
    }
    ::dup2(to_us_[0], STDIN_FILENO);
    ::dup2(from_us_[1], kOut);
  }
  void TearDown() override {
    for (const auto& [saved, fd] : {std::pair(saved_in_, STDIN_FILENO), std::pair(saved_out_, kOut)}) {
      ::close(fd);
      if (saved >= 0) ::dup2(saved, fd);
    }
  }
  void Give() { ASSERT_EQ(::write(to_us_[1], ".", 1), 1); }
  void Take() {
    char byte = 0;
    ASSERT_EQ(::read(from_us_[0], &byte, 1), 1);
  }
  void End() { ::close(to_us_[1]); }

  std::array<int, 2> to_us_{}, from_us_{};
  int saved_in_ = -1, saved_out_ = -1;
};

void Sleep() { ::usleep(150'000); }

TEST_F(TurnsTest, TheSecondWaitsForTheFirst) {
  Turns turns("second");
  std::thread other([&] {
    Sleep();
    Give();
  });
  turns.Pass();
  other.join();
  EXPECT_GT(turns.waited(), 0.1);
  EXPECT_FALSE(turns.is_alone());
}

TEST_F(TurnsTest, ATurnIsGivenAwayWhenItHasLasted) {
  Turns turns("first");
  turns.Pass();
  EXPECT_EQ(turns.waited(), 0) << "it has only begun";
  Sleep();
  std::thread other([&] {
    Take();
    Sleep();
    Give();
  });
  turns.Pass();
  other.join();
  EXPECT_GT(turns.waited(), 0.1);
  const double waited = turns.waited();
  turns.Pass();
  EXPECT_EQ(turns.waited(), waited);
}

TEST_F(TurnsTest, GoesOnAloneWhenTheOtherHasEnded) {
  Turns turns("first");
  Sleep();
  End();
  turns.Pass();
  EXPECT_TRUE(turns.is_alone());
  Sleep();
  turns.Pass();
}

TEST_F(TurnsTest, GoesOnAloneWhenTheOtherWasKilledInItsTurn) {
  Turns turns("first");
  Sleep();
  ::close(from_us_[0]);
  turns.Pass();
  EXPECT_TRUE(turns.is_alone());
}

TEST_F(TurnsTest, RefusesWhatIsNoPartner) {
  EXPECT_THROW(Turns("third"), Error);
  ::close(kOut);
  EXPECT_THROW(Turns("first"), Error);
}

}  // namespace attune::bench_turns_test
