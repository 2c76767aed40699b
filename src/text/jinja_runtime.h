// What every operation of a rendering needs: the arena its values live in, the limits that keep a hostile
// template from taking the machine, the clock, and the place for error messages.
#pragma once

#include <fmt/format.h>

#include <ctime>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace attune::jinja {

// Bump allocation in growing blocks; nothing is freed before the end.
class Arena {
 public:
  void* Allocate(size_t bytes);
  size_t used() const { return used_; }

 private:
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* next_ = nullptr;
  size_t left_ = 0, block_size_ = 8192, used_ = 0;
};

class Interpreter;

using Variables = std::vector<std::pair<std::string_view, const nlohmann::ordered_json*>>;

class Runtime {
 public:
  Runtime(const std::string& where, const Variables& variables, const std::tm* now)
      : where_(where), variables_(variables), now_(now) {}

  // Throws Error{kBadInput} "WHERE:LINE: MESSAGE".
  [[noreturn]] void Fail(std::string_view message) const;
  template <class... A>
  [[noreturn]] void Fail(fmt::format_string<A...> format, A&&... args) const {
    Fail(std::string_view(fmt::format(format, std::forward<A>(args)...)));
  }
  // Throws what using this undefined value raises in Jinja.
  [[noreturn]] void FailUndefined(const Value& value) const;
  // raise_exception: the message alone, as the template's author wrote it.
  [[noreturn]] void FailVerbatim(std::string_view message) const;

  // Counts work; throws beyond the limit. Scans of text count a step for every 64 bytes.
  void Step(size_t steps = 1) {
    steps_ += steps;
    if (steps_ > step_limit_) RaiseLimits();
  }
  void Scan(size_t bytes) { Step(1 + bytes / 64); }
  // Counts bytes that the rendering holds or has written; throws beyond the limit.
  void Charge(size_t bytes) {
    charged_ += bytes;
    if (charged_ > memory_limit_) RaiseLimits();
  }

  // Uninitialised room for n objects without destructors. Throws beyond the memory limit.
  template <class T>
  T* New(size_t n) {
    static_assert(std::is_trivially_destructible_v<T>);
    if (n > kMaxItems) FailMemory();
    Charge(n * sizeof(T) + 16);
    return static_cast<T*>(arena_.Allocate(n * sizeof(T)));
  }
  template <class T>
  T* Make(T object) {
    return new (New<T>(1)) T(std::move(object));
  }

  Value String(std::string_view text, bool markup = false);                 // copies `text`
  Value NewList(const Value* items, size_t size, Kind kind = Kind::kList);  // takes the array
  Value ListOf(const std::vector<Value>& items, Kind kind = Kind::kList);   // copies it
  Value Tuple(std::initializer_list<Value> items);
  Value NewIterator(std::string_view type, const std::vector<Value>& items);
  // Later entries win over earlier ones of the same key, at the earlier one's place. Throws on an unhashable
  // key.
  Value NewDict(const std::vector<Entry>& entries);
  Value NewUndefined(std::string_view name);
  Value NewUndefinedHint(std::string_view hint);  // borrows `hint`
  Value NoAttribute(const Value& object, const Value& name);
  Value FromJson(const nlohmann::ordered_json& json);

  // The items of a list or tuple; the entries of a dict. They convert one level of the JSON context at first.
  const List& Items(const Value& sequence);
  const Dict& Entries(const Value& dict);
  const Value* Find(const Value& dict, const Value& key);  // null when absent; an unhashable key is absent
  const Value* Find(const Value& dict, std::string_view key) { return Find(dict, Value::Borrow(key)); }
  bool Hashable(const Value& value);

  // Everything that iterating over `value` gives; an iterator is used up. Throws "'int' object is not
  // iterable".
  List Iterate(const Value& value);
  bool Iterable(const Value& value) const;

  const std::tm* now() const { return now_; }
  Interpreter* interpreter = nullptr;
  uint32_t line = 0;

  // Guards every recursion, of the interpreter and over nested values.
  class Depth {
   public:
    explicit Depth(Runtime& rt) : rt_(rt) {
      if (++rt_.depth_ > kMaxDepth) rt_.FailDepth();
    }
    ~Depth() { --rt_.depth_; }

   private:
    Runtime& rt_;
  };

 private:
  static constexpr size_t kMaxItems = size_t{1} << 28;
  static constexpr int kMaxDepth = 900;

  [[noreturn]] void FailSteps() const;
  [[noreturn]] void FailMemory() const;
  [[noreturn]] void FailDepth();
  void RaiseLimits();
  size_t Hash(const Value& value);
  void BuildIndex(Dict* dict);
  const Entry* FindEntry(const Dict& dict, const Value& key);

  const std::string& where_;
  const Variables& variables_;
  const std::tm* now_;
  Arena arena_;
  size_t steps_ = 0, step_limit_ = 10'000'000;
  size_t charged_ = 0, memory_limit_ = size_t{64} << 20;
  bool limits_raised_ = false;
  int depth_ = 0;
};

// Reads the arguments of a call by name or position, as a Python signature does.
class Signature {
 public:
  // Throws when there are too many arguments, unknown names, or fewer than `required`.
  Signature(Runtime& rt, std::string_view function, const Args& args, std::initializer_list<std::string_view> names,
            size_t required = 0);
  // Null when not given.
  const Value* operator[](size_t i) const { return values_[i]; }
  int64_t Int(size_t i, int64_t fallback) const;                          // throws unless an int
  std::string_view Text(size_t i, std::string_view fallback = {}) const;  // throws unless a string
  bool Flag(size_t i, bool fallback) const { return values_[i] ? Truthy(*values_[i]) : fallback; }
  Value Or(size_t i, Value fallback) const { return values_[i] ? *values_[i] : fallback; }

 private:
  Runtime& rt_;
  std::string_view function_;
  const Value* values_[6] = {};
};

}  // namespace attune::jinja
