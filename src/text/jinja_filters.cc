// Filters over one value: text, numbers, defaults and JSON. Signatures and results as in Jinja's own filters,
// but for tojson, which is the one transformers puts in their place.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

#include "text/jinja_methods.h"
#include "text/jinja_operators.h"
#include "text/jinja_print.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

// Calls a str method on str(value), which is what many filters are.
Value Via(Runtime& rt, std::string_view method, const Value& value, const Args& args) {
  return FindStringMethod(method)(rt, ToStr(rt, value), args);
}

Value UpperFilter(Runtime& rt, const Value& v, const Args& args) { return Via(rt, "upper", v, args); }
Value LowerFilter(Runtime& rt, const Value& v, const Args& args) { return Via(rt, "lower", v, args); }
Value Capitalize(Runtime& rt, const Value& v, const Args& args) { return Via(rt, "capitalize", v, args); }
Value Trim(Runtime& rt, const Value& v, const Args& args) { return Via(rt, "strip", v, args); }

Value Center(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "center", args, {"width"});
  const Value width = s.Or(0, Value::Int(80));
  return Via(rt, "center", v, {&width, 1});
}

// Words begin after white space, hyphens and opening brackets.
Value Title(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "title", args, {});
  const Value text = ToStr(rt, v);
  rt.Scan(text.length * 8);
  std::string out;
  const std::string_view t = text.text();
  const auto separates = [&](size_t at) {
    return std::string_view("-({[<").find(t[at]) != std::string_view::npos || IsPythonSpace(CodePointAt(t, at));
  };
  for (size_t at = 0; at < t.size();) {
    const bool separator = separates(at);
    const size_t start = at;
    while (at < t.size() && separates(at) == separator) at += CodePointSize(t, at);
    const size_t first = CodePointSize(t, start);
    out += Upper(t.substr(start, first));
    out += Lower(t.substr(start + first, at - start - first));
  }
  return rt.String(out);
}

Value Replace(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "replace", args, {"old", "new", "count"}, 2);
  const bool all = !s[2] || s[2]->is(Kind::kNone);
  Value result =
      ReplaceAll(rt, ToStr(rt, v).text(), ToStr(rt, *s[0]).text(), ToStr(rt, *s[1]).text(), all ? -1 : s.Int(2, -1));
  result.markup = false;
  return result;
}

Value Default(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "default", args, {"default_value", "boolean"});
  const bool replace = v.is(Kind::kUndefined) || (s.Flag(1, false) && !Truthy(v));
  return replace ? s.Or(0, Value::Borrow({})) : v;
}

Value String(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "string", args, {});
  return ToStr(rt, v);
}

Value Safe(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "safe", args, {});
  Value text = ToStr(rt, v);
  text.markup = true;
  return text;
}

template <bool force>
Value Escape(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "escape", args, {});
  const Value text = ToStr(rt, v);
  if (text.markup && !force) return text;
  rt.Charge(text.length * 5);
  return rt.String(EscapeHtml(text.text()), true);
}

bool ToDouble(Runtime& rt, const Value& v, double* out) {
  if (v.is(Kind::kUndefined)) rt.FailUndefined(v);
  if (v.is(Kind::kString)) return ParseFloat(v.text(), out);
  if (v.is(Kind::kBigInt)) *out = static_cast<double>(v.big);
  if (v.IsNumber()) *out = v.AsDouble();
  return v.IsNumber() || v.is(Kind::kBigInt);
}

Value Int(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "int", args, {"default", "base"});
  const Value fallback = s.Or(0, Value::Int(0));
  const int64_t base = s.Int(1, 10);
  if (base != 0 && (base < 2 || base > 36)) rt.Fail("int() base must be >= 2 and <= 36, or 0");
  int64_t integer = 0;
  double real = 0;
  if (v.IsIntegral()) return Value::Int(v.AsInt());
  if (v.is(Kind::kBigInt)) return v;
  if (v.is(Kind::kString) && ParseInt(v.text(), static_cast<int>(base), &integer)) return Value::Int(integer);
  if (!ToDouble(rt, v, &real) || !std::isfinite(real)) return fallback;
  if (std::fabs(real) >= 9223372036854775807.0) rt.Fail("integer result does not fit in 64 bits");
  return Value::Int(static_cast<int64_t>(real));
}

Value Float(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "float", args, {"default"});
  double real = 0;
  return ToDouble(rt, v, &real) ? Value::Float(real) : s.Or(0, Value::Float(0));
}

