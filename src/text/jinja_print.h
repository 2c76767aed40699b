// JSON as transformers' tojson filter writes it: json.dumps with its separators, indentation and float
// format.
#pragma once

#include <string>

#include "text/jinja_runtime.h"

namespace attune::jinja {

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false, multiline = false;
  std::string indent;  // one level of it, with multiline
  std::string item_separator = ", ", key_separator = ": ";
};

// Throws for values that JSON has not (undefined, macros, generators).
void AppendJson(Runtime& rt, const Value& value, const JsonStyle& style, std::string* out);

}  // namespace attune::jinja
