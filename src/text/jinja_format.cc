#include "text/jinja_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

std::string Digits(uint64_t number, char type) {
  char buffer[72];
  const int base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, base);
  std::string digits(buffer, end.ptr);
  if (type == 'X')
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char c) { return c >= 'a' ? static_cast<char>(c - 32) : c; });
  return digits;
}

void Group(std::string* digits, char separator) {
  size_t end = digits->find_first_not_of("0123456789");
  if (end == std::string::npos) end = digits->size();
  for (size_t at = end; at > 3; at -= 3) digits->insert(at - 3, 1, separator);
}

std::string Signed(bool negative, char sign, const std::string& digits) {
  return (negative ? "-" : sign == '-' ? "" : std::string(1, sign)) + digits;
}

}  // namespace

void Pad(Runtime& rt, std::string_view text, const FormatSpec& spec, char default_align, std::string* out) {
  const int64_t missing = spec.width - static_cast<int64_t>(CountCodePoints(text));
  const char align = spec.align ? spec.align : default_align;
  const size_t pad = missing > 0 ? static_cast<size_t>(missing) : 0;
  rt.Charge(text.size() + pad * spec.fill.size());
  const size_t prefix = align == '=' && !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
  const size_t left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
  *out += text.substr(0, prefix);
  for (size_t i = 0; i < left; ++i) *out += spec.fill;
  *out += text.substr(prefix);
  for (size_t i = left; i < pad; ++i) *out += spec.fill;
}

std::string IntegerText(int64_t number, const FormatSpec& spec) {
  const uint64_t magnitude = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  std::string digits = Digits(magnitude, spec.type);
  if (spec.precision > static_cast<int64_t>(digits.size()))
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  if (spec.grouping) Group(&digits, spec.grouping);
  if (spec.alternate && spec.type != 'd' && spec.type != 0) digits = std::string{'0', spec.type} + digits;
  return Signed(number < 0, spec.sign, digits);
}

std::string FloatText(double number, const FormatSpec& spec) {
  const double magnitude = std::fabs(number) * (spec.type == '%' ? 100 : 1);
  std::string digits;
  if (!std::isfinite(number)) {
    digits = std::isnan(number) ? "nan" : "inf";
  } else if (spec.type == 0 && spec.precision < 0) {
    AppendFloat(magnitude, &digits);
  } else {
    const char type = spec.type == 0 || spec.type == 'n' ? 'g' : spec.type == '%' ? 'f' : spec.type;
    const std::string format = std::string(spec.alternate ? "%#.*" : "%.*") + type;
    const int precision = spec.precision < 0 ? 6 : static_cast<int>(spec.precision);
    digits.resize(400 + static_cast<size_t>(precision));
    const int size = std::snprintf(digits.data(), digits.size(), format.c_str(), precision, magnitude);
    digits.resize(static_cast<size_t>(std::max(size, 0)));
    if (spec.type == 0 && digits.find_first_of(".en") == std::string::npos) digits += ".0";
  }
  if (spec.grouping) Group(&digits, spec.grouping);
  if (spec.type == '%') digits += '%';
  return Signed(std::signbit(number) && !std::isnan(number), spec.sign, digits);
}

int64_t ReadFormatNumber(Runtime& rt, std::string_view text, size_t* at, int64_t limit) {
  int64_t number = 0;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') {
    number = number * 10 + (text[(*at)++] - '0');
    if (number > limit) rt.Fail("the width or precision of a format is too large");
  }
  return number;
}

std::string EscapeToAscii(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at)) {
    const auto c = static_cast<uint32_t>(CodePointAt(text, at));
    out += c < 0x80      ? std::string(1, static_cast<char>(c))
           : c < 0x100   ? fmt::format("\\x{:02x}", c)
           : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                         : fmt::format("\\U{:08x}", c);
  }
  return out;
}

bool ParseInt(std::string_view text, int base, int64_t* out) {
  text = Strip(text, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto prefixed = [&](char lower) { return text.size() > 2 && text[0] == '0' && (text[1] | 32) == lower; };
  if ((base == 16 || base == 0) && prefixed('x')) text.remove_prefix(2), base = 16;
  if ((base == 8 || base == 0) && prefixed('o')) text.remove_prefix(2), base = 8;
  if ((base == 2 || base == 0) && prefixed('b')) text.remove_prefix(2), base = 2;
  if (base == 0) base = 10;
  std::string digits;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() && text[i - 1] != '_';
    if (text[i] != '_') {
      digits += text[i];
    } else if (!between) {
      return false;
    }
  }
  if (digits.empty() || digits[0] == '-' || digits[0] == '+') return false;
  if (negative) digits.insert(0, "-");
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), *out, base);
  return end.ec == std::errc() && end.ptr == digits.data() + digits.size();
}

bool ParseFloat(std::string_view text, double* out) {
  text = Strip(text, true, true);
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text.find_first_of("xXpP(") != text.npos || text.starts_with("-+")) return false;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (end.ptr != text.data() + text.size()) return false;
  if (end.ec == std::errc::result_out_of_range) *out = std::strtod(std::string(text).c_str(), nullptr);
  return true;
}

}  // namespace attune::jinja
