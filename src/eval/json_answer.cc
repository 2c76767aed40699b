#include "eval/json_answer.h"

#include <algorithm>
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

void CheckKeywords(const Json& schema, const std::string& where) {
  if (schema.is_array()) {
    for (const Json& one : schema) CheckKeywords(one, where);
  }
  if (!schema.is_object()) return;
  for (const auto& [key, value] : schema.items()) {
    if (IsIn(kPlainKeywords, key)) continue;
    if (IsIn(kSchemas, key)) {
      CheckKeywords(value, where);
    } else if (IsIn(kNamedSchemas, key)) {
      for (const auto& [name, one] : value.items()) CheckKeywords(one, where);
    } else {
      std::vector<std::string> all = kPlainKeywords;
      all.insert(all.end(), kNamedSchemas.begin(), kNamedSchemas.end());
      all.insert(all.end(), kSchemas.begin(), kSchemas.end());
      const std::string nearest = NearestName(key, all);
      BadInput("{}: \"{}\" is no keyword of JSON Schema drafts 4 to 7{}", where, key,
               nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
    }
  }
}

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
  CheckKeywords(schema, where);
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
