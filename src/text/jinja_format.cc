// Python's two string formatters: "%s %d" % values, and "{} {name}".format(...).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

constexpr int64_t kMaxWidth = 1 << 24, kMaxPrecision = 1 << 10;

struct Spec {
  std::string fill = " ";
  char align = 0, sign = '-', type = 0, grouping = 0;
  bool alternate = false;
  int64_t width = 0, precision = -1;
};

// Pads `text` to the width; '=' puts the padding after a sign.
void Pad(Runtime& rt, std::string_view text, const Spec& spec, char default_align, std::string* out) {
  const int64_t missing = spec.width - static_cast<int64_t>(CountCodePoints(text));
  const char align = spec.align ? spec.align : default_align;
  const size_t pad = missing > 0 ? static_cast<size_t>(missing) : 0;
  rt.Charge(text.size() + pad * spec.fill.size());
  const size_t prefix =
      align == '=' && !text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ') ? 1 : 0;
  const size_t left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
  *out += text.substr(0, prefix);
  for (size_t i = 0; i < left; ++i) *out += spec.fill;
  *out += text.substr(prefix);
  for (size_t i = left; i < pad; ++i) *out += spec.fill;
}

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

std::string IntegerText(int64_t number, const Spec& spec) {
  const uint64_t magnitude = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  std::string digits = Digits(magnitude, spec.type);
  if (spec.precision > static_cast<int64_t>(digits.size()))
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  if (spec.grouping) Group(&digits, spec.grouping);
  if (spec.alternate && spec.type != 'd' && spec.type != 0) digits = std::string{'0', spec.type} + digits;
  return Signed(number < 0, spec.sign, digits);
}

std::string FloatText(double number, const Spec& spec) {
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

int64_t ReadNumber(Runtime& rt, std::string_view text, size_t* at, int64_t limit) {
  int64_t number = 0;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') {
    number = number * 10 + (text[(*at)++] - '0');
    if (number > limit) rt.Fail("the width or precision of a format is too large");
  }
  return number;
}

// Python's ascii(): what repr leaves beyond ASCII, escaped.
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

// "%s" % value: walks the format and takes arguments in order, or by name from a mapping.
class PercentFormatter {
 public:
  PercentFormatter(Runtime& rt, const Value& format, const Value& value)
      : rt_(rt), format_(format.text()), escape_(format.markup), mapping_(value) {
    if (value.is(Kind::kTuple)) {
      args_ = rt.Items(value);
    } else {
      args_ = {&mapping_, 1, nullptr};
    }
  }

