// Questions about JSON that simdjson parsed, answered as nlohmann-json would, and what is wrong with JSON
// that it could not.
#pragma once

#include <simdjson.h>

#include <optional>
#include <string>
#include <string_view>

#include "curate/row_source.h"

namespace attune {

// A value's kind for messages: "a list".
const char* TypeName(const simdjson::dom::element& value);

// The value of a key, null counting as absent; of a key that occurs twice the last.
std::optional<simdjson::dom::element> FindKey(const simdjson::dom::object& object, std::string_view key);

// The beginning of a text as it may stand in a message of one line.
std::string ShownText(std::string_view text);

// Why a record is no JSON, with the column where that is known. `file`: null where the text was made from
// something else.
std::string JsonProblem(simdjson::error_code code, const DataFile* file, std::string_view text);

}  // namespace attune
