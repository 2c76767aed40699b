#include "data/encode.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/fake_text_for_test.h"

namespace attune::encode_test {

using Json = nlohmann::ordered_json;

DataRow Row(const char* text, bool has_chat_template = true) {
  return ParseRow(Json::parse(text), has_chat_template, "t.jsonl:3");
}

// The example's text with what is trained in [brackets].
std::string Shown(const FakeTokenizer& tokenizer, const Example& example) {
  std::string text;
  bool inside = false;
  for (size_t i = 0; i < example.input_ids.size(); ++i) {
    const bool trained = example.labels[i] != kIgnoredLabel;
    if (trained) {
      EXPECT_EQ(example.labels[i], example.input_ids[i]);
    }
    if (trained != inside) text += trained ? "[" : "]";
    inside = trained;
    text += tokenizer.IdToToken(example.input_ids[i]);
  }
  return inside ? text + "]" : text;
}

std::string Encoded(FakeTemplate chat, const char* row, EncodeOptions options = {},
                    const FakeTokenizer& tokenizer = FakeTokenizer()) {
  const ChatFormat format = chat == nullptr ? ChatFormat{} : FakeChat(chat);
  return Shown(tokenizer, RowEncoder(tokenizer, format, "</s>", options).Encode(Row(row, chat != nullptr)));
}

std::string ErrorOf(FakeTemplate chat, const char* row, EncodeOptions options = {}) {
  try {
    Encoded(chat, row, options);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

constexpr const char* kTwoTurns =
    R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yes"}, {"role": "user", "content": "no"}, {"role": "assistant", "content": "ok "}]})";

TEST(Encode, EveryAnswerAndItsEndOfTurnNothingElse) {
  EXPECT_EQ(Encoded(ChatMl, kTwoTurns),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[yes<|"
            "im_end|>]\n"
            "<|im_start|>user\nno<|im_end|>\n<|im_start|>assistant\n[ok <|im_end|>]\n");
}

TEST(Encode, AnswersThatLookLikeTheTemplate) {
  EXPECT_EQ(Encoded(ChatMl, R"({"messages": [{"role": "user", "content": "assistant"},
                                             {"role": "assistant", "content": "assistant\nuser"}]})"),
            "<|im_start|>user\nassistant<|im_end|>\n<|im_start|>assistant\n[assistant\nuser<|im_end|>]\n");
  // An end-of-turn marker written in the answer is part of the answer.
  EXPECT_EQ(Encoded(ChatMl, R"({"messages": [{"role": "user", "content": "u"},
                                             {"role": "assistant", "content": "say <|im_end|> twice"}]})"),
            "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n[say <|im_end|> twice<|im_end|>]\n");
}

TEST(Encode, ToolCallsAreTrainedToolResultsAreNot) {
  EXPECT_EQ(Encoded(ChatMl, R"({"messages": [{"role": "user", "content": "u"},
      {"role": "assistant", "content": null, "tool_calls": [1]}, {"role": "tool", "content": "t"},
      {"role": "assistant", "content": "a"}]})"),
            "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n[<call>[1]</call><|im_end|>]\n"
            "<|im_start|>tool\nt<|im_end|>\n<|im_start|>assistant\n[a<|im_end|>]\n");
}

TEST(Encode, PromptAnswersOfAConversationalPromptAreNotTrained) {
  const char* row = R"({"prompt": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"},
      {"role": "user", "content": "v"}], "completion": [{"role": "assistant", "content": "b"}]})";
  EXPECT_EQ(Encoded(ChatMl, row),
            "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n<|im_start|>user\nv<|im_end|>\n"
            "<|im_start|>assistant\n[b<|im_end|>]\n");
  EXPECT_TRUE(Encoded(ChatMl, row, {.mask_rule = MaskRule::kTrl}).ends_with("assistant\n[b<|im_end|>\n]"));
  EXPECT_TRUE(Encoded(ChatMl, row, {.completion_only_loss = false}).starts_with("["));
}

// Ends every rendering without generation prompt with the end of text, as Phi-3's does.
std::string EndsWithEos(const Json& messages, bool add_generation_prompt) {
  return ChatMl(messages, add_generation_prompt) + (add_generation_prompt ? "" : "</s>");
}

TEST(Encode, TemplateThatClosesEveryRendering) {
  EXPECT_TRUE(Encoded(EndsWithEos, kTwoTurns).ends_with("assistant\n[ok <|im_end|>]\n</s>"));
  EXPECT_NE(Encoded(EndsWithEos, kTwoTurns).find("[yes<|im_end|>]\n<|im_start|>user"), std::string::npos);
}

std::string NoGenerationPrompt(const Json& messages, bool) { return ChatMl(messages, false); }

TEST(Encode, TemplateWithoutGenerationPromptStillHasItsHeaderMasked) {
  EXPECT_EQ(Encoded(NoGenerationPrompt, kTwoTurns), Encoded(ChatMl, kTwoTurns));
}

