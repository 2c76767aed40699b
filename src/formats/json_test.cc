#include "formats/json.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::json_test {

std::string ErrorOf(const std::string& text, bool ordered = false) {
  try {
    if (ordered)
      ParseOrderedJson(text, "f.json");
    else
      ParseJson(text, "f.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

TEST(Json, NamesLineAndColumn) {
  EXPECT_EQ(ErrorOf("{\n  \"a\": 1,\n  }"),
            "f.json:3:3: not valid JSON: syntax error while parsing object key - unexpected "
            "'}'; expected string literal");
  EXPECT_EQ(ErrorOf("").substr(0, 28), "f.json:1:1: not valid JSON: ");
  EXPECT_NE(ErrorOf("\"\xff\"").find("ill-formed UTF-8"), std::string::npos);
  EXPECT_NE(ErrorOf("{} {}").find("f.json:1:4"), std::string::npos) << ErrorOf("{} {}");
  EXPECT_NE(ErrorOf("1e999").find("number overflow"), std::string::npos) << ErrorOf("1e999");
  EXPECT_NE(ErrorOf(std::string("{}\0{}", 5)).find("a zero byte"), std::string::npos);
}

TEST(Json, LimitsNestingButNotBracketsInTexts) {
  EXPECT_EQ(ErrorOf(std::string(256, '[') + std::string(256, ']')), "no error");
  EXPECT_NE(ErrorOf(std::string(257, '[') + std::string(257, ']')).find("nested deeper"), std::string::npos);
  EXPECT_EQ(ErrorOf("\"" + std::string(1000, '[') + "\\\"[\""), "no error");
  EXPECT_NE(ErrorOf(std::string(2'000'000, '[')).find("nested deeper"), std::string::npos);
}

TEST(Json, KeepsOrderAndTheLastOfADuplicateKey) {
  EXPECT_EQ(ParseOrderedJson(R"({"z":1,"a":2,"z":3})", "f").dump(), R"({"z":3,"a":2})");
  EXPECT_EQ(ParseJson(R"({"z":1,"a":2})", "f").dump(), R"({"a":2,"z":1})");
}

TEST(Json, OrderedObjectsAreLimitedBecauseTheySearchLinearly) {
  std::string text = "{";
  for (int i = 0; i < 20001; ++i) text += fmt::format("{}\"{}\":0", i > 0 ? "," : "", i);
  text += '}';
  EXPECT_NE(ErrorOf(text, true).find("20001 keys"), std::string::npos);
  EXPECT_EQ(ErrorOf(text, false), "no error");
}

}  // namespace attune::json_test