  std::string Run() {
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      rt_.Charge(percent - at_);
      out_ += format_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ < format_.size()) Directive();
    }
    // What can be subscripted passes for a mapping, and a mapping may have more than the format asks for.
    const bool mapping = mapping_.is(Kind::kDict) || mapping_.is(Kind::kList) || mapping_.is(Kind::kRange) ||
                         mapping_.is(Kind::kUndefined);
    if (next_ < args_.size && !mapping) rt_.Fail("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  char Peek() const {
    if (at_ >= format_.size()) rt_.Fail("incomplete format");
    return format_[at_];
  }

  Value Next() {
    if (next_ >= args_.size) rt_.Fail("not enough arguments for format string");
    return args_.items[next_++];
  }

  int64_t Number(int64_t limit) {
    if (Peek() != '*') return ReadNumber(rt_, format_, &at_, limit);
    ++at_;
    const Value value = Next();
    if (!value.IsIntegral()) rt_.Fail("* wants int");
    if (std::abs(std::max(value.AsInt(), -INT64_MAX)) > limit)
      rt_.Fail("the width or precision of a format is too large");
    return value.AsInt();
  }

  void Directive() {
    ++at_;
    Spec spec;
    Value value;
    if (Peek() == '(') {
      const size_t close = format_.find(')', at_);
      if (close == format_.npos) rt_.Fail("incomplete format key");
      if (!mapping_.is(Kind::kDict)) rt_.Fail("format requires a mapping");
      const std::string_view key = format_.substr(at_ + 1, close - at_ - 1);
      const Value* found = rt_.Find(mapping_, key);
      if (!found) rt_.Fail("no key '{}' for the format", key);
      value = *found;
      at_ = close + 1;
    }
    bool zero = false;
    for (; std::string_view("-+ #0").find(Peek()) != std::string_view::npos; ++at_) {
      const char flag = format_[at_];
      if (flag == '-') spec.align = '<';
      if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
      if (flag == '#') spec.alternate = true;
      if (flag == '0') zero = true;
    }
    spec.width = Number(kMaxWidth);
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (Peek() == '.') {
      ++at_;
      spec.precision = std::max<int64_t>(Number(kMaxPrecision), 0);
    }
    while (Peek() == 'l' || Peek() == 'h' || Peek() == 'L') ++at_;
    const char type = format_[at_++];
    if (type == '%') return void(out_ += '%');
    if (zero && spec.align == 0) {
      spec.fill = "0";
      spec.align = '=';
    }
    Convert(type, spec, value.is(Kind::kMissing) ? Next() : value);
  }

  void Convert(char type, Spec spec, const Value& value) {
    switch (type) {
      case 's':
      case 'r':
      case 'a':
        return Text(type, spec, value);
      case 'c':
        return Character(spec, value);
      case 'd':
      case 'i':
      case 'u':
        spec.type = 'd';
        break;
      case 'x':
      case 'X':
      case 'o':
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        spec.type = type;
        break;
      default:
        rt_.Fail("unsupported format character '{}'", type);
    }
    const bool integer = std::string_view("dxXo").find(spec.type) != std::string_view::npos;
    if (!value.IsNumber() || (spec.type != 'd' && integer && !value.IsIntegral()))
      rt_.Fail("%{} format: {} is required, not {}", type,
               integer && spec.type != 'd' ? "an integer" : "a real number", TypeName(value));
    if (!integer) return Pad(rt_, FloatText(value.AsDouble(), spec), spec, '>', &out_);
    if (value.is(Kind::kFloat) && !(std::fabs(value.real) < 9.2e18))
      rt_.Fail("cannot convert float to integer");
    const int64_t number = value.is(Kind::kFloat) ? static_cast<int64_t>(value.real) : value.AsInt();
    Pad(rt_, IntegerText(number, spec), spec, '>', &out_);
  }

  void Text(char type, const Spec& spec, const Value& value) {
    std::string text;
    type == 's' ? AppendStr(rt_, value, &text) : AppendRepr(rt_, value, &text);
    if (type == 'a') text = EscapeToAscii(text);
    if (escape_ && !(type == 's' && value.markup)) text = EscapeHtml(text);
    if (spec.precision >= 0) text.resize(ByteOffset(text, static_cast<size_t>(spec.precision)));
    Pad(rt_, text,
        Spec{spec.fill == "0" ? " " : spec.fill, spec.align == '=' ? '>' : spec.align, '-', 0, 0, false,
             spec.width, -1},
        '>', &out_);
  }

  void Character(const Spec& spec, const Value& value) {
    std::string text;
    if (value.is(Kind::kString) && CountCodePoints(value.text()) == 1) {
      text = value.text();
    } else if (value.IsIntegral() && value.AsInt() >= 0 && value.AsInt() < 0x110000 &&
               (value.AsInt() < 0xD800 || value.AsInt() > 0xDFFF)) {
      AppendCodePoint(static_cast<char32_t>(value.AsInt()), &text);
    } else {
      rt_.Fail("%c requires int or char");
    }
    Pad(rt_, text, spec, '>', &out_);
  }

  Runtime& rt_;
  std::string_view format_;
  bool escape_;
  Value mapping_;
  List args_;
  size_t next_ = 0, at_ = 0;
  std::string out_;
};

// "{}".format(...).
class BraceFormatter {
 public:
  BraceFormatter(Runtime& rt, const Value& format, const Args& args)
      : rt_(rt), escape_(format.markup), args_(args) {}

  std::string Run(std::string_view format, int level) {
    if (level > 2) rt_.Fail("Max string recursion exceeded");
    std::string out;
    for (size_t at = 0; at < format.size();) {
      const char c = format[at];
      if (c != '{' && c != '}') {
        const size_t end = std::min(format.find_first_of("{}", at), format.size());
        rt_.Charge(end - at);
        out += format.substr(at, end - at);
        at = end;
      } else if (at + 1 < format.size() && format[at + 1] == c) {
        out += c;
        at += 2;
      } else if (c == '}') {
        rt_.Fail("Single '}}' encountered in format string");
      } else {
        const size_t close = FieldEnd(format, at);
        Field(format.substr(at + 1, close - at - 1), level, &out);
        at = close + 1;
      }
    }
    return out;
  }

 private:
  size_t FieldEnd(std::string_view format, size_t at) const {
    int open = 0;
    for (size_t i = at; i < format.size(); ++i) {
      if (format[i] == '{') ++open;
      if (format[i] == '}' && --open == 0) return i;
    }
    rt_.Fail("expected '}}' before end of string");
  }

  void Field(std::string_view field, int level, std::string* out) {
    rt_.Step();
    size_t end = 0;
    bool bracket = false;
    for (; end < field.size(); ++end) {
      if (field[end] == '[') bracket = true;
      if (field[end] == ']') bracket = false;
      if (!bracket && (field[end] == '!' || field[end] == ':')) break;
    }
    Value value = Resolve(field.substr(0, end));
    std::string_view rest = field.substr(end);
    if (rest.starts_with('!')) {
      const char conversion = rest.size() > 1 ? rest[1] : 0;
      if ((conversion != 's' && conversion != 'r' && conversion != 'a') ||
          (rest.size() > 2 && rest[2] != ':'))
        rt_.Fail("bad conversion in format string");
      std::string text;
      conversion == 's' ? AppendStr(rt_, value, &text) : AppendRepr(rt_, value, &text);
      if (conversion == 'a') text = EscapeToAscii(text);
      value = rt_.String(text);
      rest.remove_prefix(2);
    }
    if (!rest.empty()) rest.remove_prefix(1);
    const std::string spec = Run(rest, level + 1);
    std::string text = FormatValue(value, spec);
    if (escape_ && !value.markup) text = EscapeHtml(text);
    *out += text;
  }

