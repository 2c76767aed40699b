// Runs a program that a model wrote: a process of its own in an empty folder, with limits on its time, memory, files
// and processes, an environment without the user's variables, and, where the system lets a process give these up, no
// network, no hold on other processes and no writing outside the folder. It can still read what its user can read.
// Never call it without the user's consent.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attune {

struct SandboxLimits {
  double seconds = 10;  // by the clock, and of each processor
  int64_t memory_bytes = int64_t{1} << 30;
  int64_t file_bytes = int64_t{16} << 20;  // of each file it writes
  int64_t processes = 64;
};

struct SandboxResult {
  bool passed = false;  // ended with status 0
  std::string why;      // it did not: the last line it wrote, "took longer than 10 s", "killed by signal 9"
  // Whether the system allowed it; the first also that nothing it started outlives it.
  bool has_no_network = false, writes_only_inside = false;
};

// Writes `program` into a file of a new temporary folder, runs `command` with that file's name behind it, and removes
// the folder. Linux only. Errors: Error{kFailed} when no process can be started; Error{kBadInput} when the command's
// program is not there.
SandboxResult RunInSandbox(const std::vector<std::string>& command, const std::string& program,
                           const SandboxLimits& limits);

}  // namespace attune
