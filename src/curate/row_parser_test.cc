#include "curate/row_parser.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/formats.h"
#include "data/jsonl.h"

namespace attune::row_parser_test {

const ColumnMap kNoNames;

// The rows of a file of this kind, each as "FORMAT|part|part..." or as the ids of what is wrong with its
// structure.
std::vector<std::string> Rows(DataFile file, const std::string& text, const ColumnMap& names = kNoNames) {
  RecordReader reader(ByteSource("a", text), file.container);
  RowParser parser(names);
  RecordBlock block;
  std::vector<std::string> found;
  while (reader.Next(&block)) {
    for (const Record& record : block.records) {
      const Row& row = parser.Parse(file, block, record);
      std::string shown;
      if (row.structure.empty()) shown = RowFormatName(row.format);
      for (const Finding& finding : row.structure) shown += std::string(InfoOf(finding.rule).id) + " ";
      for (const TextPart& part : row.parts) shown += "|" + std::string(part.text);
      found.push_back(shown);
    }
  }
  return found;
}

std::string JsonRow(const std::string& text) { return Rows({"a.jsonl", Container::kJsonl, {}}, text).at(0); }

TEST(RowParser, KnowsEveryFormat) {
  EXPECT_EQ(
      JsonRow(
          R"({"messages": [{"role": "user", "content": "a\n"}, {"role": "assistant", "content": [{"type": "text", "text": "b"}]}]})"),
      "messages|a\n|b");
  EXPECT_EQ(JsonRow(R"({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]})"),
            "conversations|a|b");
  EXPECT_EQ(
      JsonRow(R"({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"})"),
      "conversations|s|a|b");
  EXPECT_EQ(JsonRow(R"({"prompt": "a", "completion": "b", "text": null})"), "prompt + completion|a|b");
  EXPECT_EQ(JsonRow(R"({"instruction": "a", "input": "i", "output": "b", "system": ""})"),
            "instruction + output||a|i|b");
  EXPECT_EQ(JsonRow(R"({"prompt": "a", "chosen": "b", "rejected": "c"})"), "chosen + rejected|a|b|c");
  EXPECT_EQ(JsonRow(R"({"chosen": "a b", "rejected": "a c"})"), "chosen + rejected|a b|a c");
  EXPECT_EQ(JsonRow(R"({"text": "a"})"), "text|a");
  EXPECT_EQ(JsonRow(R"({"input_ids": [1, 2], "labels": [-100, 2]})"), "input_ids");
}

TEST(RowParser, NamesWhatIsWrong) {
  EXPECT_EQ(JsonRow("{\"a\": 1}"), "unknown-format ");
  EXPECT_EQ(JsonRow("[1]"), "broken-row ");
  EXPECT_EQ(JsonRow("{\"text\": \"\xFF\"}"), "invalid-utf8 ");
  EXPECT_EQ(JsonRow("{\"text\": "), "broken-row ");
  EXPECT_EQ(JsonRow(std::string("{\"text\": ") + std::string(300, '[') + std::string(300, ']') + "}"), "broken-row ");
  EXPECT_EQ(JsonRow(R"({"text": 5})"), "wrong-type ");
  EXPECT_EQ(JsonRow(R"({"system": 5, "messages": [{"role": "user", "content": "a"}]})").substr(0, 11), "wrong-type ");
  EXPECT_EQ(JsonRow(R"({"text": " "})"), "empty-answer | ");
  EXPECT_EQ(JsonRow(R"({"messages": []})"), "wrong-type ");
  EXPECT_EQ(JsonRow(R"({"messages": [{"role": "usr", "content": "a"}]})"), "unknown-role ");
  EXPECT_EQ(JsonRow(R"({"messages": [{"role": "user", "content": "a"}]})"), "no-final-answer |a");
  EXPECT_EQ(JsonRow(R"({"messages": [{"role": "assistant", "content": "a"}]})"), "role-order |a");
  EXPECT_EQ(
      JsonRow(
          R"({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]})"),
      "role-order |a|b|c");
  EXPECT_EQ(JsonRow(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]})"),
            "wrong-type empty-answer |a");
  EXPECT_EQ(JsonRow(R"({"prompt": "a", "completion": "  "})"), "empty-answer |a|  ");
  EXPECT_EQ(JsonRow(R"({"prompt": " a", "completion": "a"})"), "answer-is-prompt | a|a");
  EXPECT_EQ(
      JsonRow(R"({"prompt": "What is the capital of France?", "completion": "What is the capital of France? Paris."})")
          .substr(0, 12),
      "prompt-echo ");
  EXPECT_EQ(JsonRow(R"({"input_ids": [1, -1]})"), "wrong-type ");
  EXPECT_EQ(JsonRow(R"({"input_ids": [1, 2], "labels": [-100, -100]})"), "empty-answer ");
}

