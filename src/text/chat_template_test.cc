#include "text/chat_template.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "text/chat_renderer.h"

namespace attune::chat_template_test {

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
  for (const Json& c : ReadJson(kChat + "conversations.json")) conversations[c["name"].get<std::string>()] = c;
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
          EXPECT_NE(std::string(error.what()).find(want), std::string::npos) << error.what() << " vs " << want;
        }
        ++failed;
      }
    }
  }
  EXPECT_EQ(rendered + failed, 992);
  EXPECT_GT(failed, 50);
}

// A folder of its own that goes with the test.
class ChatFolder : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/attune_chat_" + std::to_string(::getpid());
    MakeDirectories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) { WriteFileAtomic(folder_ + "/" + name, text); }

  std::string folder_;
};

TEST_F(ChatFolder, ReadsTemplateAndTokens) {
  EXPECT_FALSE(LoadChatTemplate(folder_).has_value());
  Write("special_tokens_map.json", R"({"bos_token": "<map>", "pad_token": {"content": "<pad>", "lstrip": false}})");
  Write("tokenizer_config.json",
        R"({"chat_template": "config {{ bos_token }}", "bos_token": {"content": "<s>"}, "eos_token": null})");
  FolderChat chat = LoadFolderChat(folder_);
  ChatOptions options;
  options.special_tokens = chat.special_tokens;
  EXPECT_EQ(chat.special_tokens, (SpecialTokens{{"bos_token", "<s>"}, {"pad_token", "<pad>"}}));
  EXPECT_EQ(RenderChat(*chat.chat_template, Json::array(), options).text, "config <s>");

  Write("chat_template.jinja", "file {{ pad_token }}");
  chat = LoadFolderChat(folder_);
  EXPECT_EQ(RenderChat(*chat.chat_template, Json::array(), options).text, "file <pad>");
}

TEST_F(ChatFolder, PicksTheDefaultOfSeveral) {
  Write("tokenizer_config.json",
        R"({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ(LoadChatTemplate(folder_)->source(), "D");
  Write("tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "T"}]})");
  try {
    LoadChatTemplate(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(),
              folder_ + "/tokenizer_config.json: none of the chat templates (tool_use) is named \"default\"");
  }
}

TEST_F(ChatFolder, RefusesFilesThatHoldNoObject) {
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    Write(name, "[]");
    try {
      LoadFolderChat(folder_);
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.what(), folder_ + "/" + name + ": must hold a JSON object");
    }
    Write(name, "{}");
  }
}

std::string RenderError(const Json& messages, const ChatOptions& options, const std::string& text = "") {
  try {
    RenderChat(ChatTemplate::Parse(text, "t"), messages, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(RenderChat, FillsReasoningUnderBothNames) {
  const auto chat_template = ChatTemplate::Parse("{{ messages[0]|tojson }}", "t");
  const auto rendered = [&](const char* message) {
    return RenderChat(chat_template, Json::array({Json::parse(message)}), {}).text;
  };
  EXPECT_EQ(rendered(R"({"role": "a", "reasoning": "r"})"),
            R"({"thinking": "r", "role": "a", "reasoning": "r", "reasoning_content": "r"})");
  EXPECT_EQ(rendered(R"({"reasoning_content": "r", "thinking": null})"),
            R"({"thinking": null, "reasoning_content": "r"})");
  EXPECT_EQ(rendered(R"({"role": "a", "thinking": null})"), R"({"role": "a", "thinking": null})");
}

TEST(RenderChat, ContinuesTheFinalMessage) {
  const auto keeps = ChatTemplate::Parse("{% for m in messages %}<{{ m.content }}>{% endfor %}", "t");
  const auto trims = ChatTemplate::Parse("{% for m in messages %}<{{ m.content|trim }}>{% endfor %}", "t");
  const Json messages = Json::parse(R"([{"role": "user", "content": "q"}, {"role": "assistant", "content": "so "}])");
  ChatOptions options;
  options.continue_final_message = true;
  EXPECT_EQ(RenderChat(keeps, messages, options).text, "<q><so ");
  EXPECT_EQ(RenderChat(trims, messages, options).text, "<q><so");
  EXPECT_EQ(RenderError(Json::array(), options), "continue_final_message is set but the conversation is empty");
  EXPECT_EQ(RenderError(messages, options, "nothing"),
            "continue_final_message is set but the final message does not appear in the rendered chat; does "
            "the chat "
            "template drop or change it?");
  options.add_generation_prompt = true;
  EXPECT_EQ(RenderError(messages, options), "continue_final_message and add_generation_prompt exclude each other");
}

TEST(RenderChat, RefusesWhatIsNoConversation) {
  ChatOptions options;
  EXPECT_EQ(RenderError(Json("hi"), options), "the messages of a chat must be a list of objects, not string");
  EXPECT_EQ(RenderError(Json::parse(R"(["hi"])"), options), "the messages of a chat must be objects, not string");
  options.tools = Json::parse("[1]");
  EXPECT_EQ(RenderError(Json::array(), options), "the tools of a chat must be objects, not number");
}

TEST(RenderChat, ClockIsLocalTimeUnlessSet) {
  const auto chat_template = ChatTemplate::Parse("{{ strftime_now('%Y-%m-%d %H:%M:%S|%Z|%z|%%') }}", "t");
  ChatOptions options;
  options.now = FixtureTime();
  EXPECT_EQ(RenderChat(chat_template, Json::array(), options).text, "2024-07-26 13:05:09|||%");
  options.now.reset();
  EXPECT_GE(RenderChat(chat_template, Json::array(), options).text.substr(0, 4), "2024");
}

}  // namespace attune::chat_template_test
