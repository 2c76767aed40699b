// How fast this machine trains, as `attune bench train` last measured it: kept beside the user's caches, so that a plan
// need not measure.
#pragma once

#include <optional>
#include <string>

#include "base/dtype.h"
#include "plan/device.h"

namespace attune {

// As training steps of a method on some model reached it.
struct MachineRate {
  double matmul_flops = 0;  // the machine's own limit
  double fraction = 0;      // of it that the steps reached
  double speed_flops = 0;   // what oneDNN's products reached in turn with them, with what else ran on the cores
  double spread = 0;        // of the steps' times, as a part of their mean
  WorkRates work_rates;     // what its ops reached, by kind of work; empty in files of earlier versions
  std::string model, date;
};

// $XDG_CACHE_HOME/attune/machine.json, else ~/.cache/attune/machine.json.
std::string MachineRatesPath();

// Of a method ("lora", "full", "qlora") and a type (F32, BF16). Nothing where it has not been measured on this
// processor with as many threads. Errors: Error{kBadInput} when the file is not what was written.
std::optional<MachineRate> RememberedRate(const std::string& method, DType compute);

// Errors: Error{kFailed} when the file cannot be written.
void RememberRate(const std::string& method, DType compute, const MachineRate& rate);

// This machine as a plan sees it: memory that is free now, rates as remembered or, marked so, assumed. `f32`: even
// where the processor has bf16.
PlanDevice ThisMachine(const std::string& method, bool f32);

}  // namespace attune
