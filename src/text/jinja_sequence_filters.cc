// Filters over sequences and mappings, as in Jinja's own filters.
#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "text/jinja_methods.h"
#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

// Looks up "a.b.0" step by step on each item; without an attribute the item itself.
class Getter {
 public:
  Getter(Runtime& rt, const Value* attribute, bool ignore_case = false, const Value* fallback = nullptr)
      : rt_(rt), ignore_case_(ignore_case), fallback_(fallback && !fallback->is(Kind::kNone) ? fallback : nullptr) {
    if (!attribute || attribute->is(Kind::kNone)) return;
    if (!attribute->is(Kind::kString)) {
      parts_.push_back(*attribute);
      return;
    }
    for (const std::string_view part : Split(attribute->text(), ".", -1, false)) {
      int64_t index = 0;
      const auto end = std::from_chars(part.data(), part.data() + part.size(), index);
      const bool digits =
          !part.empty() && part[0] != '-' && end.ec == std::errc() && end.ptr == part.data() + part.size();
      parts_.push_back(digits ? Value::Int(index) : Value::Borrow(part));
    }
  }

  Value operator()(Value item) const {
    rt_.Step();
    for (const Value& part : parts_) {
      item = GetItem(rt_, item, part);
      if (fallback_ && item.is(Kind::kUndefined)) item = *fallback_;
    }
    if (!ignore_case_ || !item.is(Kind::kString)) return item;
    rt_.Scan(item.length * 8);
    return rt_.String(Lower(item.text()));
  }

 private:
  Runtime& rt_;
  bool ignore_case_;
  const Value* fallback_;
  std::vector<Value> parts_;
};

struct Keyed {
  Value key, item;
};

void SortKeyed(Runtime& rt, std::vector<Keyed>* items, bool reverse) {
  std::stable_sort(items->begin(), items->end(), [&](const Keyed& a, const Keyed& b) {
    rt.Step();
    return reverse ? Less(rt, b.key, a.key) : Less(rt, a.key, b.key);
  });
}

std::vector<Value> ItemsOf(const std::vector<Keyed>& keyed) {
  std::vector<Value> items;
  for (const Keyed& k : keyed) items.push_back(k.item);
  return items;
}

Value LengthFilter(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "length", args, {});
  return Value::Int(Length(rt, v));
}

Value First(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "first", args, {});
  if (v.is(Kind::kIterator) && v.iterator->next < v.iterator->size) return v.iterator->items[v.iterator->next++];
  const List list = rt.Iterate(v);
  return list.size > 0 ? list.items[0] : rt.NewUndefinedHint("No first item, sequence was empty.");
}

Value Last(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "last", args, {});
  if (v.is(Kind::kIterator) || !rt.Iterable(v)) rt.Fail("'{}' object is not reversible", TypeName(v));
  const List list = rt.Iterate(v);
  return list.size > 0 ? list.items[list.size - 1] : rt.NewUndefinedHint("No last item, sequence was empty.");
}

Value ListFilter(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "list", args, {});
  const List list = rt.Iterate(v);
  return rt.NewList(list.items, list.size);
}

Value Reverse(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "reverse", args, {});
  const Value none = Value::None();
  if (v.is(Kind::kString)) return Slice(rt, v, none, none, Value::Int(-1));
  if (!rt.Iterable(v)) rt.Fail("argument must be iterable");
  const List list = rt.Iterate(v);
  std::vector<Value> items(list.items, list.items + list.size);
  std::reverse(items.begin(), items.end());
  return v.is(Kind::kIterator) ? rt.ListOf(items) : rt.NewIterator("list_reverseiterator", items);
}

Value Join(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "join", args, {"d", "attribute"});
  const Getter get(rt, s[1]);
  const Value separator = s[0] ? ToStr(rt, *s[0]) : Value::Borrow({});
  const List list = rt.Iterate(v);
  std::string out;
  for (size_t i = 0; i < list.size; ++i) {
    if (i > 0) AppendStr(rt, separator, &out);
    AppendStr(rt, get(list.items[i]), &out);
  }
  return rt.String(out);
}

Value ItemsFilter(Runtime& rt, const Value& v, const Args& args) {
  Signature(rt, "items", args, {});
  if (v.is(Kind::kUndefined)) return rt.NewIterator("generator", {});
  if (!v.is(Kind::kDict)) rt.Fail("Can only get item pairs from a mapping.");
  const Dict& dict = rt.Entries(v);
  std::vector<Value> pairs;
  for (size_t i = 0; i < dict.size; ++i) pairs.push_back(rt.Tuple({dict.entries[i].key, dict.entries[i].value}));
  return rt.NewIterator("generator", pairs);
}