std::string Headerless(const Json& messages, bool) {
  std::string text;
  for (const auto& m : messages) {
    text += m["role"] == "user" ? "<s>[INST] " + ContentOf(m) + " [/INST]" : " " + ContentOf(m) + " </s>";
  }
  return text;
}

TEST(Encode, TemplateWithoutHeaderOrLineBreak) {
  EXPECT_EQ(
      Encoded(Headerless, R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]})"),
      "<s>[INST] u [/INST][ a </s>]");
}

std::string NoSpecialTokens(const Json& messages, bool add_generation_prompt) {
  std::string text;
  for (const auto& m : messages) text += "### " + m["role"].get<std::string>() + ":\n" + ContentOf(m) + "\n\n";
  return add_generation_prompt ? text + "### assistant:\n" : text;
}

TEST(Encode, TemplateWithoutSpecialTokens) {
  EXPECT_EQ(Encoded(NoSpecialTokens,
                    R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"},
                                                      {"role": "user", "content": "v"}]})"),
            "### user:\nu\n\n### assistant:\n[a]\n\n### user:\nv\n\n");
}

TEST(Encode, ConversationThatOpensWithTheAssistant) {
  EXPECT_EQ(Encoded(ChatMl, R"({"messages": [{"role": "assistant", "content": "Hello"}]})"),
            "<|im_start|>assistant\n[Hello<|im_end|>]\n");
}

// An empty thought only in the last turn, as Qwen3's template writes it.
std::string ThinksLast(const Json& messages, bool add_generation_prompt) {
  std::string text;
  for (size_t i = 0; i < messages.size(); ++i) {
    const bool thinks = messages[i]["role"] == "assistant" && i + 1 == messages.size();
    text += "<|im_start|>" + messages[i]["role"].get<std::string>() + "\n" + (thinks ? "<think></think>" : "") +
            ContentOf(messages[i]) + "<|im_end|>\n";
  }
  return add_generation_prompt ? text + "<|im_start|>assistant\n" : text;
}

TEST(Encode, WhatTheTemplatePutsBeforeAnAnswerIsPartOfIt) {
  EXPECT_TRUE(
      Encoded(ThinksLast, R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]})")
          .ends_with("assistant\n[<think></think>a<|im_end|>]\n"));
}

std::string BrokenPrompt(const Json& messages, bool add_generation_prompt) {
  return add_generation_prompt ? "other" : ChatMl(messages, false);
}

TEST(Encode, TemplatesThatRewriteEarlierTextAreRefused) {
  const std::string rewritten = ErrorOf(ThinksLast, kTwoTurns);
  EXPECT_TRUE(rewritten.starts_with("t.jsonl:3: message 3: the chat template does not let")) << rewritten;
  EXPECT_NE(rewritten.find("{% generation %}"), std::string::npos);
  EXPECT_NE(ErrorOf(BrokenPrompt, kTwoTurns).find("generation prompt"), std::string::npos);
  EXPECT_EQ(ErrorOf(ThinksLast, kTwoTurns, {.completion_only_loss = false}), "");
  EXPECT_EQ(ErrorOf(ThinksLast, kTwoTurns, {.mask_rule = MaskRule::kTrl}), "");
}

std::string Raises(const Json&, bool) { BadInput("chat template: roles must alternate"); }

TEST(Encode, TemplateErrorsNameTheRow) {
  EXPECT_EQ(ErrorOf(Raises, kTwoTurns), "t.jsonl:3: chat template: roles must alternate");
  EXPECT_NE(ErrorOf(nullptr, kTwoTurns).find("t.jsonl:3: a conversation needs a chat template"), std::string::npos);
}

TEST(Encode, TokensThatReachOverAnEdge) {
  // "\n\n" is one token, so the answer's own first line break is part of the header's last token.
  const FakeTokenizer tokenizer({"\n\n", "ok"});
  EXPECT_EQ(
      Encoded(ChatMl, R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "\nok"}]})",
              {}, tokenizer),
      "<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant[\n\nok<|im_end|>]\n");
}

TEST(Encode, ATokenThatReachesOverTheEndIsTrained) {
  const FakeTokenizer tokenizer({"a\n"});
  EXPECT_EQ(Encoded(NoSpecialTokens,
                    R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "ba"},
                                     {"role": "user", "content": "v"}]})",
                    {}, tokenizer),
            "### user:\nu\n\n### assistant:\n[ba\n]\n### user:\nv\n\n");
}

