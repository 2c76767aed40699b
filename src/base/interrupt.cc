#include "base/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <csignal>

namespace attune {
namespace {

volatile std::sig_atomic_t signals_seen = 0;
struct sigaction before_interrupt, before_terminate;

void Handle(int) {
  signals_seen = signals_seen + 1;
  if (signals_seen > 1) ::_exit(1);
  constexpr char kLine[] = "\nstopping after this step and saving; once more stops at once\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kLine, sizeof(kLine) - 1);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  signals_seen = 0;
  struct sigaction action {};
  action.sa_handler = Handle;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, &before_interrupt);
  ::sigaction(SIGTERM, &action, &before_terminate);
}

InterruptGuard::~InterruptGuard() {
  ::sigaction(SIGINT, &before_interrupt, nullptr);
  ::sigaction(SIGTERM, &before_terminate, nullptr);
}

bool InterruptGuard::requested() { return signals_seen > 0; }

}  // namespace attune
