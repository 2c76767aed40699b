// Where a run may take place: this machine as it has been measured, or an accelerator of catalogue/devices.json. The
// engine runs on processors only so far, so an accelerator's plan is an estimate from the same step plan in bf16.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "plan/work_time.h"

namespace attune {

struct PlanDevice {
  std::string name, vendor;
  bool is_this_machine = false;
  int64_t memory_bytes = 0;      // that a run may take
  int64_t scratch_bytes = 0;     // working memory of kernels
  int64_t runtime_bytes = 0;     // driver and library; of this machine: counted by the run's own plan
  double bandwidth = 0;          // bytes a second; 0: unknown
  DType compute = DType::kBF16;  // or F32
  double matmul_flops = 0;       // operations a second of products in `compute`
  // Which part of that a training step reaches, and by which factor that may be off either way.
  double fraction = 0, error_factor = 1;
  std::string fraction_source;  // "measured 2026-11-28 on ...", "assumed"
  std::string fraction_method;  // the method it was measured with; empty: not measured
  // Measured here with a training step of some model; empty: not measured, time goes by the fraction.
  WorkRates work_rates;
  double speed_flops = 0;             // that products reached beside it: how busy the machine was then
  double work_error_factor = 1;       // by which the sum over kinds of work may be off either way
  double watts = 0;                   // 0: unknown
  std::vector<std::string> recalled;  // fields without a source
  std::string notes;
};

// Those of the catalogue, in its order.
const std::vector<PlanDevice>& DeviceCatalogue();

// By name. Errors: Error{kBadInput} with the nearest name.
const PlanDevice& FindDevice(const std::string& name);

}  // namespace attune
