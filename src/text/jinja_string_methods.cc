// The methods of Python's str that templates may call.
#include <algorithm>
#include <unordered_map>

#include "text/jinja_methods.h"
#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

// A result keeps the mark of the string it came from.
Value Like(const Value& self, Value result) {
  result.markup = self.markup;
  return result;
}

Value Owned(Runtime& rt, const Value& self, const std::string& text) { return Like(self, rt.String(text)); }

template <std::string (*Map)(std::string_view)>
Value MapCase(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "str method", args, {});
  rt.Scan(self.length * 8);
  return Owned(rt, self, Map(self.text()));
}

template <bool left, bool right>
Value StripMethod(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "strip", args, {"chars"});
  rt.Scan(self.length);
  if (!s[0] || s[0]->is(Kind::kNone)) return Like(self, Value::Borrow(Strip(self.text(), left, right)));
  const std::string_view chars = s.Text(0);
  rt.Scan(self.length * chars.size());
  return Like(self, Value::Borrow(Strip(self.text(), chars, left, right)));
}

Value ListOfViews(Runtime& rt, const Value& self, const std::vector<std::string_view>& parts) {
  Value* items = rt.New<Value>(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) items[i] = Like(self, Value::Borrow(parts[i]));
  return rt.NewList(items, parts.size());
}

template <bool from_right>
Value SplitMethod(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "split", args, {"sep", "maxsplit"});
  rt.Scan(self.length * 4);
  std::string_view separator;
  if (s[0] && !s[0]->is(Kind::kNone)) {
    separator = s.Text(0);
    if (separator.empty()) rt.Fail("empty separator");
  }
  rt.Charge(self.length * 2);  // the list of parts, before it is made
  return ListOfViews(rt, self, Split(self.text(), separator, s.Int(1, -1), from_right));
}

Value SplitLinesMethod(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "splitlines", args, {"keepends"});
  rt.Scan(self.length * 4);
  rt.Charge(self.length * 2);
  return ListOfViews(rt, self, SplitLines(self.text(), s.Flag(0, false)));
}

template <bool from_right>
Value Partition(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "partition", args, {"sep"}, 1);
  const std::string_view text = self.text(), separator = s.Text(0);
  if (separator.empty()) rt.Fail("empty separator");
  rt.Scan(text.size());
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  const Value nothing = Like(self, Value::Borrow({}));
  if (at == text.npos) return from_right ? rt.Tuple({nothing, nothing, self}) : rt.Tuple({self, nothing, nothing});
  return rt.Tuple({Like(self, Value::Borrow(text.substr(0, at))), *s[0],
                   Like(self, Value::Borrow(text.substr(at + separator.size())))});
}

// The part of `self` that optional start and end arguments choose, and where it begins in code points; false
// when it would start behind the end, where nothing is found, not even an empty text.
bool Window(Runtime& rt, const Value& self, const Signature& s, std::string_view* part, int64_t* first) {
  *part = self.text();
  *first = 0;
  if (!s[1] && !s[2]) return true;
  const Value start = s.Or(1, Value::None());
  const int64_t size = Length(rt, self);
  if (start.IsIntegral() && start.AsInt() > size) return false;
  *part = Slice(rt, self, start, s.Or(2, Value::None()), Value::None()).text();
  if (start.IsIntegral()) *first = start.AsInt() < 0 ? std::max<int64_t>(start.AsInt() + size, 0) : start.AsInt();
  return true;
}

template <bool at_end>
Value StartsOrEnds(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, at_end ? "endswith" : "startswith", args, {"prefix", "start", "end"}, 1);
  std::string_view text;
  int64_t first = 0;
  const bool inside = Window(rt, self, s, &text, &first);
  const auto matches = [&](std::string_view affix) {
    return inside && (at_end ? text.ends_with(affix) : text.starts_with(affix));
  };
  if (!s[0]->is(Kind::kTuple)) return Value::Bool(matches(s.Text(0)));
  const List& affixes = rt.Items(*s[0]);
  for (size_t i = 0; i < affixes.size; ++i) {
    if (!affixes.items[i].is(Kind::kString))
      rt.Fail("tuple for {} must only contain str, not {}", at_end ? "endswith" : "startswith",
              TypeName(affixes.items[i]));
    if (matches(affixes.items[i].text())) return Value::Bool(true);
  }
  return Value::Bool(false);
}

