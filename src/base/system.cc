#include "base/system.h"

#include <malloc.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>

namespace attune {
namespace {

// The number behind "key:" in a /proc file, in kB; 0 when there is none.
int64_t ProcKilobytes(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with(key + ":")) return std::atoll(line.c_str() + key.size() + 1);
  }
  return 0;
}

}  // namespace

int64_t ResidentBytes() { return ProcKilobytes("/proc/self/status", "VmRSS") * 1024; }
int64_t PeakResidentBytes() { return ProcKilobytes("/proc/self/status", "VmHWM") * 1024; }
void ResetPeakResident() { std::ofstream("/proc/self/clear_refs") << "5"; }
int64_t AvailableBytes() { return ProcKilobytes("/proc/meminfo", "MemAvailable") * 1024; }
void ReturnFreedMemory() { ::malloc_trim(0); }
int64_t TotalMemoryBytes() { return ProcKilobytes("/proc/meminfo", "MemTotal") * 1024; }

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

int64_t CpuCount() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : ::sysconf(_SC_NPROCESSORS_ONLN);
}

std::string KernelName() {
  utsname name{};
  ::uname(&name);
  return std::string(name.sysname) + " " + name.release;
}

std::string HostName() {
  utsname name{};
  ::uname(&name);
  return name.nodename;
}

int64_t ProcessStartTicks(int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::stringstream content;
  content << file.rdbuf();
  // Fields after the command name, which may itself hold spaces: the 20th is the start time in clock ticks since boot.
  const std::string text = content.str();
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string field;
  for (int i = 0; i < 20; ++i) fields >> field;
  return std::atoll(field.c_str());
}

double SecondsSinceProcessStart() {
  const auto started = static_cast<double>(ProcessStartTicks(::getpid())) / static_cast<double>(sysconf(_SC_CLK_TCK));
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 - started;
}

}  // namespace attune
