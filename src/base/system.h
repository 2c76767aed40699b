// What the operating system says about this process and this machine.
#pragma once

#include <cstdint>
#include <string>

namespace attune {

int64_t ResidentBytes();      // memory of this process now (VmRSS)
int64_t PeakResidentBytes();  // the most it has been (VmHWM)
int64_t AvailableBytes();     // memory that can be taken without swapping (MemAvailable)
int64_t TotalMemoryBytes();
std::string CpuName();        // "AMD EPYC 9R14", from /proc/cpuinfo
double SecondsSinceProcessStart();

}  // namespace attune
