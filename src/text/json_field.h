// Typed access to a parsed JSON document with errors that name the file and the key. simdjson, since a
// tokenizer.json runs to tens of megabytes and is read before every run.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace attune {

// A value and where it stands. Cheap to copy; refers to the parser's document and to `where`.
class JsonField {
 public:
  JsonField(simdjson::dom::element value, std::string path, const std::string* where)
      : value_(value), path_(std::move(path)), where_(where) {}

  bool IsNull() const { return value_.is_null(); }
  bool IsObject() const { return value_.is_object(); }
  bool IsArray() const { return value_.is_array(); }
  bool IsString() const { return value_.is_string(); }

  std::string_view String() const { return As<std::string_view>("a string"); }
  bool Bool() const { return As<bool>("true or false"); }
  double Number() const { return As<double>("a number"); }

  int64_t Integer(int64_t low, int64_t high) const {
    int64_t value = 0;
    if (value_.get(value) != simdjson::SUCCESS || value < low || value > high) {
      Bad(fmt::format("must be a whole number from {} to {}", low, high));
    }
    return value;
  }

  // A member, which may not be missing or null.
  JsonField At(std::string_view key) const {
    std::optional<JsonField> field = Find(key);
    if (!field) Bad(fmt::format("lacks '{}'", key));
    return *field;
  }

  // A member, unless it is missing or null.
  std::optional<JsonField> Find(std::string_view key) const {
    simdjson::dom::element value;
    if (Object().at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
    return JsonField(value, Child(key), where_);
  }

  bool BoolOr(std::string_view key, bool otherwise) const {
    const std::optional<JsonField> field = Find(key);
    return field ? field->Bool() : otherwise;
  }

  std::vector<JsonField> Items() const {
    std::vector<JsonField> out;
    for (const simdjson::dom::element value : Array())
      out.emplace_back(value, Child(std::to_string(out.size())), where_);
    return out;
  }

  // For the large tables, where a path for every entry would cost too much.
  simdjson::dom::object Object() const { return As<simdjson::dom::object>("an object"); }
  simdjson::dom::array Array() const { return As<simdjson::dom::array>("an array"); }

  const std::string& where() const { return *where_; }
  std::string Place() const { return *where_ + ": " + (path_.empty() ? "the document" : path_); }

  [[noreturn]] void Bad(std::string_view what) const { BadInput("{} {}", Place(), what); }

 private:
  std::string Child(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }

  template <class T>
  T As(std::string_view what) const {
    T value;
    if (value_.get(value) != simdjson::SUCCESS) Bad(fmt::format("must be {}", what));
    return value;
  }

  simdjson::dom::element value_;
  std::string path_;
  const std::string* where_;
};

}  // namespace attune
