#include "curate/json_lookup.h"

#include <fmt/format.h>

#include "base/error.h"
#include "curate/json_string.h"
#include "data/jsonl.h"

namespace attune {

const char* TypeName(const simdjson::dom::element& value) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "a list";
    case simdjson::dom::element_type::OBJECT:
      return "an object";
    case simdjson::dom::element_type::STRING:
      return "a string";
    case simdjson::dom::element_type::BOOL:
      return "a boolean";
    case simdjson::dom::element_type::NULL_VALUE:
      return "null";
    default:
      return "a number";
  }
}

std::optional<simdjson::dom::element> FindKey(const simdjson::dom::object& object, std::string_view key) {
  std::optional<simdjson::dom::element> found;  // the last of them counts, as for nlohmann-json
  for (const auto field : object) {
    if (field.key == key && !field.value.is_null()) found = field.value;
  }
  return found;
}

std::string ShownText(std::string_view text) {
  std::string shown;
  AppendJsonString(text.substr(0, 40), &shown);
  return shown;
}

std::string JsonProblem(simdjson::error_code code, const DataFile* file, std::string_view text) {
  if (file != nullptr && file->container == Container::kJsonl) {
    try {
      ParseJsonlLine({1, text}, "");
    } catch (const Error& error) {  // ":1:COLUMN: not valid JSON: ..."
      const std::string message = error.what();
      const size_t problem = message.find(": not valid JSON");
      if (message.starts_with(":1:") && problem != std::string::npos && problem > 3) {
        return fmt::format("column {}: {}", message.substr(3, problem - 3), message.substr(problem + 2));
      }
    }
  }
  if (code == simdjson::NUMBER_ERROR) return "a number that 64 bits cannot hold; write it as a text";
  std::string reason = simdjson::error_message(code);
  if (const size_t end = reason.find_first_of(".,:"); end != std::string::npos) reason.resize(end);
  return fmt::format("not valid JSON: {}", reason);
}

}  // namespace attune
