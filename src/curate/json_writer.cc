#include "curate/json_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "curate/json_string.h"

namespace attune {
namespace {

namespace dom = simdjson::dom;

class JsonWriter {
 public:
  JsonWriter(const ReplacedStrings& replaced, std::string* out) : replaced_(replaced), out_(*out) {}

  void WriteObject(const dom::object& object, const ColumnMap& names) {
    out_ += '{';
    bool first = true;
    for (const auto field : object) {
      if (!std::exchange(first, false)) out_ += ", ";
      AppendJsonString(NameOf(field.key, names), &out_);
      out_ += ": ";
      Write(field.value);
    }
    out_ += '}';
  }

 private:
  static std::string_view NameOf(std::string_view key, const ColumnMap& names) {
    for (const auto& [name, column] : names) {
      if (key == column) return name;
    }
    return key;
  }

  void Write(const dom::element& value) {
    switch (value.type()) {
      case dom::element_type::OBJECT:
        return WriteObject(dom::object(value), {});
      case dom::element_type::ARRAY:
        return WriteArray(dom::array(value));
      case dom::element_type::STRING: {
        const std::string_view text(value);
        const auto found = std::lower_bound(replaced_.begin(), replaced_.end(), text.data(),
                                            [](const auto& entry, const char* place) { return entry.first < place; });
        const bool is_replaced = found != replaced_.end() && found->first == text.data();
        return AppendJsonString(is_replaced ? *found->second : text, &out_);
      }
      case dom::element_type::DOUBLE: {
        const std::string digits = fmt::format("{}", double(value));
        out_ += digits;
        if (digits.find_first_of(".e") == digits.npos) out_ += ".0";
        return;
      }
      default:
        out_ += simdjson::minify(value);
    }
  }

  void WriteArray(const dom::array& array) {
    out_ += '[';
    bool first = true;
    for (const dom::element item : array) {
      if (!std::exchange(first, false)) out_ += ", ";
      Write(item);
    }
    out_ += ']';
  }

  const ReplacedStrings& replaced_;
  std::string& out_;
};

}  // namespace

void AppendJsonObject(const dom::object& object, const ColumnMap& names, const ReplacedStrings& replaced,
                      std::string* out) {
  JsonWriter(replaced, out).WriteObject(object, names);
}

}  // namespace attune
