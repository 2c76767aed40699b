// The functions a chat template finds without being given them: Jinja's range, dict and namespace, and
// transformers' raise_exception and strftime_now.
#include <algorithm>

#include "text/jinja_methods.h"
#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

constexpr uint64_t kMaxRange = 100000;  // the sandbox's own limit

Value RangeFunction(Runtime& rt, const Value&, const Args& args) {
  const Signature s(rt, "range", args, {"start", "stop", "step"}, 1);
  const int64_t start = s[1] ? s.Int(0, 0) : 0, stop = s[1] ? s.Int(1, 0) : s.Int(0, 0), step = s.Int(2, 1);
  if (step == 0) rt.Fail("range() arg 3 must not be zero");
  // Unsigned, so that no distance or stride overflows.
  const auto from = static_cast<uint64_t>(start), to = static_cast<uint64_t>(stop);
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const bool empty = step > 0 ? start >= stop : start <= stop;
  const uint64_t size = empty ? 0 : ((step > 0 ? to - from : from - to) - 1) / stride + 1;
  if (size > kMaxRange) rt.Fail("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kMaxRange);
  Value v = Value::Of(Kind::kRange);
  v.range = rt.Make(Range{start, stop, step, static_cast<int64_t>(size)});
  return v;
}

// The entries that dict(...) of the arguments would hold.
std::vector<Entry> DictEntries(Runtime& rt, std::string_view function, const Args& args) {
  std::vector<Entry> entries;
  if (args.count > 1) rt.Fail("{} expected at most 1 argument, got {}", function, args.count);
  if (args.count == 1 && args.positional[0].is(Kind::kDict)) {
    const Dict& dict = rt.Entries(args.positional[0]);
    entries.assign(dict.entries, dict.entries + dict.size);
  } else if (args.count == 1) {
    const List pairs = rt.Iterate(args.positional[0]);
    for (size_t i = 0; i < pairs.size; ++i) {
      const List pair = rt.Iterate(pairs.items[i]);
      if (pair.size != 2) rt.Fail("element {} of the argument of {} is not a pair", i, function);
      entries.push_back({pair.items[0], pair.items[1]});
    }
  }
  for (size_t i = 0; i < args.named_count; ++i)
    entries.push_back({Value::Borrow(args.named[i].name), args.named[i].value});
  return entries;
}

Value DictFunction(Runtime& rt, const Value&, const Args& args) { return rt.NewDict(DictEntries(rt, "dict", args)); }

Value NamespaceFunction(Runtime& rt, const Value&, const Args& args) {
  const Value dict = rt.NewDict(DictEntries(rt, "namespace", args));
  for (size_t i = 0; i < dict.dict->size; ++i) {
    const Value& key = dict.dict->entries[i].key;
    if (!key.is(Kind::kString)) rt.Fail("the attributes of a namespace must be strings, not '{}'", TypeName(key));
    if (key.text().starts_with('_'))
      rt.Fail("Chat templates cannot store underscore-prefixed attributes on a namespace: '{}'", key.text());
  }
  Value v = Value::Of(Kind::kNamespace);
  v.name_space = rt.Make(Namespace{dict.dict->entries, dict.dict->size, dict.dict->size});
  return v;
}

Value RaiseException(Runtime& rt, const Value&, const Args& args) {
  const Signature s(rt, "raise_exception", args, {"message"}, 1);
  rt.FailVerbatim(ToStr(rt, *s[0]).text());
}

Value StrftimeNow(Runtime& rt, const Value&, const Args& args) {
  const Signature s(rt, "strftime_now", args, {"format"}, 1);
  const std::string_view given = s.Text(0);
  if (given.size() > 1024) rt.Fail("strftime_now(): the format is too long");
  std::string format;
  for (size_t i = 0; i < given.size(); ++i) {  // directives that Python has and a time without a zone leaves empty
    const char directive = given[i] == '%' && i + 1 < given.size() ? given[i + 1] : '\0';
    if (directive == 'f') {
      format += "000000";
    } else if (directive == '%') {
      format += "%%";
    } else if (directive != 'z' && directive != 'Z') {
      format += given[i];
      continue;
    }
    ++i;
  }
  std::tm now{};
  if (rt.now()) {
    now = *rt.now();
  } else {
    const std::time_t seconds = std::time(nullptr);
    localtime_r(&seconds, &now);
  }
  format += '.';  // so that an empty result differs from a buffer too small
  std::string out(format.size() * 64 + 256, '\0');
  const size_t size = std::strftime(out.data(), out.size(), format.c_str(), &now);
  if (size == 0) rt.Fail("strftime_now(): the format '{}' makes too long a text", given);
  return rt.String(std::string_view(out).substr(0, size - 1));
}

}  // namespace

Function FindGlobal(std::string_view name) {
  if (name == "range") return RangeFunction;
  if (name == "dict") return DictFunction;
  if (name == "namespace") return NamespaceFunction;
  if (name == "raise_exception") return RaiseException;
  if (name == "strftime_now") return StrftimeNow;
  return nullptr;
}

}  // namespace attune::jinja
