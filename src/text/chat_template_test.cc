#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "text/chat_renderer.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

const std::string kChat = std::string(ATTUNE_TEST_DATA) + "/chat/";

Json ReadJson(const std::string& path) { return Json::parse(ReadFile(path)); }

// Friday 2024-07-26 13:05:09, what the fixtures' clock showed.
std::tm FixtureTime() {
  std::tm tm{};
  tm.tm_year = 124;
  tm.tm_mon = 6;
  tm.tm_mday = 26;
  tm.tm_hour = 13;
  tm.tm_min = 5;
  tm.tm_sec = 9;
  tm.tm_wday = 5;
  tm.tm_yday = 207;
  return tm;
}

ChatOptions OptionsOf(const Json& test, const Json& conversation) {
  ChatOptions options;
  if (conversation.contains("tools")) options.tools = conversation["tools"];
  if (conversation.contains("documents")) options.documents = conversation["documents"];
  options.add_generation_prompt = test["add_generation_prompt"].get<bool>();
  options.kwargs = test["kwargs"];
  options.now = FixtureTime();
  return options;
}

TEST(ChatTemplate, RendersEveryFixtureAsTransformersDoes) {
  std::map<std::string, Json> conversations;
  for (const Json& c : ReadJson(kChat + "conversations.json"))
    conversations[c["name"].get<std::string>()] = c;
  SpecialTokens tokens;
  const Json token_texts = ReadJson(kChat + "special_tokens.json");
  for (const auto& [name, text] : token_texts.items()) tokens[name] = text;
  int rendered = 0, failed = 0;
  for (const auto& folder : std::filesystem::directory_iterator(kChat)) {
    if (!folder.is_directory()) continue;
    const std::string name = folder.path().filename();
    const auto chat_template = ChatTemplate::Parse(ReadFile(folder.path() / "template.jinja"), name);
    for (const Json& test : ReadJson(folder.path() / "cases.json")) {
      const Json& conversation = conversations.at(test["conversation"].get<std::string>());
      ChatOptions options = OptionsOf(test, conversation);
      options.special_tokens = tokens;
      SCOPED_TRACE(name + " " + test["conversation"].get<std::string>() + " " + test["kwargs"].dump());
      try {
        const RenderedChat chat = RenderChat(chat_template, conversation["messages"], options);
        ASSERT_TRUE(test.contains("rendered")) << "rendered, but should fail: " << test["error"];
        EXPECT_EQ(chat.text, test["rendered"].get<std::string>());
        if (test.contains("assistant_spans_utf8")) {
          EXPECT_EQ(Json(chat.assistant_spans), test["assistant_spans_utf8"]);
        }
        ++rendered;
      } catch (const Error& error) {
        ASSERT_TRUE(test.contains("error")) << error.what();
        const std::string want = test["error"];
        if (test["error_type"] == "TemplateError") {
          EXPECT_EQ(error.what(), want);
        } else {
          EXPECT_NE(std::string(error.what()).find(want), std::string::npos)
              << error.what() << " vs " << want;
        }
        ++failed;
      }
    }
  }
  EXPECT_EQ(rendered + failed, 992);
  EXPECT_GT(failed, 50);
}

}  // namespace
}  // namespace attune
