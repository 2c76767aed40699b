#include "eval/json_answer.h"

#include <algorithm>
#include <charconv>
#include <regex>
#include <unordered_set>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "base/error.h"
#include "base/nearest.h"
#include "eval/text_metrics.h"
#include "formats/json.h"

namespace attune {
namespace {

using Json = nlohmann::json;

// Of drafts 4 to 7; those in the second and third list hold schemas: by name, and as a value or in a list.
const std::vector<std::string> kPlainKeywords = {"$schema",
                                                 "$id",
                                                 "id",
                                                 "$ref",
                                                 "$comment",
                                                 "title",
                                                 "description",
                                                 "default",
                                                 "examples",
                                                 "type",
                                                 "enum",
                                                 "const",
                                                 "format",
                                                 "multipleOf",
                                                 "maximum",
                                                 "exclusiveMaximum",
                                                 "minimum",
                                                 "exclusiveMinimum",
                                                 "maxLength",
                                                 "minLength",
                                                 "pattern",
                                                 "maxItems",
                                                 "minItems",
                                                 "uniqueItems",
                                                 "maxProperties",
                                                 "minProperties",
                                                 "required",
                                                 "readOnly",
                                                 "writeOnly"};
const std::vector<std::string> kNamedSchemas = {"properties", "patternProperties", "definitions", "$defs",
                                                "dependencies"};
const std::vector<std::string> kSchemas = {
    "items", "additionalItems", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "allOf",
    "anyOf", "oneOf",           "not"};

bool IsIn(const std::vector<std::string>& list, const std::string& key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

// "%25" as in a reference's fragment -> "%".
std::string PercentDecoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    const char* const digits = text.data() + i + 1;
    const bool is_code =
        text[i] == '%' && i + 2 < text.size() && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2;
    out += is_code ? static_cast<char>(byte) : text[i];
    if (is_code) i += 2;
  }
  return out;
}

// What valijson does not look at: keywords it would pass over, and references it would follow until the stack ends.
class SchemaCheck {
 public:
  SchemaCheck(const Json& root, const std::string& where) : root_(root), where_(where) {}

  void Run() {
    CheckSchemas(root_);
    // A reference may lead to where no schema is looked for, as into "default".
    for (size_t i = 0; i < targets_.size(); ++i) CheckSchemas(*targets_[i]);
    if (!targets_.empty() && seen_.size() > kMostSchemas) RefuseSoMany();
  }

 private:
  // Schemas that refer to each other are read, and held against a document, by recursion.
  static constexpr size_t kMostSchemas = 2000;

  [[noreturn]] void RefuseSoMany() const {
    BadInput("{}: more than {} schemas, with references among them", where_, kMostSchemas);
  }

  // A schema, or a list of them, with all that it holds and refers to.
  void CheckSchemas(const Json& schema) {
    if (schema.is_array()) {
      for (const Json& one : schema) CheckSchemas(one);
    }
    if (!schema.is_object() || !seen_.insert(&schema).second) return;
    RequireAnEnd(schema);
    for (const auto& [key, value] : schema.items()) {
      if (key == "pattern" && value.is_string()) CheckPattern(value.get<std::string>());
      if (key == "multipleOf" && !(value.is_number() && value > 0))
        BadInput("{}: not a JSON schema: \"multipleOf\" must be a number above 0, not {}", where_, value.dump());
      if (IsIn(kPlainKeywords, key)) continue;
      if (IsIn(kSchemas, key)) {
        CheckSchemas(value);
      } else if (IsIn(kNamedSchemas, key)) {
        for (const auto& [name, one] : value.items()) {
          if (key == "patternProperties") CheckPattern(name);
          CheckSchemas(one);
        }
      } else {
        RefuseKeyword(key);
      }
    }
  }

  // valijson makes the expression when a document is held against it.
  void CheckPattern(const std::string& pattern) const {
    try {
      const std::regex made(pattern);
    } catch (const std::regex_error& error) {
      BadInput("{}: not a JSON schema: the pattern {} is no regular expression: {}", where_, Json(pattern).dump(),
               error.what());
    }
  }

