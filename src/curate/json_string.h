// Strings of rows that are written.
#pragma once

#include <string>
#include <string_view>

namespace attune {

// `text`, which must be UTF-8, as a JSON string with its quotes.
void AppendJsonString(std::string_view text, std::string* out);

}  // namespace attune
