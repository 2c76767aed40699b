// The program: settles what belongs to the whole process, then hands over to the commands.
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "cli/run.h"

namespace {

// A worker that has finished its share waits for the others. libgomp's default is to spin for milliseconds, which on a
// machine that is busy with other work takes the processor from the very thread it waits for: a step was measured to be
// three times slower. libgomp reads the setting when it is loaded, before main, so the program starts itself anew with
// a short spin unless the user has said something else.
void ShortenSpinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  ::setenv("GOMP_SPINCOUNT", "1000", 1);
  ::execv("/proc/self/exe", argv);  // comes back only where /proc is missing: then the default does
}

}  // namespace

int main(int argc, char** argv) {
  ShortenSpinning(argv);
  // A limit on the size of files (ulimit -f) is then an error of the write, which is told as a full disk is, not a
  // silent end.
  std::signal(SIGXFSZ, SIG_IGN);
  return attune::RunCommandLine(argc, argv);
}
