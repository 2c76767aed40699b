#include "text/jinja_runtime.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

// Bytes of text and nodes of the variables, with a stack of its own: values may be nested deeply.
size_t JsonSize(const Variables& variables) {
  size_t bytes = 0;
  std::vector<const nlohmann::ordered_json*> todo;
  for (const auto& [name, value] : variables) todo.push_back(value);
  while (!todo.empty()) {
    const auto& json = *todo.back();
    todo.pop_back();
    bytes += 16;
    if (json.is_string()) {
      bytes += json.get_ref<const std::string&>().size();
    } else if (json.is_array()) {
      for (const auto& item : json) todo.push_back(&item);
    } else if (json.is_object()) {
      for (const auto& [key, item] : json.get_ref<const nlohmann::ordered_json::object_t&>()) {
        bytes += key.size();
        todo.push_back(&item);
      }
    }
  }
  return bytes;
}

}  // namespace

void* Arena::Allocate(size_t bytes) {
  bytes = (bytes + 15) & ~size_t{15};
  if (bytes > left_) {
    const size_t size = std::max(bytes, block_size_);
    block_size_ = std::min(block_size_ * 2, size_t{1} << 20);
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
    next_ = blocks_.back().get();
    left_ = size;
  }
  void* result = next_;
  next_ += bytes;
  left_ -= bytes;
  used_ += bytes;
  return result;
}

void Runtime::Fail(std::string_view message) const { BadInput("{}:{}: {}", where_, line, message); }

void Runtime::FailVerbatim(std::string_view message) const { throw Error(ErrorKind::kBadInput, std::string(message)); }

void Runtime::FailUndefined(const Value& value) const {
  const Undefined& u = *value.undefined;
  if (!u.hint.empty()) Fail(u.hint);
  std::string name;
  Runtime& self = const_cast<Runtime&>(*this);  // printing a value counts steps
  AppendRepr(self, u.name, &name);
  if (u.object.is(Kind::kMissing)) Fail("{} is undefined", name);
  const std::string type = u.object.is(Kind::kNone) ? "None" : std::string(TypeName(u.object)) + " object";
  if (u.name.is(Kind::kString)) Fail("'{}' has no attribute {}", type, name);
  Fail("{} has no element {}", type, name);
}

void Runtime::FailSteps() const {
  Fail("the template does more than {} steps of work; does a loop run away?", step_limit_);
}
void Runtime::FailMemory() const { Fail("the template needs more memory than a rendering may take"); }
void Runtime::FailDepth() {
  depth_ = 0;  // the message may print values
  Fail("nested too deeply (macros that call themselves, or values within values)");
}

void Runtime::RaiseLimits() {
  // Measuring the variables costs a walk over them, so it waits until a rendering is unusually large.
  if (!limits_raised_) {
    const size_t size = JsonSize(variables_);
    memory_limit_ += 64 * size;
    step_limit_ += size;
    limits_raised_ = true;
  }
  if (steps_ > step_limit_) FailSteps();
  if (charged_ > memory_limit_) FailMemory();
}

Value Runtime::String(std::string_view text, bool markup) {
  if (text.size() > UINT32_MAX) FailMemory();
  char* copy = New<char>(text.size());
  if (!text.empty()) std::memcpy(copy, text.data(), text.size());
  Value v = Value::Borrow({copy, text.size()});
  v.markup = markup;
  return v;
}

Value Runtime::NewList(const Value* items, size_t size, Kind kind) {
  Value v = Value::Of(kind);
  v.list = Make(List{const_cast<Value*>(items), size, nullptr});
  return v;
}

Value Runtime::ListOf(const std::vector<Value>& items, Kind kind) {
  Value* copy = New<Value>(items.size());
  std::copy(items.begin(), items.end(), copy);
  return NewList(copy, items.size(), kind);
}

Value Runtime::Tuple(std::initializer_list<Value> items) {
  Value* copy = New<Value>(items.size());
  std::copy(items.begin(), items.end(), copy);
  return NewList(copy, items.size(), Kind::kTuple);
}

