// Strict JSON with errors a person can act on: file, line, column. nlohmann-json does the parsing; this adds
// the place of the error, a nesting limit (copying, comparing and printing a parsed value recurse), and a
// size limit where order is kept (its ordered objects search linearly on every insertion).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace attune {

// Parses one JSON document; `where` names its source in errors. A key that occurs twice keeps its last value.
// Errors: Error{kBadInput} "WHERE:LINE:COLUMN: not valid JSON: ...", also for nesting deeper than 256.
nlohmann::json ParseJson(std::string_view text, const std::string& where);

// The same with objects in the order of the text. Errors: as ParseJson, and for more than 20000 keys in the
// document.
nlohmann::ordered_json ParseOrderedJson(std::string_view text, const std::string& where);

// The whole file at `path`.
nlohmann::json ParseJsonFile(const std::string& path);
nlohmann::json ParseJsonObjectFile(const std::string& path);  // Errors also where it is no object
nlohmann::ordered_json ParseOrderedJsonFile(const std::string& path);

}  // namespace attune