Value Abs(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "abs", args, {});
  if (v.is(Kind::kFloat)) return Value::Float(std::fabs(v.real));
  if (!v.IsIntegral()) rt.Fail("bad operand type for abs(): '{}'", TypeName(v));
  return v.AsInt() < 0 ? Negate(rt, v) : Value::Int(v.AsInt());
}

// Python's round: to the nearest, halves to even, decided on the exact value.
double RoundHalfEven(double value, int64_t precision) {
  if (!std::isfinite(value) || precision > 330) return value;
  if (precision < -330) return std::copysign(0.0, value);
  if (precision >= 0) {
    char text[800];
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>(precision), value);
    return std::strtod(text, nullptr);
  }
  const double scale = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value / scale) * scale;
}

Value Round(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "round", args, {"precision", "method"});
  const int64_t precision = std::clamp<int64_t>(s.Int(0, 0), -400, 400);
  const std::string_view method = s.Text(1, "common");
  if (v.is(Kind::kUndefined)) rt.FailUndefined(v);
  if (!v.IsNumber()) rt.Fail("type {} doesn't define __round__ method", TypeName(v));
  if (method == "common") {
    if (v.IsIntegral() && precision >= 0) return Value::Int(v.AsInt());
    const double rounded = RoundHalfEven(v.AsDouble(), precision);
    return v.IsIntegral() ? Value::Int(static_cast<int64_t>(std::clamp(rounded, -9.2e18, 9.2e18)))
                          : Value::Float(rounded);
  }
  if (method != "ceil" && method != "floor") rt.Fail("method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(precision)), scaled = v.AsDouble() * scale;
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value Indent(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "indent", args, {"width", "first", "blank"});
  const bool by_text = s[0] && s[0]->is(Kind::kString);
  const int64_t width = by_text ? 0 : std::clamp<int64_t>(s.Int(0, 4), 0, 1 << 20);
  const std::string indention = by_text ? std::string(s.Text(0)) : std::string(static_cast<size_t>(width), ' ');
  const bool first = s.Flag(1, false), blank = s.Flag(2, false);
  if (v.is(Kind::kUndefined)) rt.FailUndefined(v);
  if (!v.is(Kind::kString)) rt.Fail("indent() needs a string, not '{}'", TypeName(v));
  rt.Scan(v.length * 4);
  rt.Charge(v.length * 2);
  const std::string text = std::string(v.text()) + "\n";
  const auto lines = SplitLines(text, false);
  std::string out = first ? indention : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    rt.Charge(lines[i].size() + indention.size() + 1);
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !lines[i].empty())) out += indention;
    out += lines[i];
  }
  return rt.String(out, v.markup);
}

Value Truncate(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "truncate", args, {"length", "killwords", "end", "leeway"});
  const int64_t length = s.Int(0, 255);
  const bool kill = s.Flag(1, false), leeway_given = s[3] && !s[3]->is(Kind::kNone);
  const std::string_view end = s.Text(2, "...");
  const int64_t leeway = leeway_given ? s.Int(3, 5) : 5, ending = static_cast<int64_t>(CountCodePoints(end));
  if (length < ending) rt.Fail("expected length >= {}, got {}", ending, length);
  if (leeway < 0) rt.Fail("expected leeway >= 0, got {}", leeway);
  const int64_t size = Length(rt, v);
  if (size <= length || size - length <= leeway) return v;
  if (!v.is(Kind::kString)) rt.Fail("truncate() needs a string, not '{}'", TypeName(v));
  std::string_view kept = v.text().substr(0, ByteOffset(v.text(), static_cast<size_t>(length - ending)));
  const size_t space = kept.rfind(' ');
  if (!kill && space != kept.npos) kept = kept.substr(0, space);
  return rt.String(std::string(kept) + std::string(end), v.markup);
}

Value WordCount(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "wordcount", args, {});
  const Value text = ToStr(rt, v);
  rt.Scan(text.length * 8);
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.length; at += CodePointSize(text.text(), at)) {
    const char32_t c = CodePointAt(text.text(), at);
    const bool word = c == '_' || IsAlpha(c) || IsNumericPoint(c);
    words += word && !inside;
    inside = word;
  }
  return Value::Int(words);
}

Value Format(Runtime& rt, const Value& v, const Args& args) {
  if (args.count > 0 && args.named_count > 0) rt.Fail("can't handle positional and keyword arguments at the same time");
  std::vector<Entry> named;
  for (size_t i = 0; i < args.named_count; ++i)
    named.push_back({Value::Borrow(args.named[i].name), args.named[i].value});
  const Value values = named.empty() ? rt.NewList(args.positional, args.count, Kind::kTuple) : rt.NewDict(named);
  return FormatPercent(rt, ToStr(rt, v), values);
}

