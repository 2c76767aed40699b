#include "app/bench_turns.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/clock.h"
#include "base/error.h"

namespace attune {
namespace {

constexpr double kTurnSeconds = 0.1;  // long beside an op, short beside what disturbs it
constexpr int kOut = 3;

}  // namespace

Turns::Turns(const std::string& which) : has_turn_(which == "first") {
  if (which != "first" && which != "second") BadInput("--turns {}: use first or second", which);
  if (::fcntl(kOut, F_GETFD) < 0) BadInput("--turns: descriptor 3 is not open; redirect it to the other bench, 3>FIFO");
  std::signal(SIGPIPE, SIG_IGN);  // that the other one has ended is told by a write that fails
  begin_ = Now();
}

void Turns::Wait() {
  const double begin = Now();
  char byte = 0;
  ssize_t count = 0;
  do count = ::read(STDIN_FILENO, &byte, 1);
  while (count < 0 && errno == EINTR);
  is_alone_ = count != 1;
  begin_ = Now();
  waited_ += begin_ - begin;
}

void Turns::Pass() {
  if (is_alone_) return;
  if (!has_turn_) {
    has_turn_ = true;
    return Wait();
  }
  if (Now() - begin_ < kTurnSeconds) return;
  if (::write(kOut, ".", 1) != 1) {
    is_alone_ = true;
    return;
  }
  Wait();
}

}  // namespace attune
