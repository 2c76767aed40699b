#include "app/yaml_json.h"

#include <cctype>
#include <cstdlib>

#include "base/error.h"

namespace attune {
namespace {

nlohmann::ordered_json Scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  if (text.empty() || text == "null" || text == "~" || text == "Null" || text == "NULL" || text == "None")
    return nullptr;
  if (text == "true" || text == "True" || text == "TRUE" || text == "yes" || text == "on") return true;
  if (text == "false" || text == "False" || text == "FALSE" || text == "no" || text == "off") return false;
  const char first = text[text[0] == '-' || text[0] == '+'];
  if (std::isdigit(static_cast<unsigned char>(first)) == 0 && first != '.') return text;
  char* end = nullptr;
  const long long integer = std::strtoll(text.c_str(), &end, 10);
  if (*end == 0 && text.size() < 19) return static_cast<int64_t>(integer);
  const double number = std::strtod(text.c_str(), &end);
  if (*end == 0 && text.find_first_of("xXpP") == std::string::npos) return number;
  return text;
}

}  // namespace

nlohmann::ordered_json YamlToJson(const YAML::Node& node, const std::string& where, int depth) {
  if (depth > 32) BadInput("{}: values are nested deeper than 32 levels", where);
  if (node.IsSequence()) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const YAML::Node& item : node) list.push_back(YamlToJson(item, where, depth + 1));
    return list;
  }
  if (node.IsMap()) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (const auto& entry : node) object[entry.first.Scalar()] = YamlToJson(entry.second, where, depth + 1);
    return object;
  }
  return node.IsScalar() ? Scalar(node) : nlohmann::ordered_json(nullptr);
}

}  // namespace attune
