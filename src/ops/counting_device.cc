// A device that only counts, for plans: a step runs on it in a moment and touches no memory, and its profile says what
// the step asks of a machine. What is planned is then what the trainer does, and not a second account of it.
#include "ops/device.h"

namespace attune {
namespace {

class CountingDevice : public Device {
 public:
  CountingDevice() {
    name_ = "counting";
    std::apply([](auto&... kernel) { (DoNothing(kernel), ...); }, table_);
  }

  // Nothing lies at these addresses, but no two are the same.
  DeviceAddress Allocate(int64_t bytes, const std::string& /*what*/) override {
    const DeviceAddress at = next_;
    next_ = next_.Plus(AlignedBytes(bytes) + 64);
    return at;
  }
  DeviceAddress Adopt(const std::byte* memory) override { return {reinterpret_cast<uintptr_t>(memory)}; }
  void Upload(DeviceAddress /*to*/, const void* /*from*/, int64_t /*bytes*/) override {}
  void Download(void* /*to*/, DeviceAddress /*from*/, int64_t /*bytes*/) override {}

 private:
  template <class Op>
  static void DoNothing(Kernel<Op>& kernel) {
    kernel.run = [](void*, const Op&) {};
  }

  DeviceAddress next_{64};
};

}  // namespace

std::unique_ptr<Device> MakeCountingDevice() { return std::make_unique<CountingDevice>(); }

}  // namespace attune
