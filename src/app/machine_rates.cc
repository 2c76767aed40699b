#include "app/machine_rates.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/system.h"
#include "formats/json.h"
#include "ops/device.h"

namespace attune {
namespace {

constexpr const char* kMethods[] = {"lora", "full", "qlora"};

// Without a measurement: what a thread of a present server processor multiplies at, and what a step reaches of it.
constexpr double kThreadF32 = 80e9, kThreadBf16 = 200e9, kAssumedFraction = 0.7;
constexpr double kMeasuredErrorFactor = 1.1, kOtherMethodErrorFactor = 1.3, kAssumedErrorFactor = 2;

// Of the file. 1 had no number and no work_rates, in 2 these were of amounts that are counted otherwise now; of both
// the rest is read.
constexpr int kVersion = 3;

const char* ComputeName(DType compute) { return compute == DType::kBF16 ? "bf16" : "f32"; }

// What the rates hold for; another processor's are none of ours.
nlohmann::ordered_json Identity() { return {{"cpu", CpuName()}, {"threads", CpuCount()}}; }

[[noreturn]] void NotOurs() {
  BadInput("{}: is not as attune bench train writes it; remove it and measure again", MachineRatesPath());
}

// {"rates": {"f32": {"lora": ...}}}
void CheckRates(const nlohmann::ordered_json& file) {
  const auto rates = file.find("rates");
  const auto is_object = [](const nlohmann::ordered_json& value) { return value.is_object(); };
  if (rates == file.end() || !rates->is_object() || !std::all_of(rates->begin(), rates->end(), is_object)) NotOurs();
}

void RemoveWorkRates(nlohmann::ordered_json* file) {
  for (auto& of_type : (*file)["rates"]) {
    for (auto& of_method : of_type) {
      if (of_method.is_object()) of_method.erase("work_rates");
    }
  }
}

nlohmann::ordered_json ReadRates() {
  const std::string path = MachineRatesPath();
  if (path.empty() || !FileExists(path)) return nullptr;
  nlohmann::ordered_json file = ParseOrderedJsonFile(path);
  if (!file.is_object() || file.value("machine", nlohmann::ordered_json()) != Identity()) return nullptr;
  const nlohmann::ordered_json version = file.value("version", nlohmann::ordered_json(1));
  if (version > kVersion) BadInput("{}: is of a later version of attune; remove it and measure again", path);
  CheckRates(file);
  if (version < kVersion) RemoveWorkRates(&file);
  return file;
}

bool IsRate(double rate) { return std::isfinite(rate) && rate > 0; }

bool IsSound(const MachineRate& rate) {
  return IsRate(rate.matmul_flops) && IsRate(rate.fraction) && std::isfinite(rate.spread) && rate.spread >= 0 &&
         (rate.work_rates.empty() || IsRate(rate.speed_flops)) &&
         std::all_of(rate.work_rates.begin(), rate.work_rates.end(),
                     [](const auto& of_kind) { return IsRate(of_kind.second); });
}

// The rates of `rate`, and of kinds that it lacks those of other methods, brought to the machine's speed at its
// measurement.
WorkRates AllWorkRates(const MachineRate& rate, DType compute) {
  WorkRates all = rate.work_rates;
  if (all.empty()) return all;
  for (const char* method : kMethods) {
    const std::optional<MachineRate> other = RememberedRate(method, compute);
    if (!other) continue;
    for (const auto& [kind, theirs] : other->work_rates)
      all.emplace(kind, theirs * rate.speed_flops / other->speed_flops);
  }
  return all;
}

}  // namespace

std::string MachineRatesPath() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return std::string(cache) + "/attune/machine.json";
  }
  const char* home = std::getenv("HOME");
  return home == nullptr || *home == '\0' ? "" : std::string(home) + "/.cache/attune/machine.json";
}

std::optional<MachineRate> RememberedRate(const std::string& method, DType compute) {
  const nlohmann::ordered_json file = ReadRates();
  const auto at = nlohmann::ordered_json::json_pointer(std::string("/rates/") + ComputeName(compute) + "/" + method);
  if (file.is_null() || !file.contains(at)) return std::nullopt;
  try {
    const nlohmann::ordered_json& rate = file.at(at);
    MachineRate found{rate.at("matmul_flops"),
                      rate.at("fraction"),
                      rate.value("speed_flops", 0.0),
                      rate.value("spread", 0.0),
                      rate.value("work_rates", WorkRates()),
                      rate.at("model"),
                      rate.at("date")};
    if (IsSound(found)) return found;
  } catch (const nlohmann::json::exception&) {
    // told below, with the file's name
  }
  NotOurs();
}

void RememberRate(const std::string& method, DType compute, const MachineRate& rate) {
  const std::string path = MachineRatesPath();
  if (path.empty()) return;
  nlohmann::ordered_json file = ReadRates();
  if (file.is_null())
    file = {{"version", kVersion}, {"machine", Identity()}, {"rates", nlohmann::ordered_json::object()}};
  file["version"] = kVersion;
  file["rates"][ComputeName(compute)][method] = {{"matmul_flops", rate.matmul_flops},
                                                 {"fraction", rate.fraction},
                                                 {"speed_flops", rate.speed_flops},
                                                 {"spread", rate.spread},
                                                 {"work_rates", rate.work_rates},
                                                 {"model", rate.model},
                                                 {"date", rate.date}};
  MakeDirectories(ParentOf(path));
  WriteFileAtomic(path, file.dump(2) + "\n");
}

PlanDevice ThisMachine(const std::string& method, bool f32) {
  const auto device = MakeCpuDevice({});
  PlanDevice d;
  d.name = CpuName();
  d.vendor = "this machine";
  d.is_this_machine = true;
  d.memory_bytes = AvailableBytes() + ResidentBytes();
  d.scratch_bytes = device->scratch_bytes();
  d.compute = device->has_bf16() && !f32 ? DType::kBF16 : DType::kF32;
  std::vector<std::string> methods(std::begin(kMethods), std::end(kMethods));
  methods.insert(methods.begin(), method);
  for (const std::string& measured : methods) {
    const std::optional<MachineRate> rate = RememberedRate(measured, d.compute);
    if (!rate) continue;
    d.matmul_flops = rate->matmul_flops;
    d.fraction = rate->fraction;
    d.fraction_method = measured;
    d.error_factor = measured == method ? kMeasuredErrorFactor : kOtherMethodErrorFactor;
    d.fraction_source = fmt::format("measured {} with {} of {}", rate->date, measured, rate->model);
    d.speed_flops = rate->speed_flops;
    d.work_rates = AllWorkRates(*rate, d.compute);
    d.work_error_factor = kMeasuredErrorFactor + rate->spread;
    return d;
  }
  d.matmul_flops = (d.compute == DType::kBF16 ? kThreadBf16 : kThreadF32) * static_cast<double>(device->threads());
  d.fraction = kAssumedFraction;
  d.error_factor = kAssumedErrorFactor;
  d.fraction_source = "assumed; attune bench train --model M measures it";
  return d;
}

}  // namespace attune
