// Attribute and item look-up under Jinja's sandbox: `a.b` prefers Python's attributes (methods) to keys,
// `a['b']` keys to attributes; names that begin with an underscore and methods that change a list or dict are
// refused on use.
#include <algorithm>

#include "text/jinja_interpreter.h"
#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

constexpr std::string_view kListMutators[] = {"append", "clear", "pop",    "reverse",
                                              "insert", "sort",  "extend", "remove"};
constexpr std::string_view kDictMutators[] = {"clear", "pop", "popitem", "setdefault", "update"};
// What every Python object has; others that begin with "__" are taken for ordinary keys.
constexpr std::string_view kInternals[] = {"__class__",        "__doc__",      "__init__", "__dict__",   "__len__",
                                           "__getitem__",      "__iter__",     "__str__",  "__repr__",   "__eq__",
                                           "__hash__",         "__contains__", "__add__",  "__module__", "__reduce__",
                                           "__getattribute__", "__new__"};

bool Among(std::string_view name, const auto& names) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool IsRefused(const Value& object, std::string_view name) {
  if (object.is(Kind::kList) && Among(name, kListMutators)) return true;
  if (object.is(Kind::kDict) && Among(name, kDictMutators)) return true;
  return name.starts_with("__") && Among(name, kInternals);
}

// The Python attribute, an undefined value that explains a refusal, or kMissing.
Value FindAttribute(Runtime& rt, const Value& object, const Value& name) {
  if (object.is(Kind::kLoop)) return LoopAttribute(rt, object, name.text());
  if (object.is(Kind::kNamespace)) {
    const Namespace& names = *object.name_space;
    for (size_t i = 0; i < names.size; ++i)
      if (names.entries[i].key.text() == name.text()) return names.entries[i].value;
    return {};
  }
  if (IsRefused(object, name.text())) {
    const Value hint =
        rt.String(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name.text(), TypeName(object)));
    return rt.NewUndefinedHint(hint.text());
  }
  return FindMethod(rt, object, name.text());
}

// object[key] of Python; kMissing where it raises TypeError or LookupError.
Value Subscript(Runtime& rt, const Value& object, const Value& key) {
  if (object.is(Kind::kDict)) {
    const Value* found = rt.Find(object, key);
    return found ? *found : Value();
  }
  if (!key.IsIntegral()) return {};
  const int64_t at = key.AsInt();
  const auto place = [at](int64_t size) { return at < 0 ? at + size : at; };
  switch (object.kind) {
    case Kind::kList:
    case Kind::kTuple: {
      const List& list = rt.Items(object);
      const int64_t i = place(static_cast<int64_t>(list.size));
      return i < 0 || i >= static_cast<int64_t>(list.size) ? Value() : list.items[i];
    }
    case Kind::kRange: {
      const int64_t i = place(object.range->size);
      return i < 0 || i >= object.range->size ? Value() : object.range->At(i);
    }
    case Kind::kString: {
      const std::string_view text = object.text();
      const int64_t i = at < 0 ? place(Length(rt, object)) : at;
      if (i < 0 || i >= object.length) return {};
      rt.Scan(static_cast<size_t>(i));
      const size_t start = ByteOffset(text, static_cast<size_t>(i));
      if (start >= text.size()) return {};
      Value v = Value::Borrow(text.substr(start, CodePointSize(text, start)));
      v.markup = object.markup;
      return v;
    }
    default:
      return {};
  }
}

}  // namespace

Value GetAttribute(Runtime& rt, const Value& object, const Value& name) {
  if (object.is(Kind::kUndefined)) rt.FailUndefined(object);
  Value found = FindAttribute(rt, object, name);
  if (found.is(Kind::kMissing)) found = Subscript(rt, object, name);
  return found.is(Kind::kMissing) ? rt.NoAttribute(object, name) : found;
}

Value GetItem(Runtime& rt, const Value& object, const Value& key) {
  if (object.is(Kind::kUndefined)) rt.FailUndefined(object);
  Value found = Subscript(rt, object, key);
  if (found.is(Kind::kMissing) && key.is(Kind::kString)) found = FindAttribute(rt, object, key);
  return found.is(Kind::kMissing) ? rt.NoAttribute(object, key) : found;
}

}  // namespace attune::jinja