// What training takes has no fault of structure here, and what it refuses has one.
TEST(RowParser, AgreesWithTraining) {
  for (
      const char* text :
      {R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
       R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{}]}, {"role": "tool", "content": "t"}, {"role": "assistant", "content": "b"}]})",
       R"({"conversations": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}]})",
       R"({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]})",
       R"({"prompt": ["a"], "completion": "b"})", R"({"instruction": "a", "output": 5})", R"({"instruction": "a"})",
       R"({"messages": [{"role": "user", "content": 5}]})", R"({"messages": [5]})", R"({"messages": {"a": 1}})",
       R"({"messages": [{"role": "owner", "content": "a"}]})", R"({"input_ids": "5"})", R"({"text": "t"})", R"({})",
       R"({"input_ids": []})", R"({"input_ids": [1, 2], "labels": [1]})",
       R"({"prompt": "a", "completion": "\u00a0\u3000\u200b"})", R"({"instruction": "a", "output": "\ufeff"})",
       R"({"messages": [{"role": "user", "content": [{"type": "image", "text": "a"}]}, {"role": "assistant", "content": "b"}]})"}) {
    bool trains = true;
    try {
      ParseRow(ParseJsonlLine({1, text}, "a"), true, "a:1");
    } catch (const Error&) {
      trains = false;
    }
    EXPECT_EQ(JsonRow(text).find("-") == std::string::npos, trains) << text << " " << JsonRow(text);
  }
}

TEST(RowParser, WhatIsWrongIsSaid) {
  RowParser parser(kNoNames);
  const auto why = [&](const std::string& line) {
    const RecordBlock block{0, 0, line + std::string(kReadBehind, '\0'), {{1, 0, line.size()}}};
    return WhyUnreadable(parser.Parse({"a.jsonl", Container::kJsonl, {}}, block, block.records[0]));
  };
  EXPECT_EQ(why(R"({"text": "x", "n": 1e999})"), "a number that 64 bits cannot hold; write it as a text");
  EXPECT_EQ(why(R"({"text": "x", "n": 123456789012345678901234567890})"),
            "a number that 64 bits cannot hold; write it as a text");
  EXPECT_EQ(why(R"([{"text": "x"}])"),
            "a row must be an object, found a list; a list of rows is read from a file named .json");
  EXPECT_EQ(why(R"({"text": "x", "n": -})").find("column 21: not valid JSON"), 0u) << why(R"({"text": "x", "n": -})");
}

TEST(RowParser, CsvTsvAndText) {
  EXPECT_EQ(Rows({"a.csv", Container::kCsv, {"prompt", "completion"}}, "\"say \"\"hi\"\"\",x\ny\n"),
            (std::vector<std::string>{"prompt + completion|say \"hi\"|x", "broken-row "}));
  EXPECT_EQ(Rows({"a.tsv", Container::kTsv, {"text"}}, "a,b\n"), (std::vector<std::string>{"text|a,b"}));
  EXPECT_EQ(Rows({"a.txt", Container::kText, {}}, "say \"hi\"\\\n"), (std::vector<std::string>{"text|say \"hi\"\\"}));
}

TEST(RowParser, NamesOfColumns) {
  const ColumnMap names = {{"prompt", "question"}, {"completion", "reply"}};
  const DataFile file{"a.jsonl", Container::kJsonl, {}};
  EXPECT_EQ(Rows(file, R"({"question": "a", "reply": "b"})", names),
            std::vector<std::string>{"prompt + completion|a|b"});
  EXPECT_EQ(Rows(file, R"({"question": "a"})", names), std::vector<std::string>{"broken-row "});
  EXPECT_EQ(Rows(file, R"({"question": "a", "reply": "b", "prompt": "c"})", names),
            std::vector<std::string>{"broken-row "});
}

TEST(RowParser, WritesRows) {
  const ColumnMap names = {{"prompt", "question"}};
  const std::string text =
      R"({"id": 7, "question":"a\u0000","completion": "b", "x": [1.0, -2, 1e300, true, null, {"y": "b"}]})";
  RowParser plain(kNoNames), named(names);
  std::string out;
  named.ParseText(text);
  named.Write(&out);
  EXPECT_EQ(out,
            R"({"id": 7, "prompt": "a\u0000", "completion": "b", "x": [1.0, -2, 1e+300, true, null, {"y": "b"}]})");
  EXPECT_EQ(named.Value("id"), "7");
  EXPECT_EQ(named.Value("prompt"), std::string("a\0", 2));
  EXPECT_EQ(named.Value("x"), std::nullopt);
  out.clear();
  named.Write(std::vector<std::optional<std::string>>{std::nullopt, "new \"b\"\n"}, &out);
  EXPECT_EQ(
      out,
      R"({"id": 7, "prompt": "a\u0000", "completion": "new \"b\"\n", "x": [1.0, -2, 1e+300, true, null, {"y": "b"}]})");
  out.clear();
  plain.ParseText("{\"text\":\n\"t\"}");
  plain.Write(&out);
  EXPECT_EQ(out, "{\"text\": \"t\"}") << "always on one line";
}

TEST(RowParser, PromptAndAnswer) {
  RowParser parser(kNoNames);
  PromptAnswerScratch scratch;
  const Row& row = parser.ParseText(
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
          {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})");
  const PromptAnswer split = SplitPromptAnswer(row, &scratch);
  EXPECT_EQ(split.prompt, "s\na\nb\nc");
  EXPECT_EQ(split.answer, "d");
}

}  // namespace attune::row_parser_test
