#include "curate/json_string.h"

#include <fmt/format.h>

namespace attune {

void AppendJsonString(std::string_view text, std::string* out) {
  out->push_back('"');
  size_t from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out->append(text, from, i - from);
    from = i + 1;
    switch (c) {
      case '\n':
        *out += "\\n";
        break;
      case '\t':
        *out += "\\t";
        break;
      case '\r':
        *out += "\\r";
        break;
      case '"':
      case '\\':
        out->push_back('\\');
        out->push_back(static_cast<char>(c));
        break;
      default:
        *out += fmt::format("\\u{:04x}", c);
    }
  }
  out->append(text, from);
  out->push_back('"');
}

}  // namespace attune
