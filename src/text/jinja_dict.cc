// Dicts: entries in the order of insertion, found by a hash index once there are more than a few.
#include <algorithm>
#include <cmath>

#include "text/jinja_operators.h"
#include "text/jinja_runtime.h"

namespace attune::jinja {
namespace {

constexpr size_t kIndexFrom = 9;  // smaller dicts are searched entry by entry

}  // namespace

const Dict& Runtime::Entries(const Value& value) {
  Dict& dict = *value.dict;
  if (dict.pending) {
    dict.entries = New<Entry>(dict.size);
    size_t i = 0;
    for (const auto& [key, item] : dict.pending->get_ref<const nlohmann::ordered_json::object_t&>()) {
      if (key.size() > UINT32_MAX) FailMemory();
      dict.entries[i++] = {Value::Borrow(key), FromJson(item)};
    }
    dict.pending = nullptr;
    if (dict.size >= kIndexFrom) BuildIndex(&dict);
  }
  return dict;
}

bool Runtime::Hashable(const Value& value) {
  if (value.is(Kind::kTuple)) {
    Depth depth(*this);
    const List& list = Items(value);
    for (size_t i = 0; i < list.size; ++i) {
      Step();
      if (!Hashable(list.items[i])) return false;
    }
    return true;
  }
  return !value.is(Kind::kList) && !value.is(Kind::kDict);
}

// Equal values have equal hashes: 1, 1.0 and true are one key.
size_t Runtime::Hash(const Value& value) {
  switch (value.kind) {
    case Kind::kString:
      Scan(value.length);
      return std::hash<std::string_view>()(value.text());
    case Kind::kBool:
    case Kind::kInt:
      return std::hash<int64_t>()(value.AsInt());
    case Kind::kBigInt:
      return std::hash<uint64_t>()(value.big);
    case Kind::kFloat:
      if (std::fabs(value.real) < 9e18 && value.real == std::trunc(value.real))
        return std::hash<int64_t>()(static_cast<int64_t>(value.real));
      return std::hash<double>()(value.real);
    case Kind::kTuple: {
      Depth depth(*this);
      const List& list = Items(value);
      size_t hash = list.size;
      for (size_t i = 0; i < list.size; ++i) hash = hash * 1000003 ^ Hash(list.items[i]);
      return hash;
    }
    default:
      return static_cast<size_t>(value.kind);
  }
}

void Runtime::BuildIndex(Dict* dict) {
  size_t slots = 16;
  while (slots < dict->size * 2) slots *= 2;
  dict->index = New<uint32_t>(slots);
  std::fill_n(dict->index, slots, 0);
  dict->index_mask = slots - 1;
  for (size_t i = 0; i < dict->size; ++i) {
    size_t slot = Hash(dict->entries[i].key) & dict->index_mask;
    for (; dict->index[slot] != 0; slot = (slot + 1) & dict->index_mask) Step();
    dict->index[slot] = static_cast<uint32_t>(i + 1);
  }
}

const Entry* Runtime::FindEntry(const Dict& dict, const Value& key) {
  const auto same = [&](const Value& other) {
    if (key.is(Kind::kString) && other.is(Kind::kString)) return key.text() == other.text();
    return Equal(*this, other, key);
  };
  if (!dict.index) {
    for (size_t i = 0; i < dict.size; ++i)
      if (same(dict.entries[i].key)) return &dict.entries[i];
    return nullptr;
  }
  for (size_t slot = Hash(key) & dict.index_mask; dict.index[slot] != 0; slot = (slot + 1) & dict.index_mask) {
    Step();
    const Entry& entry = dict.entries[dict.index[slot] - 1];
    if (same(entry.key)) return &entry;
  }
  return nullptr;
}

const Value* Runtime::Find(const Value& dict, const Value& key) {
  if (!Hashable(key)) return nullptr;
  const Entry* entry = FindEntry(Entries(dict), key);
  return entry ? &entry->value : nullptr;
}

Value Runtime::NewDict(const std::vector<Entry>& entries) {
  Dict dict;
  dict.entries = New<Entry>(entries.size());
  Value v = Value::Of(Kind::kDict);
  if (entries.size() >= kIndexFrom) {  // an index of all slots first, filled as unique keys arrive
    size_t slots = 16;
    while (slots < entries.size() * 2) slots *= 2;
    dict.index = New<uint32_t>(slots);
    std::fill_n(dict.index, slots, 0);
    dict.index_mask = slots - 1;
  }
  for (const Entry& entry : entries) {
    Step();
    if (!Hashable(entry.key)) Fail("unhashable type: '{}'", TypeName(entry.key));
    if (const Entry* old = FindEntry(dict, entry.key)) {
      const_cast<Entry*>(old)->value = entry.value;
      continue;
    }
    dict.entries[dict.size++] = entry;
    if (!dict.index) continue;
    size_t slot = Hash(entry.key) & dict.index_mask;
    while (dict.index[slot] != 0) slot = (slot + 1) & dict.index_mask;
    dict.index[slot] = static_cast<uint32_t>(dict.size);
  }
  v.dict = Make(dict);
  return v;
}

}  // namespace attune::jinja
