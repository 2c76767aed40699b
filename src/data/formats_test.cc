#include "data/formats.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::formats_test {

using Json = nlohmann::ordered_json;
using Kind = DataRow::Kind;

DataRow Parse(const char* text, bool has_chat_template = true) {
  return ParseRow(Json::parse(text), has_chat_template, "t.jsonl:3");
}

std::string ErrorOf(const char* text) {
  try {
    Parse(text);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    EXPECT_TRUE(std::string(e.what()).starts_with("t.jsonl:3: ")) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
    return std::string(e.what()).substr(11);
  }
  return "";
}

TEST(Formats, Messages) {
  const DataRow row = Parse(
      R"({"messages": [{"role": "developer", "content": "d"},
                       {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                       {"role": "assistant", "content": null, "tool_calls": [{"id": 1}]},
                       {"role": "tool", "content": "4", "tool_call_id": 1},
                       {"role": "assistant", "content": "four", "reasoning_content": "2+2"}],
          "tools": "[{\"name\": \"add\"}]", "chat_template_kwargs": {"enable_thinking": false}, "id": 9})");
  EXPECT_EQ(row.kind, Kind::kMessages);
  EXPECT_EQ(row.messages.size(), 5u);
  EXPECT_EQ(row.messages[1]["content"], "ab");
  EXPECT_TRUE(row.messages[2]["content"].is_null());
  EXPECT_EQ(row.messages[4]["reasoning_content"], "2+2");
  EXPECT_EQ(row.tools, Json::parse(R"([{"name": "add"}])"));
  EXPECT_EQ(row.template_kwargs["enable_thinking"], false);
  EXPECT_EQ(row.prompt_messages, 0u);
}

TEST(Formats, ShareGpt) {
  const DataRow row = Parse(
      R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "u"},
          {"from": "gpt", "value": "a"}, {"from": "function_call", "value": "f"}, {"from": "observation", "value": "o"}]})");
  EXPECT_EQ(row.messages, Json::parse(R"([{"role": "system", "content": "s"}, {"role": "user", "content": "u"},
      {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "f"}, {"role": "tool", "content": "o"}])"));
  EXPECT_EQ(Parse(R"({"conversations": [{"role": "user", "content": "u"}]})").messages[0]["role"], "user");
}

TEST(Formats, ASystemTextBesideTheMessagesIsTheFirstOne) {
  const char* row = R"({"system": "be brief", "conversations": [{"from": "human", "value": "u"}]})";
  EXPECT_EQ(Parse(row).messages,
            Json::parse(R"([{"role": "system", "content": "be brief"}, {"role": "user", "content": "u"}])"));
  EXPECT_EQ(Parse(R"({"system": "", "messages": [{"role": "user", "content": "u"}]})").messages.size(), 1u);
  const DataRow own = Parse(R"({"system": "other", "messages": [{"role": "system", "content": "own"}]})");
  EXPECT_EQ(own.messages, Json::parse(R"([{"role": "system", "content": "own"}])"));
  EXPECT_EQ(ErrorOf(R"({"system": 3, "messages": [{"role": "user", "content": "u"}]})"),
            "\"system\" must be a string, found 3");
}

TEST(Formats, PromptCompletion) {
  const DataRow strings = Parse(R"({"prompt": "", "completion": "c"})");
  EXPECT_EQ(strings.kind, Kind::kPromptCompletion);
  EXPECT_EQ(strings.completion, "c");
  const DataRow lists = Parse(R"({"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
                                  "completion": [{"role": "assistant", "content": "a"}]})");
  EXPECT_EQ(lists.kind, Kind::kMessages);
  EXPECT_EQ(lists.prompt_messages, 2u);
  EXPECT_EQ(lists.messages.size(), 3u);
  EXPECT_NE(ErrorOf(R"({"prompt": "p", "completion": [{"role": "assistant", "content": "a"}]})").find("two strings"),
            std::string::npos);
}

TEST(Formats, AlpacaWithAndWithoutTemplate) {
  const char* with_input = R"({"instruction": "Add.", "input": "2 2", "output": "4", "system": "Be brief."})";
  EXPECT_EQ(Parse(with_input).messages,
            Json::parse(R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add.\n\n2 2"},
                            {"role": "assistant", "content": "4"}])"));
  const char* plain = R"({"instruction": "Add.", "input": "", "output": "4"})";
  EXPECT_EQ(Parse(plain).messages[0]["content"], "Add.");
  EXPECT_EQ(Parse(R"({"instruction": "Add.", "input": null, "output": "4"})").messages.size(), 2u);
  const DataRow text = Parse(plain, false);
  EXPECT_EQ(text.kind, Kind::kPromptCompletion);
  EXPECT_TRUE(text.prompt.ends_with("\n\n### Instruction:\nAdd.\n\n### Response:\n"));
  EXPECT_EQ(text.completion, "4");
  EXPECT_NE(Parse(with_input, false).prompt.find("### Input:\n2 2"), std::string::npos);
}

