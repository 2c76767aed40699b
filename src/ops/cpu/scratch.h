// Working memory of the CPU kernels: one region shared by the threads (partial sums, inputs put in order) and one for
// each thread (packed operands). Its size is fixed when the device is made and stands in the step plan, so that ops
// never allocate.
#pragma once

#include <cstddef>
#include <cstdint>

namespace attune {

inline constexpr int64_t kSharedScratchBytes = int64_t{4} << 20;
inline constexpr int64_t kThreadScratchBytes = int64_t{4} << 20;

constexpr int64_t ScratchBytes(int threads) { return kSharedScratchBytes + threads * kThreadScratchBytes; }

struct Scratch {
  std::byte* base = nullptr;
  int threads = 1;

  std::byte* shared() const { return base; }
  std::byte* thread(int index) const { return base + kSharedScratchBytes + index * kThreadScratchBytes; }
};

}  // namespace attune
