#include "eval/json_answer.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::json_answer_test {

using Json = nlohmann::json;

TEST(JsonAnswer, IsFoundBareOrFenced) {
  EXPECT_EQ(JsonOf(" {\"a\": [1, 2]}\n"), Json::parse("{\"a\": [1, 2]}"));
  EXPECT_EQ(JsonOf("Sure:\n```json\n{\"a\": null}\n```"), Json::parse("{\"a\": null}"));
  EXPECT_EQ(JsonOf("{'a': 1}"), std::nullopt);
  EXPECT_EQ(JsonOf("The answer is {\"a\": 1}"), std::nullopt);
  EXPECT_EQ(JsonOf(""), std::nullopt);
}

TEST(JsonSchema, HoldsDocumentsToTheirShape) {
  const JsonSchema schema(Json::parse(R"({"type": "object", "required": ["name"], "additionalProperties": false,
    "properties": {"name": {"type": "string", "minLength": 2}, "age": {"type": "integer", "exclusiveMinimum": 0},
                   "kind": {"const": "cat"}, "tags": {"type": "array", "items": {"$ref": "#/definitions/tag"}}},
    "definitions": {"tag": {"enum": ["a", "b"]}}})"),
                          "schema");
  const auto accepts = [&](const char* text) { return schema.Accepts(Json::parse(text)); };
  EXPECT_TRUE(accepts(R"({"name": "Tom", "age": 3, "kind": "cat", "tags": ["a", "b"]})"));
  EXPECT_FALSE(accepts(R"({"age": 3})"));
  EXPECT_FALSE(accepts(R"({"name": "T"})"));
  EXPECT_FALSE(accepts(R"({"name": "Tom", "age": 0})"));
  EXPECT_FALSE(accepts(R"({"name": "Tom", "age": 1.5})"));
  EXPECT_FALSE(accepts(R"({"name": "Tom", "kind": "dog"})"));
  EXPECT_FALSE(accepts(R"({"name": "Tom", "tags": ["c"]})"));
  EXPECT_FALSE(accepts(R"({"name": "Tom", "more": 1})"));
  EXPECT_FALSE(accepts("[]"));
}

void ExpectRefused(const char* text, const std::string& piece) {
  try {
    const JsonSchema schema(Json::parse(text), "s.json");
    FAIL() << text;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(piece), std::string::npos) << error.what();
  }
}

TEST(JsonSchema, RefusesWhatItWouldPassOver) {
  ExpectRefused(R"({"properties": {"prefixItems": {"prefixItems": []}}})", "\"prefixItems\" is no keyword");
  ExpectRefused(R"({"requred": ["a"]})", "did you mean \"required\"?");
  ExpectRefused(R"({"type": "objekt"})", "s.json: not a JSON schema");
  ExpectRefused(R"({"$ref": "http://example.org/s.json"})", "s.json: not a JSON schema: \"$ref\" must point into");
  ExpectRefused("3", "an object, true or false");
  ExpectRefused(R"({"multipleOf": 0})", "\"multipleOf\" must be a number above 0");
  ExpectRefused(R"({"items": {"pattern": "("}})", "is no regular expression");
  ExpectRefused(R"({"patternProperties": {"[": {}}})", "is no regular expression");
  const JsonSchema named(Json::parse(R"({"properties": {"anything at all": true}})"), "s.json");
  EXPECT_TRUE(named.Accepts(Json::object()));
}

// A reference that only leads to others, or back without a step into the document, is followed until the stack ends.
TEST(JsonSchema, RefusesReferencesWithoutAnEnd) {
  for (
      const char* text :
      {R"({"$ref": "#"})", R"({"$ref": "#/definitions/a", "definitions": {"a": {"$ref": "#/definitions/a"}}})",
       R"({"$ref": "#/definitions/a", "definitions": {"a": {"$ref": "#/definitions/%62"}, "b": {"$ref": "#/definitions/a"}}})",
       R"({"allOf": [{"$ref": "#"}]})", R"({"not": {"anyOf": [true, {"oneOf": [{"$ref": "#"}]}]}})",
       R"({"dependencies": {"a": {"$ref": "#"}}})", R"({"properties": {"a": {"if": {"$ref": "#/properties/a"}}}})"}) {
    ExpectRefused(text, "lead back to where they come from");
  }
  ExpectRefused(R"({"$ref": "../s.json"})", "must point into the schema itself");
  ExpectRefused(R"({"$ref": 3})", "must point into the schema itself");
  ExpectRefused(R"({"$ref": "#/definitions/a"})", "there is no \"#/definitions/a\"");
  ExpectRefused(R"({"$ref": "#/default", "default": {"prefixItems": 1}})", "\"prefixItems\" is no keyword");
  Json chain = {{"properties", {{"x", {{"$ref", "#/definitions/0"}}}}}};
  for (int i = 0; i < 3000; ++i)
    chain["definitions"][std::to_string(i)] = {
        {"properties", {{"x", {{"$ref", "#/definitions/" + std::to_string(i + 1)}}}}}};
  chain["definitions"]["3000"] = true;
  ExpectRefused(chain.dump().c_str(), "more than 2000 schemas");

  const JsonSchema list(
      Json::parse(R"({"$ref": "#/definitions/a", "definitions": {"a": {"properties": {"next": {"$ref": "#"}},
    "required": ["value"]}}})"),
      "s.json");
  EXPECT_FALSE(list.Accepts(Json::parse(R"({"value": 1, "next": {"value": 1, "next": {}}})")));
  const JsonSchema tree(
      Json::parse(R"({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "required": ["value"]})"),
      "s.json");
  EXPECT_TRUE(tree.Accepts(Json::parse(R"({"value": 1, "left": {"value": 2}})")));
  EXPECT_FALSE(tree.Accepts(Json::parse(R"({"value": 1, "left": {}})")));
}

}  // namespace attune::json_answer_test
