// The masks of TRL's SFTTrainer, row by row, with real tokenizers and templates (tests/data/sft_masks.json).
#include <gtest/gtest.h>

#include <memory>

#include "base/file.h"
#include "data/encode.h"
#include "data/fake_text_for_test.h"
#include "text/chat_renderer.h"
#include "text/tokenizer_json.h"

namespace attune::sft_masks_test {

using Json = nlohmann::ordered_json;

const std::string kData = ATTUNE_TEST_DATA;

const Tokenizer& TokenizerNamed(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers;
  auto& tokenizer = tokenizers[name];
  const std::string path = kData + "/tokenizers/" + name + "/tokenizer.json";
  if (!tokenizer) tokenizer = TokenizerFromJson(ReadFile(path), path);
  return *tokenizer;
}

ChatFormat ChatNamed(const std::string& name, const std::string& eos_token) {
  const std::string path = kData + "/chat/" + name + "/template.jinja";
  return MakeChatFormat(std::make_shared<ChatTemplate>(ChatTemplate::Parse(ReadFile(path), path)),
                        {{"eos_token", eos_token}});
}

EncodeOptions OptionsOf(const Json& options) {
  EncodeOptions out = {.mask_rule = MaskRule::kTrl};
  for (const auto& [key, value] : options.items()) {
    if (key == "completion_only_loss")
      out.completion_only_loss = value.get<bool>();
    else if (key == "assistant_only_loss")
      out.assistant_only_loss = value;
    else if (key == "max_length")
      out.max_length = value;
    else if (key == "truncation_mode")
      out.truncation_mode = TruncationMode::kKeepEnd;
    else
      ADD_FAILURE() << key;
  }
  return out;
}

Json Prepared(const Json& test) {
  ChatFormat chat;
  if (!test["chat_template"].is_null()) chat = ChatNamed(test["chat_template"], test["eos_token"]);
  const RowEncoder encoder(TokenizerNamed(test["tokenizer"]), chat, test["eos_token"], OptionsOf(test["options"]));
  Json prepared = Json::array();
  for (const Json& row : test["rows"]) {
    const Example example = encoder.Encode(ParseRow(row, encoder.has_chat_template(), "row"));
    // TRL drops a row only where every label is -100, that of the first token too.
    if (std::ranges::count(example.labels, kIgnoredLabel) == std::ssize(example.labels)) continue;
    prepared.push_back({{"input_ids", example.input_ids}, {"labels", example.labels}});
  }
  return prepared;
}

TEST(SftMasks, SameAsTrl) {
  const Json tests = Json::parse(ReadFile(kData + "/sft_masks.json"));
  ASSERT_EQ(tests.size(), 80u);
  for (const Json& test : tests) {
    EXPECT_EQ(Prepared(test), test["prepared"])
        << test["tokenizer"] << test["chat_template"] << test["kind"] << test["options"];
  }
}

// Our default on the same conversations: what TRL trains less headers, other turns and the line break after
// each.
TEST(SftMasks, DefaultTrainsTheAnswersAndTheirEnds) {
  for (const char* name : {"qwen2", "llama2"}) {
    const Tokenizer& tokenizer = TokenizerNamed(name);
    const RowEncoder encoder(tokenizer, ChatNamed("chatml", "<|im_end|>"), "<|im_end|>", {});
    const Example example = encoder.Encode(ParseRow(
        Json::parse(
            R"({"messages": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."},
                        {"role": "user", "content": "Another?"}, {"role": "assistant", "content": "Red, or green."}]})"),
        true, "row"));
    std::vector<int32_t> trained;
    for (int32_t label : example.labels) {
      if (label != kIgnoredLabel) trained.push_back(label);
    }
    EXPECT_EQ(tokenizer.Decode(trained, false), "Blue.<|im_end|>Red, or green.<|im_end|>") << name;
  }
}

// The templates of every kind of model, on a conversation of two turns: what is trained is the answers and
// how each ends.
TEST(SftMasks, DefaultOnEveryTemplate) {
  const auto tokens = Json::parse(ReadFile(kData + "/chat/special_tokens.json")).get<SpecialTokens>();
  const FakeTokenizer tokenizer;
  const DataRow row = ParseRow(
      Json::parse(
          R"({"messages": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."},
                      {"role": "user", "content": "Another?"}, {"role": "assistant", "content": "Red, or green."}]})"),
      true, "t.jsonl:5");
  const std::map<std::string, std::string> trained = {
      {"chatml", "Blue.<|im_end|>Red, or green.<|im_end|>"},
      {"chatml_default_system", "Blue.<|im_end|>Red, or green.<|im_end|>"},
      {"gemma_turns", "Blue.<end_of_turn>Red, or green.<end_of_turn>"},
      {"generation_chatml", "Blue.<|im_end|>Red, or green.<|im_end|>"},
      {"llama2_inst", " Blue. </s> Red, or green. </s>"},
      {"mistral_v3", " Blue.</s> Red, or green.</s>"},
      {"phi3", "Blue.<|end|>Red, or green.<|end|>"},
      {"qwen25_tools", "Blue.<|im_end|>Red, or green.<|im_end|>"},
      {"vicuna", " Blue.</s> Red, or green.</s>"},
      {"zephyr", "Blue.</s>Red, or green.</s>"},
  };
  for (const auto& [name, want] : trained) {
    const std::string path = kData + "/chat/" + name + "/template.jinja";
    const ChatFormat chat =
        MakeChatFormat(std::make_shared<ChatTemplate>(ChatTemplate::Parse(ReadFile(path), path)), tokens);
    const std::string text = chat.render(row.messages, row, false).text;
    std::string got;
    for (const auto& [start, end] : AssistantSpans(row, text, chat, tokenizer, "</s>")) {
      got += text.substr(start, end - start);
    }
    EXPECT_EQ(got, want) << name << ": " << text;
  }
}

}  // namespace attune::sft_masks_test