std::string QuoteUrl(std::string_view text, bool query) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c == '_' || c == '.' ||
                       c == '-' || c == '~' || (c == '/' && !query);
    if (plain) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Value UrlEncode(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "urlencode", args, {});
  if (v.is(Kind::kString) || !rt.Iterable(v)) {
    const Value text = ToStr(rt, v);
    rt.Charge(text.length * 3);
    return rt.String(QuoteUrl(text.text(), false));
  }
  const Args none;
  const List pairs = rt.Iterate(v.is(Kind::kDict) ? FindMethod(rt, v, "items").callable->function(rt, v, none) : v);
  std::string out;
  for (size_t i = 0; i < pairs.size; ++i) {
    const List pair = rt.Iterate(pairs.items[i]);
    if (pair.size != 2) rt.Fail("urlencode() needs pairs of key and value");
    const Value key = ToStr(rt, pair.items[0]), value = ToStr(rt, pair.items[1]);
    rt.Charge((key.length + value.length) * 3 + 2);
    out += (i ? "&" : "") + QuoteUrl(key.text(), true) + "=" + QuoteUrl(value.text(), true);
  }
  return rt.String(out);
}

Value ToJson(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = s.Flag(0, false);
  style.sort_keys = s.Flag(3, false);
  style.multiline = s[1] && !s[1]->is(Kind::kNone);
  if (style.multiline) {
    style.item_separator = ",";
    style.indent = s[1]->is(Kind::kString)
                       ? std::string(s.Text(1))
                       : std::string(static_cast<size_t>(std::clamp<int64_t>(s.Int(1, 0), 0, 1 << 16)), ' ');
  }
  if (s[2] && !s[2]->is(Kind::kNone)) {
    const List pair = rt.Iterate(*s[2]);
    if (pair.size != 2 || !pair.items[0].is(Kind::kString) || !pair.items[1].is(Kind::kString))
      rt.Fail("separators must be a pair of strings");
    style.item_separator = pair.items[0].text();
    style.key_separator = pair.items[1].text();
  }
  std::string out;
  AppendJson(rt, v, style, &out);
  return rt.String(out);
}

Value Attr(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "attr", args, {"name"}, 1);
  if (v.is(Kind::kUndefined)) rt.FailUndefined(v);
  const std::string_view name = s.Text(0);
  const bool is_attribute = v.is(Kind::kNamespace) || v.is(Kind::kLoop) || !FindMethod(rt, v, name).is(Kind::kMissing);
  return is_attribute ? GetAttribute(rt, v, *s[0]) : rt.NoAttribute(v, *s[0]);
}

Value FileSize(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "filesizeformat", args, {"binary"});
  const bool binary = s.Flag(0, false);
  double bytes = 0;
  if (!ToDouble(rt, v, &bytes)) rt.Fail("filesizeformat() needs a number");
  const double base = binary ? 1024 : 1000;
  if (bytes == 1) return Value::Borrow("1 Byte");
  if (bytes < base) return rt.String(fmt::format("{} Bytes", std::trunc(bytes)));
  static constexpr std::string_view kPrefixes = "kMGTPEZY";
  size_t i = 0;
  double unit = base;
  while (i + 1 < kPrefixes.size() && bytes >= unit * base) {
    unit *= base;
    ++i;
  }
  const char prefix = binary && i == 0 ? 'K' : kPrefixes[i];
  return rt.String(fmt::format("{:.1f} {}{}B", bytes / unit, prefix, binary ? "i" : ""));
}

}  // namespace

Function FindTextFilter(std::string_view name) {
  static const std::unordered_map<std::string_view, Function> filters = {
      {"abs", Abs},
      {"attr", Attr},
      {"capitalize", Capitalize},
      {"center", Center},
      {"d", Default},
      {"default", Default},
      {"e", Escape<false>},
      {"escape", Escape<false>},
      {"filesizeformat", FileSize},
      {"float", Float},
      {"forceescape", Escape<true>},
      {"format", Format},
      {"indent", Indent},
      {"int", Int},
      {"lower", LowerFilter},
      {"replace", Replace},
      {"round", Round},
      {"safe", Safe},
      {"string", String},
      {"title", Title},
      {"tojson", ToJson},
      {"trim", Trim},
      {"truncate", Truncate},
      {"upper", UpperFilter},
      {"urlencode", UrlEncode},
      {"wordcount", WordCount},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

Function FindFilter(std::string_view name) {
  const Function text = FindTextFilter(name);
  return text ? text : FindSequenceFilter(name);
}

}  // namespace attune::jinja
