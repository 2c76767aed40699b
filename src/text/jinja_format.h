// What Python's two string formatters share: a conversion's width, precision and flags, and numbers as they
// print.
#pragma once

#include <string>
#include <string_view>

#include "text/jinja_runtime.h"

namespace attune::jinja {

constexpr int64_t kMaxFormatWidth = 1 << 24, kMaxFormatPrecision = 1 << 10;

struct FormatSpec {
  std::string fill = " ";
  char align = 0, sign = '-', type = 0, grouping = 0;
  bool alternate = false;
  int64_t width = 0, precision = -1;
};

// Appends `text` padded to the width; alignment '=' puts the padding behind a sign.
void Pad(Runtime& rt, std::string_view text, const FormatSpec& spec, char default_align, std::string* out);

std::string IntegerText(int64_t number, const FormatSpec& spec);
std::string FloatText(double number, const FormatSpec& spec);

// The digits at `*at`, which moves past them. Throws beyond `limit`.
int64_t ReadFormatNumber(Runtime& rt, std::string_view text, size_t* at, int64_t limit);

// Python's ascii(): what repr leaves beyond ASCII, escaped.
std::string EscapeToAscii(std::string_view text);

}  // namespace attune::jinja