  Value Resolve(std::string_view path) {
    size_t at = std::min(path.find_first_of(".["), path.size());
    const std::string_view first = path.substr(0, at);
    Value value;
    int64_t index = 0;
    if (first.empty() || ParseInt(first, 10, &index)) {
      if (first.empty()) index = next_++;
      if (index < 0 || static_cast<size_t>(index) >= args_.count)
        rt_.Fail("Replacement index {} out of range for positional args tuple", index);
      value = args_.positional[index];
    } else {
      value = Named(first);
    }
    while (at < path.size()) {
      const bool item = path[at] == '[';
      const size_t end = std::min(item ? path.find(']', at) : path.find_first_of(".[", at + 1), path.size());
      const std::string_view name = path.substr(at + 1, end - at - 1);
      if (item && end == path.size()) rt_.Fail("Missing ']' in format string");
      if (item && ParseInt(name, 10, &index)) {
        value = GetItem(rt_, value, Value::Int(index));
      } else {
        value = (item ? GetItem : GetAttribute)(rt_, value, rt_.String(name));
      }
      at = end + (item ? 1 : 0);
      if (item && at < path.size() && path[at] != '.' && path[at] != '[')
        rt_.Fail("Only '.' or '[' may follow ']' in format field specifier");
    }
    return value;
  }

  Value Named(std::string_view name) const {
    for (size_t i = 0; i < args_.named_count; ++i)
      if (args_.named[i].name == name) return args_.named[i].value;
    rt_.Fail("the format names '{}', which is not among the arguments", name);
  }

  Spec ParseSpec(std::string_view text) const {
    Spec spec;
    size_t at = 0;
    const auto is_align = [&](size_t i) {
      return i < text.size() && std::string_view("<>=^").find(text[i]) != std::string_view::npos;
    };
    const size_t first = text.empty() ? 0 : CodePointSize(text, 0);
    if (!text.empty() && is_align(first)) {
      spec.fill = text.substr(0, first);
      spec.align = text[first];
      at = first + 1;
    } else if (is_align(0)) {
      spec.align = text[at++];
    }
    const auto take = [&](std::string_view set) {
      return at < text.size() && set.find(text[at]) != std::string_view::npos ? text[at++] : '\0';
    };
    if (const char sign = take("+- ")) spec.sign = sign;
    spec.alternate = take("#") != 0;
    if (take("0") && spec.align == 0) {
      spec.fill = "0";
      spec.align = '=';
    }
    spec.width = ReadNumber(rt_, text, &at, kMaxWidth);
    spec.grouping = take(",_");
    if (take(".")) spec.precision = ReadNumber(rt_, text, &at, kMaxPrecision);
    spec.type = take("bcdeEfFgGnosxX%");
    if (at != text.size()) rt_.Fail("invalid format specifier '{}'", text);
    return spec;
  }

  std::string FormatValue(const Value& value, std::string_view spec_text) {
    std::string text, out;
    const Spec spec = ParseSpec(spec_text);
    const bool integer_type =
        std::string_view("bcdoxXn").find(spec.type) != std::string_view::npos && spec.type;
    if (value.IsNumber() && !(value.is(Kind::kBool) && spec_text.empty())) {
      const bool as_integer = value.IsIntegral() && (spec.type == 0 || integer_type);
      if (!as_integer && (integer_type || spec.type == 's') && spec.type != 'n')
        rt_.Fail("Unknown format code '{}' for object of type '{}'", spec.type, TypeName(value));
      Spec number = spec;
      if (as_integer && (spec.type == 'n' || spec.type == 'c')) number.type = 'd';
      Pad(rt_, as_integer ? IntegerText(value.AsInt(), number) : FloatText(value.AsDouble(), spec), spec, '>',
          &out);
      return out;
    }
    if (spec.type != 0 && spec.type != 's')
      rt_.Fail("Unknown format code '{}' for object of type '{}'", spec.type, TypeName(value));
    if (!value.is(Kind::kString) && !spec_text.empty())
      rt_.Fail("unsupported format string passed to {}.__format__", TypeName(value));
    AppendStr(rt_, value, &text);
    if (spec.precision >= 0) text.resize(ByteOffset(text, static_cast<size_t>(spec.precision)));
    Pad(rt_, text, spec, '<', &out);
    return out;
  }

  Runtime& rt_;
  bool escape_;
  const Args& args_;
  int64_t next_ = 0;
};

}  // namespace

Value FormatPercent(Runtime& rt, const Value& format, const Value& value) {
  return rt.String(PercentFormatter(rt, format, value).Run(), format.markup);
}

Value FormatBraces(Runtime& rt, const Value& format, const Args& args) {
  return rt.String(BraceFormatter(rt, format, args).Run(format.text(), 0), format.markup);
}

bool ParseInt(std::string_view text, int base, int64_t* out) {
  text = Strip(text, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto prefixed = [&](char lower) {
    return text.size() > 2 && text[0] == '0' && (text[1] | 32) == lower;
  };
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