Value DictSort(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "dictsort", args, {"case_sensitive", "by", "reverse"});
  const std::string_view by = s.Text(1, "key");
  if (by != "key" && by != "value") rt.Fail("You can only sort by either \"key\" or \"value\"");
  if (v.is(Kind::kUndefined)) rt.FailUndefined(v);
  if (!v.is(Kind::kDict)) rt.Fail("'{}' object has no attribute 'items'", TypeName(v));
  const Getter get(rt, nullptr, !s.Flag(0, false));
  const Dict& dict = rt.Entries(v);
  std::vector<Keyed> keyed;
  for (size_t i = 0; i < dict.size; ++i) {
    const Entry& entry = dict.entries[i];
    keyed.push_back({get(by == "key" ? entry.key : entry.value), rt.Tuple({entry.key, entry.value})});
  }
  SortKeyed(rt, &keyed, s.Flag(2, false));
  return rt.ListOf(ItemsOf(keyed));
}

Value Sort(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "sort", args, {"reverse", "case_sensitive", "attribute"});
  std::vector<Getter> getters;
  const bool ignore_case = !s.Flag(1, false);
  std::vector<Value> names;  // kept: a Getter reads its name only while it is made
  if (s[2] && s[2]->is(Kind::kString)) {
    for (const std::string_view name : Split(s[2]->text(), ",", -1, false)) names.push_back(Value::Borrow(name));
  } else {
    names.push_back(s.Or(2, Value::None()));
  }
  for (const Value& name : names) getters.emplace_back(rt, &name, ignore_case);
  const List list = rt.Iterate(v);
  std::vector<Keyed> keyed;
  for (size_t i = 0; i < list.size; ++i) {
    std::vector<Value> keys;
    for (const Getter& get : getters) keys.push_back(get(list.items[i]));
    keyed.push_back({keys.size() == 1 ? keys[0] : rt.ListOf(keys), list.items[i]});
  }
  SortKeyed(rt, &keyed, s.Flag(0, false));
  return rt.ListOf(ItemsOf(keyed));
}

Value Unique(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "unique", args, {"case_sensitive", "attribute"});
  const Getter get(rt, s[1], !s.Flag(0, false));
  const List list = rt.Iterate(v);
  std::vector<Value> keys, items;
  for (size_t i = 0; i < list.size; ++i) {
    const Value key = get(list.items[i]);
    if (!rt.Hashable(key)) rt.Fail("unhashable type: '{}'", TypeName(key));
    rt.Step(keys.size());
    const bool seen = std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return Equal(rt, k, key); });
    if (seen) continue;
    keys.push_back(key);
    items.push_back(list.items[i]);
  }
  return rt.NewIterator("generator", items);
}

template <bool largest>
Value Extreme(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, largest ? "max" : "min", args, {"case_sensitive", "attribute"});
  const Getter get(rt, s[1], !s.Flag(0, false));
  const List list = rt.Iterate(v);
  if (list.size == 0) return rt.NewUndefinedHint("No aggregated item, sequence was empty.");
  size_t best = 0;
  Value best_key = get(list.items[0]);
  for (size_t i = 1; i < list.size; ++i) {
    const Value key = get(list.items[i]);
    if (largest ? !Less(rt, best_key, key) : !Less(rt, key, best_key)) continue;
    best = i;
    best_key = key;
  }
  return list.items[best];
}

Value Sum(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "sum", args, {"attribute", "start"});
  const Getter get(rt, s[0]);
  Value total = s.Or(1, Value::Int(0));
  if (total.is(Kind::kString)) rt.Fail("sum() can't sum strings [use ''.join(seq) instead]");
  const List list = rt.Iterate(v);
  for (size_t i = 0; i < list.size; ++i) total = Arithmetic(rt, Op::kAdd, total, get(list.items[i]));
  return total;
}

Value GroupBy(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "groupby", args, {"attribute", "default", "case_sensitive"}, 1);
  const Value* fallback = s[1];
  const Getter get(rt, s[0], !s.Flag(2, false), fallback), original(rt, s[0], false, fallback);
  const List list = rt.Iterate(v);
  std::vector<Keyed> keyed;
  for (size_t i = 0; i < list.size; ++i) keyed.push_back({get(list.items[i]), list.items[i]});
  SortKeyed(rt, &keyed, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < keyed.size();) {
    std::vector<Value> members;
    const Value first = keyed[i].item, key = keyed[i].key;
    for (; i < keyed.size() && Equal(rt, keyed[i].key, key); ++i) members.push_back(keyed[i].item);
    if (members.empty()) members.push_back(keyed[i++].item);  // a key that does not equal itself
    groups.push_back(rt.Tuple({original(first), rt.ListOf(members)}));
  }
  return rt.ListOf(groups);
}

