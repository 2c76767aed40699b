// What an hour of a device and a kilowatt-hour cost: figures of a file that people edit, with its date and source,
// because prices change faster than programs.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace attune {

struct Prices {
  std::string date, source, currency;
  double electricity_per_kwh = 0;
  double this_machine_watts = 0;
  std::map<std::string, double> per_hour;  // of one device of the catalogue, by its name

  std::optional<double> PerHour(const std::string& device) const;

  // The layout of catalogue/prices.yaml; `where` names it. Errors: Error{kBadInput} naming the key: missing, unknown,
  // of the wrong type or below 0; a device that is not in the catalogue.
  static Prices FromJson(const nlohmann::ordered_json& json, const std::string& where);
};

}  // namespace attune
