// What the operating system says about this process and this machine.
#pragma once

#include <cstdint>
#include <string>

namespace attune {

int64_t ResidentBytes();      // memory of this process now (VmRSS)
int64_t PeakResidentBytes();  // the most it has been (VmHWM)
void ResetPeakResident();     // the peak is counted anew from now on, where the system lets a process ask for it
int64_t AvailableBytes();     // memory that can be taken without swapping (MemAvailable)
int64_t TotalMemoryBytes();
void ReturnFreedMemory();  // what the heap holds and nobody uses goes back to the system
std::string CpuName();     // "AMD EPYC 9R14", from /proc/cpuinfo
int64_t CpuCount();        // threads that this process may run on
std::string KernelName();  // "Linux 6.1.0"
std::string HostName();
double SecondsSinceProcessStart();

// When the process started, in clock ticks since boot: with its number that names a process for good. 0 when there is
// none.
int64_t ProcessStartTicks(int64_t pid);

}  // namespace attune
