// str.format: replacement fields in braces.
#include <algorithm>

#include "text/jinja_format.h"
#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

// "{}".format(...).
class BraceFormatter {
 public:
  BraceFormatter(Runtime& rt, const Value& format, const Args& args) : rt_(rt), escape_(format.markup), args_(args) {}

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
      if ((conversion != 's' && conversion != 'r' && conversion != 'a') || (rest.size() > 2 && rest[2] != ':'))
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

  FormatSpec ParseSpec(std::string_view text) const {
    FormatSpec spec;
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
    spec.width = ReadFormatNumber(rt_, text, &at, kMaxFormatWidth);
    spec.grouping = take(",_");
    if (take(".")) spec.precision = ReadFormatNumber(rt_, text, &at, kMaxFormatPrecision);
    spec.type = take("bcdeEfFgGnosxX%");
    if (at != text.size()) rt_.Fail("invalid format specifier '{}'", text);
    return spec;
  }

  std::string FormatValue(const Value& value, std::string_view spec_text) {
    std::string text, out;
    const FormatSpec spec = ParseSpec(spec_text);
    const bool integer_type = std::string_view("bcdoxXn").find(spec.type) != std::string_view::npos && spec.type;
    if (value.IsNumber() && !(value.is(Kind::kBool) && spec_text.empty())) {
      const bool as_integer = value.IsIntegral() && (spec.type == 0 || integer_type);
      if (!as_integer && (integer_type || spec.type == 's') && spec.type != 'n')
        rt_.Fail("Unknown format code '{}' for object of type '{}'", spec.type, TypeName(value));
      FormatSpec number = spec;
      if (as_integer && (spec.type == 'n' || spec.type == 'c')) number.type = 'd';
      Pad(rt_, as_integer ? IntegerText(value.AsInt(), number) : FloatText(value.AsDouble(), spec), spec, '>', &out);
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

Value FormatBraces(Runtime& rt, const Value& format, const Args& args) {
  return rt.String(BraceFormatter(rt, format, args).Run(format.text(), 0), format.markup);
}

}  // namespace attune::jinja