Value Batch(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "batch", args, {"linecount", "fill_with"}, 1);
  const int64_t size = s.Int(0, 1);
  const Value fill = s.Or(1, Value::None());
  if (size < 1) rt.Fail("batch() needs a positive size");
  const List list = rt.Iterate(v);
  std::vector<Value> batches;
  for (size_t at = 0; at < list.size;) {
    const size_t count = std::min(static_cast<size_t>(size), list.size - at);
    std::vector<Value> batch(list.items + at, list.items + at + count);
    if (!fill.is(Kind::kNone) && count < static_cast<size_t>(size)) {
      rt.Charge(static_cast<size_t>(std::min<int64_t>(size, INT32_MAX)) * sizeof(Value) * 2);
      batch.resize(static_cast<size_t>(size), fill);
    }
    batches.push_back(rt.ListOf(batch));
    at += count;
  }
  return rt.NewIterator("generator", batches);
}

Value SliceFilter(Runtime& rt, const Value& v, const Args& args) {
  const Signature s(rt, "slice", args, {"slices", "fill_with"}, 1);
  const int64_t count = s.Int(0, 1);
  if (count < 1) rt.Fail("slice() needs a positive number of slices");
  const List list = rt.Iterate(v);
  const auto slices = static_cast<size_t>(count);
  rt.Step(slices);
  const size_t each = list.size / slices, extra = list.size % slices;
  std::vector<Value> out;
  for (size_t i = 0, at = 0; i < slices; ++i) {
    const size_t size = each + (i < extra ? 1 : 0);
    std::vector<Value> part(list.items + at, list.items + at + size);
    if (i >= extra && s[1] && !s[1]->is(Kind::kNone)) part.push_back(*s[1]);
    out.push_back(rt.ListOf(part));
    at += size;
  }
  return rt.NewIterator("generator", out);
}

Args Rest(const Args& args, size_t skip) {
  Args rest = args;
  rest.positional += skip;
  rest.count -= skip;
  return rest;
}

Value Map(Runtime& rt, const Value& v, const Args& args) {
  std::vector<Value> out;
  if (!Truthy(v)) return rt.NewIterator("generator", out);
  const List list = rt.Iterate(v);
  if (args.count == 0) {
    const Signature s(rt, "map", args, {"attribute", "default"});
    if (!s[0]) rt.Fail("map requires a filter argument");
    const Getter get(rt, s[0], false, s[1]);
    for (size_t i = 0; i < list.size; ++i) out.push_back(get(list.items[i]));
  } else {
    const Value name = ToStr(rt, args.positional[0]);
    const Function filter = FindFilter(name.text());
    if (!filter) rt.Fail("No filter named '{}'.", name.text());
    const Args rest = Rest(args, 1);
    for (size_t i = 0; i < list.size; ++i) {
      rt.Step();
      out.push_back(filter(rt, list.items[i], rest));
    }
  }
  return rt.NewIterator("generator", out);
}

template <bool keep, bool by_attribute>
Value Select(Runtime& rt, const Value& v, const Args& args) {
  std::vector<Value> out;
  if (!Truthy(v)) return rt.NewIterator("generator", out);
  constexpr size_t kOffset = by_attribute ? 1 : 0;
  if (args.count < kOffset) rt.Fail("Missing parameter for attribute name");
  const Getter get(rt, by_attribute ? &args.positional[0] : nullptr);
  Function test = nullptr;
  Args rest;
  if (args.count > kOffset) {
    const Value name = ToStr(rt, args.positional[kOffset]);
    test = FindTest(name.text());
    if (!test) rt.Fail("No test named '{}'.", name.text());
    rest = Rest(args, kOffset + 1);
  }
  const List list = rt.Iterate(v);
  for (size_t i = 0; i < list.size; ++i) {
    const Value subject = get(list.items[i]);
    const bool passes = Truthy(test ? test(rt, subject, rest) : subject);
    if (passes == keep) out.push_back(list.items[i]);
  }
  return rt.NewIterator("generator", out);
}

}  // namespace

Function FindSequenceFilter(std::string_view name) {
  static const std::unordered_map<std::string_view, Function> filters = {
      {"batch", Batch},
      {"count", LengthFilter},
      {"dictsort", DictSort},
      {"first", First},
      {"groupby", GroupBy},
      {"items", ItemsFilter},
      {"join", Join},
      {"last", Last},
      {"length", LengthFilter},
      {"list", ListFilter},
      {"map", Map},
      {"max", Extreme<true>},
      {"min", Extreme<false>},
      {"reject", Select<false, false>},
      {"rejectattr", Select<false, true>},
      {"reverse", Reverse},
      {"select", Select<true, false>},
      {"selectattr", Select<true, true>},
      {"slice", SliceFilter},
      {"sort", Sort},
      {"sum", Sum},
      {"unique", Unique},
  };
  const auto found = filters.find(name);
  return found == filters.end() ? nullptr : found->second;
}

}  // namespace attune::jinja
