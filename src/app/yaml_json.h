// YAML values as JSON, by YAML 1.2's core schema: what is quoted stays text, "2e-4" is a number.
#pragma once

#include <yaml-cpp/yaml.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace attune {

struct YamlEntry {
  std::string key;
  int line;  // from 1
  YAML::Node value;
};

// What a map holds, in its order. `where` names the file. Errors: Error{kBadInput} "WHERE:LINE: ..." for a key that is
// no text, or is there twice: yaml-cpp leaves it open which of them counts.
std::vector<YamlEntry> YamlEntries(const YAML::Node& map, const std::string& where);

// Errors: as YamlEntries; and Error{kBadInput} for nesting deeper than 32 levels, and for more than 2^20 values: a few
// lines of aliases of aliases stand for any number.
nlohmann::ordered_json YamlToJson(const YAML::Node& node, const std::string& where);

}  // namespace attune