template <bool from_right, bool must>
Value FindMethodOf(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, must ? "index" : "find", args, {"sub", "start", "end"}, 1);
  rt.Scan(self.length);
  int64_t first = 0;
  std::string_view text;
  const std::string_view sub = s.Text(0);
  const bool inside = Window(rt, self, s, &text, &first);
  const size_t at = !inside ? text.npos : from_right ? text.rfind(sub) : text.find(sub);
  if (at != text.npos) return Value::Int(first + static_cast<int64_t>(CountCodePoints(text.substr(0, at))));
  if (must) rt.Fail("substring not found");
  return Value::Int(-1);
}

Value CountMethod(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "count", args, {"sub", "start", "end"}, 1);
  rt.Scan(self.length);
  int64_t first = 0;
  std::string_view text;
  const std::string_view sub = s.Text(0);
  if (!Window(rt, self, s, &text, &first)) return Value::Int(0);
  if (sub.empty()) return Value::Int(static_cast<int64_t>(CountCodePoints(text)) + 1);
  int64_t count = 0;
  for (size_t at = text.find(sub); at != text.npos; at = text.find(sub, at + sub.size())) ++count;
  return Value::Int(count);
}

Value ReplaceMethod(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "replace", args, {"old", "new", "count"}, 2);
  std::string from(s.Text(0)), to(s.Text(1));
  if (self.markup && !s[0]->markup) from = EscapeHtml(from);
  if (self.markup && !s[1]->markup) to = EscapeHtml(to);
  return Like(self, ReplaceAll(rt, self.text(), from, to, s.Int(2, -1)));
}

Value JoinMethod(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "join", args, {"iterable"}, 1);
  const List list = rt.Iterate(*s[0]);
  std::string out;
  for (size_t i = 0; i < list.size; ++i) {
    const Value& item = list.items[i];
    if (!item.is(Kind::kString)) rt.Fail("sequence item {}: expected str instance, {} found", i, TypeName(item));
    rt.Charge(item.length + self.length);
    if (i) out += self.text();
    out += self.markup && !item.markup ? EscapeHtml(item.text()) : std::string(item.text());
  }
  return Owned(rt, self, out);
}

template <bool prefix>
Value RemoveAffix(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, prefix ? "removeprefix" : "removesuffix", args, {"affix"}, 1);
  std::string_view text = self.text();
  const std::string_view affix = s.Text(0);
  if (prefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!prefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return Like(self, Value::Borrow(text));
}

// -1: text at the left, 0: in the middle, 1: at the right.
template <int place>
Value Justify(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "ljust", args, {"width", "fillchar"}, 1);
  const std::string_view fill = s.Text(1, " ");
  if (CountCodePoints(fill) != 1) rt.Fail("the fill character must be exactly one character long");
  const int64_t width = s.Int(0, 0), size = Length(rt, self);
  if (width <= size) return self;
  const int64_t pad = width - size;
  rt.Charge(static_cast<size_t>(pad) * fill.size());
  const int64_t left = place < 0 ? 0 : place > 0 ? pad : pad / 2 + (pad & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += self.text();
  for (int64_t i = left; i < pad; ++i) out += fill;
  return Owned(rt, self, out);
}

Value ZeroFill(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "zfill", args, {"width"}, 1);
  const int64_t pad = s.Int(0, 0) - Length(rt, self);
  if (pad <= 0) return self;
  rt.Charge(static_cast<size_t>(pad));
  std::string out(self.text());
  out.insert(!out.empty() && (out[0] == '-' || out[0] == '+') ? 1 : 0, static_cast<size_t>(pad), '0');
  return Owned(rt, self, out);
}

Value SwapCase(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "swapcase", args, {});
  rt.Scan(self.length * 8);
  std::string out;
  const std::string_view text = self.text();
  for (size_t at = 0; at < text.size();) {
    const std::string_view one = text.substr(at, CodePointSize(text, at));
    out += IsUpper(CodePointAt(text, at)) ? Lower(one) : IsLower(CodePointAt(text, at)) ? Upper(one) : std::string(one);
    at += one.size();
  }
  return Owned(rt, self, out);
}

Value FormatMethod(Runtime& rt, const Value& self, const Args& args) { return FormatBraces(rt, self, args); }

Value FormatMap(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "format_map", args, {"mapping"}, 1);
  if (!s[0]->is(Kind::kDict)) rt.Fail("format_map() needs a mapping, not '{}'", TypeName(*s[0]));
  const Dict& dict = rt.Entries(*s[0]);
  std::vector<Args::Named> named;
  for (size_t i = 0; i < dict.size; ++i)
    if (dict.entries[i].key.is(Kind::kString)) named.push_back({dict.entries[i].key.text(), dict.entries[i].value});
  return FormatBraces(rt, self, {nullptr, 0, named.data(), named.size()});
}

