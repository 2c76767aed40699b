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
  ExpectRefused(R"({"$ref": "http://example.org/s.json"})", "s.json: not a JSON schema");
  ExpectRefused("3", "an object, true or false");
  const JsonSchema named(Json::parse(R"({"properties": {"anything at all": true}})"), "s.json");
  EXPECT_TRUE(named.Accepts(Json::object()));
}

}  // namespace attune::json_answer_test
