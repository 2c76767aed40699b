// The methods of lists, tuples, dicts and integers that templates may call; strings have their own file.
#include "text/jinja_methods.h"

#include <cmath>

#include "text/jinja_operators.h"

namespace attune::jinja {
namespace {

Value NewView(Runtime& rt, std::string_view type, const Value& dict) {
  const Dict& d = rt.Entries(dict);
  View view{type, {rt.New<Value>(d.size), d.size, nullptr}, dict.dict};
  for (size_t i = 0; i < d.size; ++i) {
    const Entry& entry = d.entries[i];
    view.items.items[i] = type == "dict_keys"     ? entry.key
                          : type == "dict_values" ? entry.value
                                                  : rt.Tuple({entry.key, entry.value});
  }
  Value v = Value::Of(Kind::kView);
  v.view = rt.Make(view);
  return v;
}

Value DictKeys(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "keys", args, {});
  return NewView(rt, "dict_keys", self);
}

Value DictValues(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "values", args, {});
  return NewView(rt, "dict_values", self);
}

Value DictItems(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "items", args, {});
  return NewView(rt, "dict_items", self);
}

Value DictGet(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "get", args, {"key", "default"}, 1);
  if (!rt.Hashable(*s[0])) rt.Fail("unhashable type: '{}'", TypeName(*s[0]));
  const Value* found = rt.Find(self, *s[0]);
  return found ? *found : s.Or(1, Value::None());
}

// Nothing can change a list or dict, so a copy is the thing itself.
Value Copy(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "copy", args, {});
  return self;
}

Value ListCount(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "count", args, {"value"}, 1);
  const List list = rt.Iterate(self);
  int64_t count = 0;
  for (size_t i = 0; i < list.size; ++i) {
    rt.Step();
    count += Equal(rt, list.items[i], *s[0]);
  }
  return Value::Int(count);
}

Value ListIndex(Runtime& rt, const Value& self, const Args& args) {
  const Signature s(rt, "index", args, {"value"}, 1);
  const List list = rt.Iterate(self);
  for (size_t i = 0; i < list.size; ++i) {
    rt.Step();
    if (Equal(rt, list.items[i], *s[0])) return Value::Int(static_cast<int64_t>(i));
  }
  rt.Fail("the value is not in the {}", TypeName(self));
}

Value FloatIsInteger(Runtime& rt, const Value& self, const Args& args) {
  Signature(rt, "is_integer", args, {});
  return Value::Bool(self.real == std::trunc(self.real));
}

Function FindFunction(const Value& object, std::string_view name) {
  switch (object.kind) {
    case Kind::kString:
      return FindStringMethod(name);
    case Kind::kDict:
      if (name == "get") return DictGet;
      if (name == "items") return DictItems;
      if (name == "keys") return DictKeys;
      if (name == "values") return DictValues;
      return name == "copy" ? Copy : nullptr;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
      if (name == "count") return ListCount;
      if (name == "index") return ListIndex;
      return name == "copy" && object.is(Kind::kList) ? Copy : nullptr;
    case Kind::kFloat:
      return name == "is_integer" ? FloatIsInteger : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace

Value FindMethod(Runtime& rt, const Value& object, std::string_view name) {
  const Function function = FindFunction(object, name);
  if (!function) return {};
  Value v = Value::Of(Kind::kCallable);
  v.callable = rt.Make(Callable{name, function, object, nullptr, nullptr});
  return v;
}

}  // namespace attune::jinja