TEST(Formats, TextAndTokens) {
  EXPECT_EQ(Parse(R"({"text": "", "meta": {}})").kind, Kind::kText);
  const DataRow row = Parse(R"({"input_ids": [0, 5, 2147483647], "labels": [-100, 5, 7]})");
  EXPECT_EQ(row.kind, Kind::kTokens);
  EXPECT_EQ(row.labels, (std::vector<int32_t>{-100, 5, 7}));
  EXPECT_EQ(Parse(R"({"input_ids": [1, 2]})").labels, (std::vector<int32_t>{1, 2}));
}

TEST(Formats, TheMoreSpecificFormatWins) {
  EXPECT_EQ(Parse(R"({"prompt": "p", "messages": [{"role": "user", "content": "u"}], "text": "t"})").kind,
            Kind::kMessages);
  EXPECT_EQ(Parse(R"({"messages": null, "text": "t"})").kind, Kind::kText);
}

TEST(Formats, UnknownRowsAreExplained) {
  EXPECT_EQ(ErrorOf(R"({"mesages": []})"),
            "no known row format in the keys \"mesages\"; did you mean \"messages\"? known formats: messages, "
            "conversations, prompt + completion, instruction + output, text, input_ids");
  EXPECT_NE(ErrorOf(R"({"prompt": "p", "answer": "a"})").find("\"prompt\" also needs \"completion\""),
            std::string::npos);
  EXPECT_NE(ErrorOf(R"({"prompt": "p", "completon": "a"})").find("did you mean \"completion\""), std::string::npos);
  EXPECT_NE(ErrorOf("{}").find("(none)"), std::string::npos);
  EXPECT_NE(ErrorOf(R"({"text": null})").find("\"text\" is null"), std::string::npos);
  EXPECT_NE(ErrorOf(R"({"a\nb": 1})").find("\"a\\nb\""), std::string::npos);
}

TEST(Formats, BrokenMessages) {
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": "asistant", "content": "x"}]})"),
            "messages[0]: unknown role \"asistant\"; did you mean \"assistant\"?");
  EXPECT_NE(ErrorOf(R"({"messages": [{"role": "narrator", "content": "x"}]})").find("known: system"),
            std::string::npos);
  EXPECT_EQ(ErrorOf(R"({"messages": []})"), "\"messages\" must be a list of messages, found an empty one");
  EXPECT_EQ(ErrorOf(R"({"messages": "hi"})"), "\"messages\" must be a list of messages, found \"hi\"");
  EXPECT_EQ(ErrorOf(R"({"messages": ["hi"]})"), "messages[0]: must be an object with role and content, found \"hi\"");
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": 3, "content": "x"}]})"),
            "messages[0]: \"role\" must be a string, found 3");
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": "user"}]})"), "messages[0]: has no \"content\"");
  EXPECT_EQ(ErrorOf(R"({"messages": [{"role": "user", "content": {"a": 1}}]})"),
            "messages[0]: \"content\" must be a string, found object");
  EXPECT_NE(ErrorOf(R"({"messages": [{"role": "assistant", "content": " \n"}]})").find("answer is empty"),
            std::string::npos);
  EXPECT_NE(
      ErrorOf(R"({"messages": [{"role": "user", "content": [{"type": "image", "url": "u"}]}]})").find("only text"),
      std::string::npos);
  EXPECT_NE(ErrorOf(R"({"messages": [{"role": "user", "content": "u"}], "tools": 3})").find("\"tools\""),
            std::string::npos);
  EXPECT_NE(ErrorOf(R"({"messages": [{"role": "user", "content": "u"}], "tools": "[{"})").find("not valid JSON"),
            std::string::npos);
}

TEST(Formats, BrokenAnswersAndTokens) {
  EXPECT_NE(ErrorOf(R"({"instruction": "i", "output": ""})").find("\"output\" is empty"), std::string::npos);
  EXPECT_NE(ErrorOf(R"({"instruction": "i", "output": 4})").find("\"output\" must be a string, found 4"),
            std::string::npos);
  EXPECT_NE(ErrorOf(R"({"prompt": "p", "completion": ""})").find("is empty"), std::string::npos);
  EXPECT_EQ(ErrorOf(R"({"input_ids": [1, 2.5]})"), "input_ids[1] is 2.5: it must be a token id");
  EXPECT_EQ(ErrorOf(R"({"input_ids": [-1]})"), "input_ids[0] is -1: it must be a token id");
  EXPECT_EQ(ErrorOf(R"({"input_ids": [2147483648]})"), "input_ids[0] is 2147483648: it must be a token id");
  EXPECT_EQ(ErrorOf(R"({"input_ids": []})"), "\"input_ids\" is empty");
  EXPECT_EQ(ErrorOf(R"({"input_ids": "1 2"})"), "\"input_ids\" must be a list of integers, found \"1 2\"");
  EXPECT_EQ(ErrorOf(R"({"input_ids": [1], "labels": [-99]})"), "labels[0] is -99: it must be a token id or -100");
  EXPECT_NE(ErrorOf(R"({"input_ids": [1, 2], "labels": [1]})").find("1 labels for 2 input_ids"), std::string::npos);
}

}  // namespace attune::formats_test
