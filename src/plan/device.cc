#include "plan/device.h"

#include "base/error.h"
#include "base/nearest.h"
#include "formats/json.h"
#include "plan/embedded.h"
#include "plan/named_entry.h"

namespace attune {
namespace {

// What a training step reaches of an accelerator's dense rate. Of 67 published runs on one device (docs/planner.md) the
// middle one reaches 0.49, eight in ten lie between 0.16 and 0.85.
constexpr double kAcceleratorFraction = 0.4, kAcceleratorErrorFactor = 2;
constexpr int64_t kAcceleratorRuntimeBytes = int64_t{600} << 20;  // context and libraries
constexpr int64_t kAcceleratorScratchBytes = int64_t{64} << 20;   // a product library's workspace

PlanDevice ReadDevice(const nlohmann::json& j) {
  PlanDevice d;
  d.name = j.at("name");
  d.vendor = j.at("vendor");
  d.memory_bytes = static_cast<int64_t>(j.at("memory_gib").get<double>() * (1 << 30));
  d.scratch_bytes = kAcceleratorScratchBytes;
  d.runtime_bytes = kAcceleratorRuntimeBytes;
  d.bandwidth = j.at("memory_bandwidth_gb_s").get<double>() * 1e9;
  const nlohmann::json& rates = j.at("tflops");
  d.matmul_flops = rates.value("bf16", rates.value("fp16", rates.value("fp32", 0.0))) * 1e12;
  d.fraction = kAcceleratorFraction;
  d.error_factor = kAcceleratorErrorFactor;
  d.fraction_source = "assumed from published runs";
  if (j.at("tdp_w").is_number()) d.watts = j.at("tdp_w");
  d.recalled = j.at("recalled").get<std::vector<std::string>>();
  d.notes = j.value("notes", "");
  return d;
}

}  // namespace

const std::vector<PlanDevice>& DeviceCatalogue() {
  static const std::vector<PlanDevice> devices = [] {
    std::vector<PlanDevice> read;
    for (const nlohmann::json& j : ParseJson(EmbeddedDevices(), "catalogue/devices.json"))
      read.push_back(ReadDevice(j));
    return read;
  }();
  return devices;
}

const PlanDevice& FindDevice(const std::string& name) {
  const std::vector<PlanDevice>& devices = DeviceCatalogue();
  if (const PlanDevice* device = FindNamed(devices, name)) return *device;
  std::vector<std::string> similar;
  for (const PlanDevice& device : devices) {
    if (LowerCase(device.name).find(LowerCase(name)) != std::string::npos) similar.push_back(device.name);
  }
  if (!similar.empty() && !name.empty()) BadInput("--device {}: several are meant: {}", name, fmt::join(similar, ", "));
  const std::string nearest = NearestName(name, NamesOf(devices));
  BadInput("--device {}: not known{}", name,
           nearest.empty() ? "; use auto for this machine, or a name that attune plan --list shows"
                           : ", did you mean \"" + nearest + "\"?");
}

}  // namespace attune
