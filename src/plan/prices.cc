#include "plan/prices.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"
#include "plan/device.h"
#include "plan/named_entry.h"

namespace attune {
namespace {

double PriceOf(const nlohmann::ordered_json& value, const std::string& where) {
  if (!value.is_number()) BadInput("{}: must be a number, not {}", where, value.dump());
  const double price = value.get<double>();
  if (!(price >= 0) || !std::isfinite(price)) BadInput("{}: must be 0 or more, not {}", where, value.dump());
  return price;
}

std::string TextOf(const nlohmann::ordered_json& value, const std::string& where) {
  if (!value.is_string() || value.get<std::string>().empty())
    BadInput("{}: must be a text, not {}", where, value.dump());
  return value.get<std::string>();
}

}  // namespace

std::optional<double> Prices::PerHour(const std::string& device) const {
  const auto found = per_hour.find(device);
  return found == per_hour.end() ? std::nullopt : std::optional(found->second);
}

Prices Prices::FromJson(const nlohmann::ordered_json& json, const std::string& where) {
  const std::vector<std::string> keys = {"date",    "source", "currency", "electricity_per_kwh", "this_machine_watts",
                                         "per_hour"};
  if (!json.is_object()) BadInput("{}: must hold the keys {}", where, fmt::join(keys, ", "));
  for (const auto& [key, value] : json.items()) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    const std::string nearest = NearestName(key, keys);
    BadInput("{}: unknown key \"{}\"{}", where, key, nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
  }
  for (const std::string& key : keys) {
    if (!json.contains(key) && key != "per_hour") BadInput("{}: the key \"{}\" is missing", where, key);
  }
  Prices prices;
  prices.date = TextOf(json["date"], where + ": date");
  prices.source = TextOf(json["source"], where + ": source");
  prices.currency = TextOf(json["currency"], where + ": currency");
  prices.electricity_per_kwh = PriceOf(json["electricity_per_kwh"], where + ": electricity_per_kwh");
  prices.this_machine_watts = PriceOf(json["this_machine_watts"], where + ": this_machine_watts");
  if (!json.contains("per_hour") || json["per_hour"].is_null()) return prices;
  if (!json["per_hour"].is_object()) BadInput("{}: per_hour must hold devices and prices", where);
  for (const auto& [name, price] : json["per_hour"].items()) {
    const std::string at = where + ": per_hour: " + name;
    const PlanDevice* device = FindNamed(DeviceCatalogue(), name);
    if (device == nullptr) {
      const std::string nearest = NearestName(name, NamesOf(DeviceCatalogue()));
      BadInput("{}: no device of the catalogue{}", at, nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
    }
    prices.per_hour[device->name] = PriceOf(price, at);
  }
  return prices;
}

}  // namespace attune
