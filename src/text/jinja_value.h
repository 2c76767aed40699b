// The values a chat template computes with: Python's, as far as Jinja templates see them. All are immutable
// but namespaces, loops and iterators, so parts are shared freely; all live in the arena of one rendering and
// die with it, so there is no reference count and no recursive destruction however deep a template nests
// them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

namespace attune::jinja {

class Runtime;
struct List;
struct Dict;
struct Range;
struct View;
struct Iterator;
struct Namespace;
struct Loop;
struct Callable;
struct Undefined;

enum class Kind : uint8_t {
  kMissing,  // no such variable; never seen by a template
  kUndefined,
  kNone,
  kBool,
  kInt,
  kBigInt,  // an integer between 2^63 and 2^64 - 1 of the JSON context: printed and compared, no arithmetic
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,      // dict.keys(), .values(), .items()
  kIterator,  // what Python's generators are: iterable once, no length
  kNamespace,
  kLoop,
  kCallable,
};

// 16 bytes, copied by value. Strings point into the arena, the template or the context, all of which outlive
// it.
struct Value {
  Kind kind = Kind::kMissing;
  bool markup = false;  // a string marked safe: `+` and `%` escape what is joined to it, as markupsafe does
  uint32_t length = 0;  // bytes of a string
  union {
    bool boolean;
    int64_t integer;
    uint64_t big;
    double real;
    const char* chars;
    List* list;
    Dict* dict;
    Range* range;
    View* view;
    Iterator* iterator;
    Namespace* name_space;
    Loop* loop;
    Callable* callable;
    Undefined* undefined;
  };

  Value() : integer(0) {}
  static Value None() { return Of(Kind::kNone); }
  static Value Bool(bool b) {
    Value v = Of(Kind::kBool);
    v.integer = 0;
    v.boolean = b;
    return v;
  }
  static Value Int(int64_t i) {
    Value v = Of(Kind::kInt);
    v.integer = i;
    return v;
  }
  static Value Float(double d) {
    Value v = Of(Kind::kFloat);
    v.real = d;
    return v;
  }
  // `text` must outlive the rendering. The caller has checked that it is shorter than 4 GiB.
  static Value Borrow(std::string_view text) {
    Value v = Of(Kind::kString);
    v.chars = text.data();
    v.length = static_cast<uint32_t>(text.size());
    return v;
  }
  static Value Of(Kind kind) {
    Value v;
    v.kind = kind;
    return v;
  }
  std::string_view text() const { return {chars, length}; }
  bool is(Kind k) const { return kind == k; }
  bool IsSequence() const { return kind == Kind::kList || kind == Kind::kTuple; }
  // Python's int, of which bool is a subclass.
  bool IsIntegral() const { return kind == Kind::kInt || kind == Kind::kBool; }
  bool IsNumber() const { return IsIntegral() || kind == Kind::kFloat; }
  int64_t AsInt() const { return kind == Kind::kBool ? boolean : integer; }
  double AsDouble() const { return kind == Kind::kFloat ? real : static_cast<double>(AsInt()); }
};

struct Entry {
  Value key, value;
};

// A list or tuple. Items of a JSON array become values when first asked for, one level at a time.
struct List {
  Value* items = nullptr;
  size_t size = 0;
  const nlohmann::ordered_json* pending = nullptr;
};

// Keys keep the order of insertion. Above a few entries `index` is an open-addressing hash table of 2^n slots
// holding 1 + the position of an entry.
struct Dict {
  Entry* entries = nullptr;
  size_t size = 0;
  const nlohmann::ordered_json* pending = nullptr;
  uint32_t* index = nullptr;
  size_t index_mask = 0;
};

struct Range {
  int64_t start, stop, step, size;
  Value At(int64_t i) const { return Value::Int(start + i * step); }
};

struct View {
  std::string_view type;  // dict_keys, dict_values, dict_items
  List items;
  Dict* of;
};

struct Iterator {
  std::string_view type;  // Python's name of it, for error messages
  const Value* items;
  size_t size, next = 0;
};

struct Namespace {
  Entry* entries = nullptr;
  size_t size = 0, capacity = 0;
};

// Why there is no value: the message is built only when somebody uses it.
struct Undefined {
  std::string_view hint;  // the whole message, or
  Value object;           // the object that has no `name` (kMissing: `name` is no variable)
  Value name;
};

struct Args {
  struct Named {
    std::string_view name;
    Value value;
  };
  const Value* positional = nullptr;
  size_t count = 0;
  const Named* named = nullptr;
  size_t named_count = 0;
};

using Function = Value (*)(Runtime& rt, const Value& self, const Args& args);

struct Macro;  // a macro definition (jinja_ast.h)
struct Scope;

// A method bound to its object, a global function, a macro, or {% call %}'s caller().
struct Callable {
  std::string_view name;
  Function function = nullptr;
  Value self;
  const Macro* macro = nullptr;
  Scope* scope = nullptr;  // where the macro was defined
};

// Python's name of the value's type, as error messages show it ("str", "NoneType").
std::string_view TypeName(const Value& value);

// bool(value).
bool Truthy(const Value& value);

}  // namespace attune::jinja
