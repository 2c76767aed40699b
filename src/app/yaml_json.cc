#include "app/yaml_json.h"

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <set>

#include "base/error.h"
#include "text/unicode.h"

namespace attune {
namespace {

nlohmann::ordered_json Scalar(const YAML::Node& node, const std::string& where) {
  const std::string& text = node.Scalar();
  if (!IsValidUtf8(text)) BadInput("{}:{}: is not valid UTF-8", where, node.Mark().line + 1);
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

nlohmann::ordered_json Converted(const YAML::Node& node, const std::string& where, int depth, int64_t* values) {
  constexpr int kMostLevels = 32;
  constexpr int64_t kMostValues = int64_t{1} << 20;
  if (depth > kMostLevels) BadInput("{}: values are nested deeper than {} levels", where, kMostLevels);
  if (++*values > kMostValues)
    BadInput("{}: holds more than {} values, with what its aliases stand for", where, kMostValues);
  if (node.IsSequence()) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const YAML::Node& item : node) list.push_back(Converted(item, where, depth + 1, values));
    return list;
  }
  if (node.IsMap()) {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (const YamlEntry& entry : YamlEntries(node, where))
      object[entry.key] = Converted(entry.value, where, depth + 1, values);
    return object;
  }
  return node.IsScalar() ? Scalar(node, where) : nlohmann::ordered_json(nullptr);
}

}  // namespace

std::vector<YamlEntry> YamlEntries(const YAML::Node& map, const std::string& where) {
  std::vector<YamlEntry> entries;
  std::set<std::string> seen;
  for (const auto& entry : map) {
    const int line = entry.first.Mark().line + 1;
    if (!entry.first.IsScalar() || !IsValidUtf8(entry.first.Scalar()))
      BadInput("{}:{}: a key must be a text", where, line);
    entries.push_back({entry.first.Scalar(), line, entry.second});
    if (!seen.insert(entries.back().key).second)
      BadInput("{}:{}: the key \"{}\" is there twice; leave one of them", where, line, entries.back().key);
  }
  return entries;
}

nlohmann::ordered_json YamlToJson(const YAML::Node& node, const std::string& where) {
  int64_t values = 0;
  return Converted(node, where, 0, &values);
}

}  // namespace attune
