// The tokenizers of tests/data/tokenizers against what Hugging Face's library makes of the same texts.

#include "text/tokenizer_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace attune::tokenizer_json_test {

const std::string kData = std::string(ATTUNE_TEST_DATA) + "/tokenizers/";

using Ids = std::vector<int32_t>;

class TokenizerFixture : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerFixture, AgreesWithHuggingFace) {
  const std::string folder = kData + GetParam();
  const auto tokenizer = TokenizerFromJson(ReadFile(folder + "/tokenizer.json"), folder + "/tokenizer.json");
  const auto rows = nlohmann::json::parse(ReadFile(folder + "/cases.json"));
  ASSERT_EQ(rows.size(), 230u);
  for (const auto& row : rows) {
    const std::string text = row.at("text");
    const Ids ids = row.at("ids");
    const Ids with_special = row.value("ids_with_special", ids);
    const std::string decoded = row.at("decoded");
    EXPECT_EQ(tokenizer->Encode(text, false), ids) << text;
    EXPECT_EQ(tokenizer->Encode(text, true), with_special) << text;
    EXPECT_EQ(tokenizer->Decode(ids, false), decoded) << text;
    EXPECT_EQ(tokenizer->Decode(ids, true), row.value("decoded_skip_special", decoded)) << text;
    EXPECT_EQ(tokenizer->Decode(with_special, false), row.value("decoded_with_special", decoded)) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TokenizerFixture,
                         testing::Values("gpt2", "gpt2_prefix_space", "llama3", "qwen2", "llama2", "metaspace_first",
                                         "gemma", "unigram", "smollm2"),
                         [](const auto& fixture) { return fixture.param; });

}  // namespace attune::tokenizer_json_test
