// YAML values as JSON, by YAML 1.2's core schema: what is quoted stays text, "2e-4" is a number.
#pragma once

#include <yaml-cpp/yaml.h>

#include <nlohmann/json.hpp>
#include <string>

namespace attune {

// Errors: Error{kBadInput} for nesting deeper than 32 levels. `where` names the file.
nlohmann::ordered_json YamlToJson(const YAML::Node& node, const std::string& where, int depth = 0);

}  // namespace attune