bool IsAlphanumeric(char32_t c) { return IsAlpha(c) || IsNumericPoint(c); }
bool IsAscii(char32_t c) { return c < 0x80; }

// True when the text is not empty and every code point passes.
template <bool (*Test)(char32_t), bool when_empty = false>
Value All(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "str method", args, {});
  rt.Scan(self.length * 8);
  const std::string_view text = self.text();
  if (text.empty()) return Value::Bool(when_empty);
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at))
    if (!Test(CodePointAt(text, at))) return Value::Bool(false);
  return Value::Bool(true);
}

// islower, isupper: some cased code point and none of the other case.
template <bool upper>
Value CaseTest(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "str method", args, {});
  rt.Scan(self.length * 8);
  bool cased = false;
  const std::string_view text = self.text();
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at)) {
    const char32_t c = CodePointAt(text, at);
    if (!IsCased(c)) continue;
    if (upper ? !IsUpper(c) : !IsLower(c)) return Value::Bool(false);
    cased = true;
  }
  return Value::Bool(cased);
}

Value IsTitle(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "istitle", args, {});
  rt.Scan(self.length * 8);
  bool cased = false, inside = false;
  const std::string_view text = self.text();
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at)) {
    const char32_t c = CodePointAt(text, at);
    if (IsCased(c)) {
      if (IsLower(c) != inside) return Value::Bool(false);
      cased = true;
    }
    inside = IsCased(c);
  }
  return Value::Bool(cased);
}

Value IsIdentifier(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "isidentifier", args, {});
  rt.Scan(self.length * 8);
  const std::string_view text = self.text();
  for (size_t at = 0; at < text.size(); at += CodePointSize(text, at)) {
    const char32_t c = CodePointAt(text, at);
    if (c != '_' && !IsAlpha(c) && (at == 0 || !IsNumericPoint(c))) return Value::Bool(false);
  }
  return Value::Bool(!text.empty());
}

}  // namespace

Value ReplaceAll(Runtime& rt, std::string_view text, std::string_view from, std::string_view to, int64_t limit) {
  // The result's size is known before it is made: a template may multiply its input here.
  rt.Scan(text.size() * 2);
  size_t found = 0;
  if (from.empty()) {
    found = CountCodePoints(text) + 1;
  } else {
    for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + from.size())) ++found;
  }
  if (limit >= 0) found = std::min(found, static_cast<size_t>(limit));
  if (found == 0) return Value::Borrow(text);
  rt.Charge(text.size() + found * to.size());
  return rt.String(Replace(text, from, to, limit));
}

Function FindStringMethod(std::string_view name) {
  static const std::unordered_map<std::string_view, Function> methods = {
      {"capitalize", MapCase<Capitalize>},
      {"casefold", MapCase<Lower>},
      {"lower", MapCase<Lower>},
      {"title", MapCase<Title>},
      {"upper", MapCase<Upper>},
      {"swapcase", SwapCase},
      {"strip", StripMethod<true, true>},
      {"lstrip", StripMethod<true, false>},
      {"rstrip", StripMethod<false, true>},
      {"split", SplitMethod<false>},
      {"rsplit", SplitMethod<true>},
      {"splitlines", SplitLinesMethod},
      {"partition", Partition<false>},
      {"rpartition", Partition<true>},
      {"startswith", StartsOrEnds<false>},
      {"endswith", StartsOrEnds<true>},
      {"find", FindMethodOf<false, false>},
      {"rfind", FindMethodOf<true, false>},
      {"index", FindMethodOf<false, true>},
      {"rindex", FindMethodOf<true, true>},
      {"count", CountMethod},
      {"replace", ReplaceMethod},
      {"join", JoinMethod},
      {"removeprefix", RemoveAffix<true>},
      {"removesuffix", RemoveAffix<false>},
      {"ljust", Justify<-1>},
      {"center", Justify<0>},
      {"rjust", Justify<1>},
      {"zfill", ZeroFill},
      {"format", FormatMethod},
      {"format_map", FormatMap},
      {"isalnum", All<IsAlphanumeric>},
      {"isalpha", All<IsAlpha>},
      {"isascii", All<IsAscii, true>},
      {"isdecimal", All<IsDecimal>},
      {"isdigit", All<IsDigit>},
      {"isnumeric", All<IsNumericPoint>},
      {"isprintable", All<IsPrintable, true>},
      {"isspace", All<IsPythonSpace>},
      {"islower", CaseTest<false>},
      {"isupper", CaseTest<true>},
      {"istitle", IsTitle},
      {"isidentifier", IsIdentifier},
  };
  const auto found = methods.find(name);
  return found == methods.end() ? nullptr : found->second;
}

}  // namespace attune::jinja
