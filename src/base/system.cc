#include "base/system.h"

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
int64_t AvailableBytes() { return ProcKilobytes("/proc/meminfo", "MemAvailable") * 1024; }
int64_t TotalMemoryBytes() { return ProcKilobytes("/proc/meminfo", "MemTotal") * 1024; }

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

double SecondsSinceProcessStart() {
  std::ifstream file("/proc/self/stat");
  std::stringstream content;
  content << file.rdbuf();
  // Fields after the command name, which may itself hold spaces: the 20th is the start time in clock ticks since boot.
  const std::string text = content.str();
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string field;
  for (int i = 0; i < 20; ++i) fields >> field;
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  const double started = std::atof(field.c_str()) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 - started;
}

}  // namespace attune
