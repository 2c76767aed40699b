#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/gguf_builder_for_test.h"
#include "models/model_files.h"

namespace attune::spec_from_gguf_test {

const std::string kData = ATTUNE_TEST_DATA;

// Metadata and an embedding that make a small llama; `keys` more entries come from `extra`.
GgufBuilder Llama(const GgufBuilder& extra, uint64_t keys, const char* architecture = "llama") {
  GgufBuilder builder;
  builder.Header(1, 8 + keys).Key("general.architecture", architecture);
  const std::string prefix = std::string(architecture) + ".";
  builder.Key(prefix + "block_count", uint32_t{1}).Key(prefix + "context_length", uint32_t{64});
  builder.Key(prefix + "embedding_length", uint32_t{8}).Key(prefix + "feed_forward_length", uint32_t{4});
  builder.Key(prefix + "attention.head_count", uint32_t{2}).Key(prefix + "attention.head_count_kv", uint32_t{1});
  builder.Key(prefix + "attention.layer_norm_rms_epsilon", 1e-5f);
  builder.Raw(extra.text());
  return builder.Tensor("token_embd.weight", {8, 16}, 0, 0).Data(512);
}

std::string PathOf(const GgufBuilder& builder) {
  const std::string path = testing::TempDir() + "/spec.gguf";
  WriteFileAtomic(path, builder.text());
  return path;
}

ModelSpec SpecOf(const GgufBuilder& builder) { return ModelSpec::FromGguf(GgufFile(PathOf(builder))); }

std::string ErrorOf(const GgufBuilder& builder) {
  try {
    SpecOf(builder);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(SpecFromGguf, ReadsTheFixture) {
  const ModelSpec spec = ModelFiles::Open(kData + "/gguf/tiny_llama_mixed.gguf").spec();
  EXPECT_EQ(spec.model_type, "llama");
  EXPECT_EQ(spec.hidden_size, 256);
  EXPECT_EQ(spec.intermediate_size, 32);
  EXPECT_EQ(spec.num_hidden_layers, 2);
  EXPECT_EQ(spec.head_dim, 16);
  EXPECT_FALSE(spec.tie_word_embeddings);
  EXPECT_FALSE(spec.qkv_bias);
}

TEST(SpecFromGguf, TakesOptionalKeys) {
  const ModelSpec plain = SpecOf(Llama({}, 0));
  EXPECT_EQ(plain.vocab_size, 16);
  EXPECT_EQ(plain.head_dim, 4);
  EXPECT_EQ(plain.num_key_value_heads, 1);
  EXPECT_EQ(plain.rope_theta, 10000);
  EXPECT_TRUE(plain.tie_word_embeddings);
  GgufBuilder extra;
  extra.Key("llama.rope.freq_base", 5e5f).Key("llama.attention.key_length", uint32_t{6});
  extra.Key("llama.attention.value_length", uint32_t{6}).Key("llama.rope.scaling.type", "linear");
  extra.Key("llama.rope.scaling.factor", 4.0f).Key("tokenizer.ggml.eos_token_id", uint32_t{7});
  extra.Key("tokenizer.ggml.padding_token_id", uint32_t{0xFFFFFFFF});
  const ModelSpec spec = SpecOf(Llama(extra, 7));
  EXPECT_EQ(spec.rope_theta, 5e5);
  EXPECT_EQ(spec.head_dim, 6);
  EXPECT_EQ(spec.rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(spec.rope_scaling.factor, 4);
  EXPECT_EQ(spec.eos_token_ids, std::vector<int64_t>{7});
  EXPECT_FALSE(spec.pad_token_id.has_value());
  EXPECT_TRUE(SpecOf(Llama({}, 0, "qwen3")).qk_norm);
}

TEST(SpecFromGguf, RefusesByNameWhatItCannotCompute) {
  const auto with = [](const auto& key, const auto& value) {
    GgufBuilder extra;
    extra.Key(key, value);
    return ErrorOf(Llama(extra, 1));
  };
  EXPECT_NE(ErrorOf(Llama({}, 0, "gemma2")).find("general.architecture \"gemma2\" is not supported"),
            std::string::npos);
  EXPECT_NE(with("llama.rope.scaling.type", "yarn").find("rope scaling \"yarn\""), std::string::npos);
  EXPECT_NE(with("llama.expert_count", uint32_t{8}).find("llama.expert_count"), std::string::npos);
  EXPECT_NE(with("llama.rope.dimension_count", uint32_t{2}).find("2 of 4 dimensions"), std::string::npos);
  EXPECT_NE(with("llama.attention.value_length", uint32_t{8}).find("4 key and 8 value"), std::string::npos);
  EXPECT_NE(with("split.count", uint32_t{3}).find("one part of a split model"), std::string::npos);
  EXPECT_NE(with("llama.rope.freq_base", "x").find("must hold a number"), std::string::npos);
}

TEST(SpecFromGguf, MissingTensorsAndKeysAreNamed) {
  try {
    ModelFiles::Open(PathOf(Llama({}, 0)));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("\"blk.0.attn_norm.weight\" is missing"), std::string::npos);
  }
  GgufBuilder bare;
  bare.Header(1, 1).Key("general.architecture", "llama").Tensor("token_embd.weight", {8, 16}, 0, 0).Data(512);
  EXPECT_NE(ErrorOf(bare).find("\"llama.embedding_length\" is missing"), std::string::npos);
}

// llama3 scaling arrives as a tensor of divisors.
TEST(SpecFromGguf, ReadsRopeFactors) {
  const auto build = [](uint64_t size) {
    GgufBuilder builder;
    builder.Header(2, 8).Key("general.architecture", "llama").Key("llama.block_count", uint32_t{1});
    builder.Key("llama.context_length", uint32_t{64}).Key("llama.embedding_length", uint32_t{8});
    builder.Key("llama.feed_forward_length", uint32_t{4}).Key("llama.attention.head_count", uint32_t{2});
    builder.Key("llama.attention.head_count_kv", uint32_t{1}).Key("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    builder.Tensor("token_embd.weight", {8, 16}, 0, 32).Tensor("rope_freqs.weight", {size}, 0, 0).Data(0);
    builder.Number(1.0f).Number(8.0f).Data(512);
    return builder;
  };
  EXPECT_EQ(SpecOf(build(2)).rope_factors, (std::vector<float>{1, 8}));
  EXPECT_NE(ErrorOf(build(3)).find("rope_freqs.weight"), std::string::npos);
  EXPECT_NE(ErrorOf(build(1)).find("rope_freqs.weight"), std::string::npos);
}

}  // namespace attune::spec_from_gguf_test