TEST(Encode, GenerationBlocks) {
  const FakeTokenizer tokenizer;
  ChatFormat chat = FakeChat(ChatMl);
  chat.has_generation_blocks = true;
  chat.render = [](const Json&, const DataRow&, bool) { return RenderedChat{"user: u bot: ab!", {{13, 15}}}; };
  const DataRow row =
      Row(R"({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "ab"}]})");
  const EncodeOptions options = {.assistant_only_loss = true};
  EXPECT_EQ(Shown(tokenizer, RowEncoder(tokenizer, chat, "", options).Encode(row)), "user: u bot: [ab]!");
  EXPECT_EQ(Encoded(ChatMl, kTwoTurns, options), Encoded(ChatMl, kTwoTurns));
  EXPECT_NE(ErrorOf(ChatMl, kTwoTurns, {.assistant_only_loss = true, .mask_rule = MaskRule::kTrl}).find("generation"),
            std::string::npos);
  EXPECT_NE(ErrorOf(ChatMl, R"({"text": "t"})", options).find("assistant_only_loss"), std::string::npos);
}

// The template's blocks and the completion apply together.
TEST(Encode, GenerationBlocksWithinTheCompletion) {
  const FakeTokenizer tokenizer;
  ChatFormat chat = FakeChat(ChatMl);
  chat.has_generation_blocks = true;
  chat.render = [](const Json& messages, const DataRow&, bool) {
    if (messages.size() == 2) return RenderedChat{"bot: x user: u bot: ", {{5, 6}}};
    return RenderedChat{"bot: x user: u bot: ab!", {{5, 6}, {20, 22}}};
  };
  const DataRow row = Row(R"({"prompt": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "u"}],
                              "completion": [{"role": "assistant", "content": "ab"}]})");
  for (const MaskRule rule : {MaskRule::kAttune, MaskRule::kTrl}) {
    EncodeOptions options = {.assistant_only_loss = true, .mask_rule = rule};
    EXPECT_EQ(Shown(tokenizer, RowEncoder(tokenizer, chat, "", options).Encode(row)), "bot: x user: u bot: [ab]!");
    options.completion_only_loss = false;
    EXPECT_EQ(Shown(tokenizer, RowEncoder(tokenizer, chat, "", options).Encode(row)), "bot: [x] user: u bot: [ab]!");
  }
}

// A row without any of the assistant's text: TRL stops; by default it is a row without a trained token.
TEST(Encode, GenerationBlocksThatAreEmpty) {
  const FakeTokenizer tokenizer;
  ChatFormat chat = FakeChat(ChatMl);
  chat.has_generation_blocks = true;
  chat.render = [](const Json&, const DataRow&, bool) { return RenderedChat{"user: u", {}}; };
  const DataRow row = Row(R"({"messages": [{"role": "user", "content": "u"}]})");
  EncodeOptions options = {.assistant_only_loss = true};
  EXPECT_EQ(TrainedTokens(RowEncoder(tokenizer, chat, "", options).Encode(row)), 0);
  options.mask_rule = MaskRule::kTrl;
  try {
    RowEncoder(tokenizer, chat, "", options).Encode(row);
    FAIL();
  } catch (const Error& error) {
    EXPECT_TRUE(std::string(error.what()).starts_with("t.jsonl:3: assistant_only_loss")) << error.what();
  }
}

TEST(Encode, PromptCompletionAndText) {
  const FakeTokenizer tokenizer({"won", "wonder"});
  EXPECT_EQ(Encoded(nullptr, R"({"prompt": "won", "completion": "derful"})", {}, tokenizer), "<s>[wonderful</s>]");
  EXPECT_EQ(Encoded(nullptr, R"({"prompt": "Q:", "completion": " A</s>"})"), "<s>Q:[ A</s>]");
  EXPECT_EQ(Encoded(nullptr, R"({"prompt": "Q:", "completion": " A"})", {.completion_only_loss = false}),
            "[<s>Q: A</s>]");
  EXPECT_EQ(Encoded(nullptr, R"({"text": "plain"})"), "[<s>plain</s>]");
  EXPECT_NE(ErrorOf(nullptr, R"({"text": "t"})", {.completion_only_loss = true}).find("plain text"), std::string::npos);
}

TEST(Encode, Truncation) {
  const char* row = R"({"prompt": "abc", "completion": "def"})";
  EXPECT_EQ(Encoded(nullptr, row, {.max_length = 5}), "<s>abc[d]");
  EXPECT_EQ(Encoded(nullptr, row, {.max_length = 5, .truncation_mode = TruncationMode::kKeepEnd}), "c[def</s>]");
  EXPECT_EQ(Encoded(nullptr, row, {.max_length = 0}), "<s>abc[def</s>]");
  EXPECT_EQ(Encoded(nullptr, row, {.max_length = 8}), "<s>abc[def</s>]");
}

TEST(Encode, ReadyTokens) {
  EXPECT_EQ(Encoded(nullptr, R"({"input_ids": [97, 98, 99], "labels": [-100, 98, 99]})"), "a[bc]");
  EXPECT_NE(ErrorOf(nullptr, R"({"input_ids": [1, 300]})", {.vocab_size = 300}).find("token id 300"),
            std::string::npos);
}

}  // namespace attune::encode_test
