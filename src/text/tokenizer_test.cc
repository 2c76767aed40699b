// What holds for every tokenizer: errors of broken files, invalid text, long runs, threads, streaming.

#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "text/stream_decoder.h"
#include "text/tokenizer_json.h"

namespace attune::tokenizer_test {

using Ids = std::vector<int32_t>;
using Json = nlohmann::json;
const std::string kData = std::string(ATTUNE_TEST_DATA) + "/tokenizers/";

std::unique_ptr<Tokenizer> Load(const std::string& fixture) {
  return TokenizerFromJson(ReadFile(kData + fixture + "/tokenizer.json"), fixture);
}

Json Small() {
  return {{"version", "1.0"},
          {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}, {"merges", {"a b"}}}}};
}

std::string ErrorOf(const std::string& json) {
  try {
    TokenizerFromJson(json, "t.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

std::string ErrorWith(const std::string& pointer, Json value) {
  Json json = Small();
  json[Json::json_pointer(pointer)] = std::move(value);
  return ErrorOf(json.dump());
}

TEST(Tokenizer, ErrorsNameTheFileAndTheKey) {
  EXPECT_EQ(TokenizerFromJson(Small().dump(), "t.json")->Encode("abba", false), Ids({2, 1, 0}));
  EXPECT_EQ(ErrorOf("").find("t.json: not a tokenizer.json"), 0u);
  EXPECT_EQ(ErrorOf("{").find("t.json: not a tokenizer.json"), 0u);
  EXPECT_EQ(ErrorOf(std::string(5000, '[')).find("t.json: not a tokenizer.json"), 0u);
  EXPECT_EQ(ErrorOf("[]"), "t.json: the document must be an object");
  EXPECT_EQ(ErrorOf("{}"), "t.json: the document lacks 'model'");
  EXPECT_EQ(ErrorWith("/version", "2.0"), "t.json: version is '2.0'; only 1.0 is supported");
  EXPECT_EQ(ErrorWith("/model", 3), "t.json: model must be an object");
  EXPECT_EQ(ErrorWith("/model/type", "WordLevel"),
            "t.json: model.type is 'WordLevel', which is not a supported model (supported: BPE, Unigram, "
            "WordPiece)");
  EXPECT_EQ(ErrorWith("/model/dropout", 0.1),
            "t.json: model.dropout makes tokenizing random, which is not supported; set it to null");
  EXPECT_EQ(ErrorWith("/model/vocab", {1}), "t.json: model.vocab must be an object");
  for (const Json& id : {Json(-1), Json(1e300), Json(1ull << 40), Json("1"), Json(1.5)}) {
    EXPECT_EQ(ErrorWith("/model/vocab/a", id),
              "t.json: model.vocab gives 'a' an id that is not a whole number from 0 to 65727");
  }
  EXPECT_EQ(ErrorWith("/model/vocab/b", 0), "t.json: model.vocab gives the id 0 to 'b', which 'a' has already");
  EXPECT_EQ(ErrorWith("/model/merges", {"a c"}),
            "t.json: model.merges: merge 0 ('a' with 'c') needs the token 'c', which is not in the vocabulary");
  EXPECT_EQ(ErrorWith("/model/merges", Json::array({Json::array({"b", "a"})})),
            "t.json: model.merges: merge 0 ('b' with 'a') needs the token 'ba', which is not in the vocabulary");
  EXPECT_EQ(ErrorWith("/model/merges", {"a b c"}),
            "t.json: model.merges has 'a b c' as entry 0; it must be two tokens with a space between them");
  EXPECT_EQ(ErrorWith("/model/merges", {1}),
            "t.json: model.merges has an entry 0 that is neither \"a b\" nor [\"a\", \"b\"]");
  EXPECT_EQ(ErrorWith("/normalizer", {{"type", "Precompiled"}})
                .find("t.json: normalizer.type is 'Precompiled', which is not a supported normalizer "
                      "(supported: NFC"),
            0u);
  EXPECT_EQ(ErrorWith("/pre_tokenizer", {{"type", "UnicodeScripts"}})
                .find("t.json: pre_tokenizer.type is 'UnicodeScripts', which is not a supported pre-tokenizer"),
            0u);
  EXPECT_EQ(ErrorWith("/decoder", {{"type", "CTC"}}).find("t.json: decoder.type is 'CTC'"), 0u);
  EXPECT_EQ(ErrorWith("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Removed"}}),
            "t.json: pre_tokenizer.pattern.Regex: the regular expression '(' is not valid: missing closing "
            "parenthesis");
  const Json plain = {{"id", 3}, {"content", "<x>"}}, other = {{"id", 3}, {"content", "<y>"}};
  EXPECT_EQ(ErrorWith("/added_tokens", {plain, other}),
            "t.json: added_tokens.1 gives the id 3 to '<y>', which '<x>' has already");
  EXPECT_EQ(ErrorWith("/added_tokens", {{{"id", -3}, {"content", "<x>"}}}),
            "t.json: added_tokens.0.id must be a whole number from 0 to 67108863");
  EXPECT_EQ(ErrorWith("/post_processor", {{"type", "BertProcessing"}, {"cls", {"[CLS]", 7}}, {"sep", {"[SEP]", 1}}}),
            "t.json: post_processor adds token id 7, but the vocabulary ends at 2");
}

TEST(Tokenizer, NestedSequencesAreLimited) {
  std::string json = R"({"model":{"type":"BPE","vocab":{},"merges":[]},"normalizer":)";
  for (int i = 0; i < 40; ++i) json += R"({"type":"Sequence","normalizers":[)";
  for (int i = 0; i < 40; ++i) json += "]}";
  EXPECT_EQ(ErrorOf(json + "}").find("t.json: not a tokenizer.json"), 0u);
}

TEST(Tokenizer, RulesMayNotBlowTextUp) {
  Json json = Small();
  Json doubling = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json(60, doubling)}};
  const auto tokenizer = TokenizerFromJson(json.dump(), "t.json");
  EXPECT_THROW(tokenizer->Encode("a", false), Error);
}

