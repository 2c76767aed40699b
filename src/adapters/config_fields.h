// What adapter_config.json and a quantization_config have in common: an object whose known keys each have a setter, and
// error texts that name file, key and value. Included by the two files that read them.
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/nearest.h"

namespace attune {

// A value on its way into a field, and how to complain about it.
struct ConfigField {
  const std::string& key;
  const nlohmann::ordered_json& value;
  const std::string& where;  // the file or section, for error texts

  [[noreturn]] void Bad(std::string_view wanted, const std::string& hint = "") const {
    const std::string shown = value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    BadInput("{}: {} must be {}, not {}{}", where, key, wanted, shown.size() > 80 ? shown.substr(0, 80) + "..." : shown,
             hint);
  }
  bool Boolean() const {
    if (!value.is_boolean()) Bad("true or false");
    return value.get<bool>();
  }
  // Non-empty texts, each once.
  std::vector<std::string> Names(std::string_view wanted) const {
    if (!value.is_array()) Bad(wanted);
    std::vector<std::string> names;
    for (const nlohmann::ordered_json& entry : value) {
      if (!entry.is_string() || entry.get_ref<const std::string&>().empty()) Bad(wanted);
      if (std::find(names.begin(), names.end(), entry) == names.end()) names.push_back(entry.get<std::string>());
    }
    return names;
  }
};

template <class Config, class Field>
struct ConfigSetter {
  const char* key;
  void (*set)(Config&, const Field&);
};

// The setter of `key`, or null.
template <class Setter, size_t N>
const Setter* FindSetter(const Setter (&setters)[N], const std::string& key) {
  const Setter* found =
      std::find_if(std::begin(setters), std::end(setters), [&](const Setter& s) { return key == s.key; });
  return found == std::end(setters) ? nullptr : found;
}

template <class Setter, size_t N>
[[noreturn]] void RefuseUnknownKey(const Setter (&setters)[N], const std::string& key, const std::string& where) {
  std::vector<std::string> known;
  for (const Setter& setter : setters) known.emplace_back(setter.key);
  const std::string nearest = NearestName(key, known);
  BadInput("{}: unknown key \"{}\"{}", where, key,
           nearest.empty() ? "" : fmt::format("; did you mean \"{}\"?", nearest));
}

}  // namespace attune