Value Runtime::NewIterator(std::string_view type, const std::vector<Value>& items) {
  Value* copy = New<Value>(items.size());
  std::copy(items.begin(), items.end(), copy);
  Value v = Value::Of(Kind::kIterator);
  v.iterator = Make(Iterator{type, copy, items.size()});
  return v;
}

Value Runtime::NewUndefined(std::string_view name) {
  Value v = Value::Of(Kind::kUndefined);
  v.undefined = Make(Undefined{{}, {}, Value::Borrow(name)});
  return v;
}

Value Runtime::NewUndefinedHint(std::string_view hint) {
  Value v = Value::Of(Kind::kUndefined);
  v.undefined = Make(Undefined{hint, {}, {}});
  return v;
}

Value Runtime::NoAttribute(const Value& object, const Value& name) {
  Value v = Value::Of(Kind::kUndefined);
  v.undefined = Make(Undefined{{}, object, name});
  return v;
}

Value Runtime::FromJson(const nlohmann::ordered_json& json) {
  using Type = nlohmann::ordered_json::value_t;
  switch (json.type()) {
    case Type::string: {
      const auto& text = json.get_ref<const std::string&>();
      if (text.size() > UINT32_MAX) FailMemory();
      return Value::Borrow(text);
    }
    case Type::array: {
      Value v = Value::Of(Kind::kList);
      v.list = Make(List{nullptr, json.size(), &json});
      return v;
    }
    case Type::object: {
      Value v = Value::Of(Kind::kDict);
      v.dict = Make(Dict{nullptr, json.size(), &json});
      return v;
    }
    case Type::boolean:
      return Value::Bool(json.get<bool>());
    case Type::number_integer:
      return Value::Int(json.get<int64_t>());
    case Type::number_unsigned: {
      const uint64_t number = json.get<uint64_t>();
      if (number <= static_cast<uint64_t>(INT64_MAX)) return Value::Int(static_cast<int64_t>(number));
      Value v = Value::Of(Kind::kBigInt);
      v.big = number;
      return v;
    }
    case Type::number_float:
      return Value::Float(json.get<double>());
    default:
      return Value::None();
  }
}

const List& Runtime::Items(const Value& sequence) {
  List& list = *sequence.list;
  if (list.pending) {
    list.items = New<Value>(list.size);
    size_t i = 0;
    for (const auto& item : *list.pending) list.items[i++] = FromJson(item);
    list.pending = nullptr;
  }
  return list;
}

bool Runtime::Iterable(const Value& value) const {
  switch (value.kind) {
    case Kind::kUndefined:
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kRange:
    case Kind::kView:
    case Kind::kIterator:
    case Kind::kLoop:
      return true;
    default:
      return false;
  }
}

List Runtime::Iterate(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
      return {};
    case Kind::kList:
    case Kind::kTuple:
      return Items(value);
    case Kind::kView:
      return value.view->items;
    case Kind::kString: {
      List list{New<Value>(CountCodePoints(value.text())), 0, nullptr};
      Scan(value.length * 8);
      for (size_t at = 0; at < value.length;) {
        const size_t size = CodePointSize(value.text(), at);
        list.items[list.size++] = Value::Borrow(value.text().substr(at, size));
        at += size;
      }
      return list;
    }
    case Kind::kDict: {
      const Dict& dict = Entries(value);
      List list{New<Value>(dict.size), dict.size, nullptr};
      for (size_t i = 0; i < dict.size; ++i) list.items[i] = dict.entries[i].key;
      return list;
    }
    case Kind::kRange: {
      const Range& range = *value.range;
      List list{New<Value>(static_cast<size_t>(range.size)), static_cast<size_t>(range.size), nullptr};
      for (int64_t i = 0; i < range.size; ++i) list.items[i] = range.At(i);
      return list;
    }
    case Kind::kIterator: {
      Iterator& iterator = *value.iterator;
      List rest{const_cast<Value*>(iterator.items) + iterator.next, iterator.size - iterator.next, nullptr};
      iterator.next = iterator.size;
      return rest;
    }
    case Kind::kLoop:
      Fail("iterating over the loop variable is not supported; iterate over the sequence itself");
    default:
      Fail("'{}' object is not iterable", TypeName(value));
  }
}

}  // namespace attune::jinja