TEST(Tokenizer, UnknownCharactersWithoutUnkTokenVanish) {
  EXPECT_EQ(TokenizerFromJson(Small().dump(), "t.json")->Encode("axb", false), Ids({2}));
  Json json = Small();
  json["model"]["unk_token"] = "?";
  EXPECT_THROW(TokenizerFromJson(json.dump(), "t.json")->Encode("x", false), Error);
}

TEST(Tokenizer, WordPiece) {
  const Json json = {{"normalizer", {{"type", "BertNormalizer"}, {"lowercase", true}}},
                     {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                     {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
                     {"model",
                      {{"type", "WordPiece"},
                       {"unk_token", "[UNK]"},
                       {"continuing_subword_prefix", "##"},
                       {"max_input_chars_per_word", 100},
                       {"vocab", {{"[UNK]", 0}, {"un", 1}, {"##aff", 2}, {"##able", 3}, {".", 4}}}}}};
  const auto tokenizer = TokenizerFromJson(json.dump(), "t.json");
  EXPECT_EQ(tokenizer->Encode("Un\u00e0ffable. xyz", false), Ids({1, 2, 3, 4, 0}));
  EXPECT_EQ(tokenizer->Decode(Ids({1, 2, 3, 4}), false), "unaffable.");
}

TEST(Tokenizer, InvalidUtf8IsReplaced) {
  const auto tokenizer = Load("gpt2");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a\xFF"
       "b",
       "a\uFFFDb"},
      {"\xE4\xB8", "\uFFFD"},
      {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
      {"\xF0\x9F\x98x", "\uFFFDx"},
      {"\xC0\xAF", "\uFFFD\uFFFD"},
  };
  for (const auto& [broken, mended] : cases) {
    EXPECT_EQ(tokenizer->Encode(broken, false), tokenizer->Encode(mended, false));
    EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(broken, false), false), mended);
  }
}

TEST(Tokenizer, IdsOutsideTheVocabulary) {
  const auto tokenizer = Load("gpt2");
  EXPECT_EQ(tokenizer->VocabularySize(), 452);
  EXPECT_EQ(tokenizer->Decode(Ids({452, 1 << 30, -1}), false), "");  // models have more rows than tokens
  EXPECT_EQ(tokenizer->Decode(Ids({440, 452}), false), tokenizer->Decode(Ids({440}), false));
  EXPECT_EQ(tokenizer->IdToToken(440), "zap");
  EXPECT_EQ(tokenizer->IdToToken(452), "");
  EXPECT_EQ(tokenizer->TokenToId("zap"), 440);
  EXPECT_EQ(tokenizer->TokenToId("no such token"), std::nullopt);
  EXPECT_TRUE(tokenizer->IsSpecial(0));
  EXPECT_FALSE(tokenizer->IsSpecial(440));
}

// A quadratic step would take minutes; the limit leaves room for slow machines and sanitizers.
TEST(Tokenizer, LongRunsAreNotQuadratic) {
  for (const std::string fixture : {"smollm2", "llama2", "qwen2", "unigram"}) {
    const auto tokenizer = Load(fixture);
    for (const std::string unit : {"a", " ", "\u4e2d", "\u0301"}) {
      std::string text;
      while (text.size() < 1'000'000) text += unit;
      const auto start = std::chrono::steady_clock::now();
      EXPECT_FALSE(tokenizer->Encode(text, false).empty());
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10)) << fixture << " '" << unit << "'";
    }
  }
}

TEST(Tokenizer, ThreadsAgree) {
  const auto tokenizer = Load("smollm2");
  const auto rows = Json::parse(ReadFile(kData + "smollm2/cases.json"));
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (const auto& row : rows)
        count += tokenizer->Encode(row.at("text").get<std::string>(), false) != row.at("ids");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(StreamDecoder, PiecesJoinToTheWholeText) {
  for (const std::string fixture : {"smollm2", "llama2", "gemma", "unigram", "metaspace_first", "gpt2"}) {
    const auto tokenizer = Load(fixture);
    for (const auto& row : Json::parse(ReadFile(kData + fixture + "/cases.json"))) {
      for (const bool skip : {false, true}) {
        StreamDecoder stream(*tokenizer, skip);
        const Ids ids = row.at("ids");
        std::string text;
        for (const int32_t id : ids) text += stream.Push(id);
        text += stream.Finish();
        EXPECT_EQ(text, tokenizer->Decode(ids, skip)) << fixture;
      }
    }
  }
}

TEST(StreamDecoder, WaitsForWholeCharacters) {
  const auto tokenizer = Load("smollm2");
  StreamDecoder stream(*tokenizer, true);
  const Ids face = tokenizer->Encode("\U0001F600", false);
  ASSERT_GT(face.size(), 1u);
  for (size_t i = 0; i + 1 < face.size(); ++i) EXPECT_EQ(stream.Push(face[i]), "");
  EXPECT_EQ(stream.Push(face.back()), "\U0001F600");
  EXPECT_EQ(stream.Push(2), "");        // <|im_end|>, special
  EXPECT_EQ(stream.Push(1 << 20), "");  // no such token
  EXPECT_EQ(stream.Push(face[0]), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
  EXPECT_EQ(stream.Finish(), "");
}

}  // namespace attune::tokenizer_test