  [[noreturn]] void RefuseKeyword(const std::string& key) const {
    std::vector<std::string> all = kPlainKeywords;
    all.insert(all.end(), kNamedSchemas.begin(), kNamedSchemas.end());
    all.insert(all.end(), kSchemas.begin(), kSchemas.end());
    const std::string nearest = NearestName(key, all);
    BadInput("{}: \"{}\" is no keyword of JSON Schema drafts 4 to 7{}", where_, key,
             nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
  }

  // Follows what is held against the same value as `schema` is; a schema met again on the way would never be done.
  void RequireAnEnd(const Json& schema) {
    if (!schema.is_object() || ends_.contains(&schema)) return;
    if (on_the_way_.size() > kMostSchemas) RefuseSoMany();
    if (!on_the_way_.insert(&schema).second)
      BadInput("{}: its references lead back to where they come from, without a step into the document", where_);
    if (const auto reference = schema.find("$ref"); reference != schema.end()) {
      targets_.push_back(Target(*reference));
      RequireAnEnd(*targets_.back());
    } else {
      for (const char* key : {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependencies"}) {
        const auto parts = schema.find(key);
        if (parts == schema.end()) continue;
        if (parts->is_object() && std::string_view(key) != "dependencies") {
          RequireAnEnd(*parts);
          continue;
        }
        if (!parts->is_structured()) continue;
        for (const Json& part : *parts) RequireAnEnd(part);
      }
    }
    on_the_way_.erase(&schema);
    ends_.insert(&schema);
  }

  const Json* Target(const Json& reference) const {
    const std::string text = reference.is_string() ? reference.get<std::string>() : "";
    if (!text.starts_with('#'))
      BadInput(
          "{}: not a JSON schema: \"$ref\" must point into the schema itself, as in \"#/definitions/name\", not {}",
          where_, reference.dump());
    try {
      return &root_.at(Json::json_pointer(PercentDecoded(std::string_view(text).substr(1))));
    } catch (const Json::exception&) {
      BadInput("{}: not a JSON schema: there is no {}, which a \"$ref\" names", where_, reference.dump());
    }
  }

  const Json& root_;
  const std::string& where_;
  std::vector<const Json*> targets_;
  std::unordered_set<const Json*> seen_, on_the_way_, ends_;
};

valijson::SchemaParser::Version VersionOf(const Json& schema) {
  const std::string named = schema.is_object() && schema.contains("$schema") && schema["$schema"].is_string()
                                ? schema["$schema"].get<std::string>()
                                : "";
  return named.find("draft-04") != std::string::npos ? valijson::SchemaParser::kDraft4
                                                     : valijson::SchemaParser::kDraft7;
}

}  // namespace

std::optional<Json> JsonOf(std::string_view answer) {
  for (const std::string& text : {std::string(answer), FencedOrWhole(answer)}) {
    try {
      return ParseJson(text, "answer");
    } catch (const Error&) {
      continue;
    }
  }
  return std::nullopt;
}

struct JsonSchema::Impl {
  valijson::Schema schema;
};

JsonSchema::JsonSchema(const Json& schema, const std::string& where) : impl_(std::make_unique<Impl>()) {
  if (!schema.is_object() && !schema.is_boolean()) BadInput("{}: a JSON schema is an object, true or false", where);
  SchemaCheck(schema, where).Run();
  try {
    valijson::SchemaParser(VersionOf(schema))
        .populateSchema(valijson::adapters::NlohmannJsonAdapter(schema), impl_->schema);
  } catch (const std::exception& error) {
    BadInput("{}: not a JSON schema: {}", where, error.what());
  }
}

JsonSchema::~JsonSchema() = default;
JsonSchema::JsonSchema(JsonSchema&&) noexcept = default;
JsonSchema& JsonSchema::operator=(JsonSchema&&) noexcept = default;

bool JsonSchema::Accepts(const Json& document) const {
  valijson::Validator validator;
  return validator.validate(impl_->schema, valijson::adapters::NlohmannJsonAdapter(document), nullptr);
}

}  // namespace attune
