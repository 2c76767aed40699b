#include "data/jsonl.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::jsonl_test {

TEST(Jsonl, SplitsLinesAsEditorsCountThem) {
  const auto lines = SplitJsonl("\xEF\xBB\xBF{\"a\": 1}\r\n\n  \t\n{\"b\": 2}\n\r\n{\"c\": 3}");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].number, 1);
  EXPECT_EQ(lines[0].text, "{\"a\": 1}");
  EXPECT_EQ(lines[1].number, 4);
  EXPECT_EQ(lines[2].number, 6);
  EXPECT_EQ(lines[2].text, "{\"c\": 3}");
  EXPECT_TRUE(SplitJsonl("").empty());
  EXPECT_TRUE(SplitJsonl("\n\n").empty());
}

TEST(Jsonl, ParsesAnObjectInItsOrder) {
  const auto row = ParseJsonlLine({7, R"( {"z": "é", "a": [1, -100], "z": 2} )"}, "t.jsonl");
  EXPECT_EQ(row.dump(), R"({"z":2,"a":[1,-100]})");
}

TEST(Jsonl, VeryLongLine) {
  const std::string line = "{\"text\": \"" + std::string(8 << 20, 'x') + "\"}";
  EXPECT_EQ(ParseJsonlLine({1, line}, "t.jsonl")["text"].get_ref<const std::string&>().size(), size_t{8} << 20);
}

std::string ErrorOf(std::string_view text, int64_t number = 12) {
  try {
    ParseJsonlLine({number, text}, "train.jsonl");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
    return e.what();
  }
  return "";
}

TEST(Jsonl, ErrorsNameFileLineAndColumn) {
  EXPECT_TRUE(ErrorOf("{\"a\": }").starts_with("train.jsonl:12:7: not valid JSON: ")) << ErrorOf("{\"a\": }");
  EXPECT_TRUE(ErrorOf("{\"a\": 1").starts_with("train.jsonl:12:")) << ErrorOf("{\"a\": 1");
  EXPECT_TRUE(ErrorOf("{\"a\": 1} {}").starts_with("train.jsonl:12:10: "));
  EXPECT_TRUE(ErrorOf("{\"a\": NaN}").starts_with("train.jsonl:12:"));
  EXPECT_TRUE(ErrorOf("{\"a\": \"\xFF\"}").starts_with("train.jsonl:12:")) << "invalid UTF-8";
  EXPECT_TRUE(ErrorOf(std::string_view("{\"a\": 1}\0", 9)).starts_with("train.jsonl:12:")) << "zero byte";
  EXPECT_NE(ErrorOf("{\"a\": }").find("every line must hold one whole JSON object"), std::string::npos);
  EXPECT_EQ(ErrorOf("17"), "train.jsonl:12: a row must be an object, found number");
  EXPECT_NE(ErrorOf("[{}]", 1).find("JSON Lines"), std::string::npos);
}

TEST(Jsonl, DeepNestingIsRefused) {
  const std::string deep = "{\"a\": " + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_NE(ErrorOf(deep).find("nested deeper"), std::string::npos);
}

}  // namespace attune::jsonl_test
