#include "adapters/bnb_config.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/json.h"

namespace attune::bnb_config_test {

using nlohmann::ordered_json;

template <class Call>
std::string ErrorOf(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

std::string ErrorOfJson(const std::string& text) {
  return ErrorOf([&] { BnbConfig::FromJson(ParseOrderedJson(text, "t"), "config.json"); });
}

TEST(BnbConfig, ReadsAndWritesWhatTransformersWrote) {
  for (const std::string name : {"llama_nf4_dq", "llama_fp4", "llama_nf4_dq_blocks_cross_rows"}) {
    const std::string path = std::string(ATTUNE_TEST_DATA) + "/nf4/" + name + "/config.json";
    const ordered_json written = ParseOrderedJsonFile(path)["quantization_config"];
    const BnbConfig config = BnbConfig::FromJson(written, path);
    EXPECT_TRUE(config.load_in_4bit);
    EXPECT_EQ(config.bnb_4bit_use_double_quant, name != "llama_fp4");
    EXPECT_EQ(config.bnb_4bit_quant_type, name == "llama_fp4" ? Bnb4Type::kFp4 : Bnb4Type::kNf4);
    EXPECT_TRUE(config.ignored_keys.empty());
    EXPECT_EQ(config.ToJson().dump(), written.dump());
  }
}

TEST(BnbConfig, ThePublishedSnippetWorks) {
  BnbConfig config;
  config.SetField("load_in_4bit", true, "run.yaml");
  config.SetField("bnb_4bit_quant_type", "nf4", "run.yaml");
  config.SetField("bnb_4bit_compute_dtype", "bfloat16", "run.yaml");
  config.SetField("bnb_4bit_use_double_quant", true, "run.yaml");
  config.SetField("bnb_4bit_quant_storage", "bfloat16", "run.yaml");
  config.SetField("llm_int8_skip_modules", {"lm_head", "gate"}, "run.yaml");
  config.Validate("run.yaml");
  EXPECT_EQ(config.bnb_4bit_compute_dtype, DType::kBF16);
  EXPECT_EQ(config.llm_int8_skip_modules, (std::vector<std::string>{"lm_head", "gate"}));
  const Bnb4Settings settings = config.Settings();
  EXPECT_EQ(settings.type, Bnb4Type::kNf4);
  EXPECT_EQ(settings.block_size, 64);
  EXPECT_TRUE(settings.nested);
  EXPECT_EQ(settings.storage, DType::kBF16);
}

TEST(BnbConfig, DefaultsAreThoseOfTransformers) {
  const BnbConfig config = BnbConfig::FromJson(ordered_json::parse(R"({"load_in_8bit": true, "later": 1})"), "c");
  EXPECT_TRUE(config.load_in_8bit);
  EXPECT_EQ(config.bnb_4bit_quant_type, Bnb4Type::kFp4);
  EXPECT_EQ(config.bnb_4bit_compute_dtype, DType::kF32);
  EXPECT_EQ(config.bnb_4bit_quant_storage, DType::kU8);
  EXPECT_EQ(config.llm_int8_threshold, 6.0);
  EXPECT_FALSE(config.llm_int8_skip_modules);
  EXPECT_EQ(config.ignored_keys, std::vector<std::string>{"later"});
}

TEST(BnbConfig, ErrorsNameTheKey) {
  EXPECT_EQ(ErrorOfJson(R"({"bnb_4bit_quant_type": "nf5"})"),
            "config.json: bnb_4bit_quant_type must be one of nf4, fp4, not \"nf5\"; did you mean \"nf4\"?");
  EXPECT_EQ(ErrorOfJson(R"({"bnb_4bit_compute_dtype": "bfloat"})"),
            "config.json: bnb_4bit_compute_dtype must be one of float32, float16, bfloat16, not \"bfloat\"; "
            "did you mean "
            "\"bfloat16\"?");
  EXPECT_EQ(ErrorOfJson(R"({"quant_method": "gptq", "bits": 4})"),
            "config.json: quant_method must be \"bitsandbytes\", the only method supported, not \"gptq\"");
  EXPECT_EQ(ErrorOfJson(R"({"load_in_4bit": true, "load_in_8bit": true})"),
            "config.json: load_in_4bit and load_in_8bit are both true; choose one");
  EXPECT_EQ(ErrorOfJson(R"({"load_in_4bit": "yes"})"), "config.json: load_in_4bit must be true or false, not \"yes\"");
  EXPECT_EQ(ErrorOfJson(R"({"llm_int8_skip_modules": "lm_head"})"),
            "config.json: llm_int8_skip_modules must be a list of module names or null, not \"lm_head\"");
  EXPECT_EQ(ErrorOfJson(R"({"llm_int8_threshold": -1})"),
            "config.json: llm_int8_threshold must be a number of at least 0, not -1");
  EXPECT_EQ(ErrorOfJson("[]"), "config.json: must hold a JSON object");
  EXPECT_EQ(ErrorOf([] { BnbConfig().SetField("bnb_4bit_quant_typ", "nf4", "run.yaml"); }),
            "run.yaml: unknown key \"bnb_4bit_quant_typ\"; did you mean \"bnb_4bit_quant_type\"?");
}

TEST(SkippedModules, TheDefaultIsTheHeadTiedWeightsAndTheLastModule) {
  EXPECT_EQ(DefaultSkippedModules({"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}, "lm_head", {}),
            std::vector<std::string>{"lm_head"});
  EXPECT_EQ(DefaultSkippedModules({"model.embed_tokens.weight", "model.norm.weight"}, "lm_head",
                                  {"lm_head.weight", "model.embed_tokens.weight"}),
            (std::vector<std::string>{"lm_head", "model.embed_tokens", "model.norm"}));
}

// Each as should_convert_module of transformers 5.24 answers.
TEST(SkippedModules, MatchesAsTransformersDoes) {
  const auto skips = [](const std::string& name, const char* module) {
    return SkippedModules({name}, "run.yaml").Skips(module);
  };
  EXPECT_TRUE(skips("lm_head", "lm_head"));
  EXPECT_FALSE(skips("lm_head", "model.layers.0.mlp.up_proj"));
  EXPECT_TRUE(skips("model.layers.1", "model.layers.1.mlp.up_proj"));
  EXPECT_FALSE(skips("model.layers.1", "model.layers.11.mlp.up_proj"));
  EXPECT_TRUE(skips("down_proj", "model.layers.1.mlp.down_proj"));
  EXPECT_FALSE(skips("gate", "model.layers.1.mlp.gate_proj"));
  EXPECT_TRUE(skips("proj", "model.layers.1.mlp.gate_proj"));
  EXPECT_TRUE(skips("model.layers.*", "model.layers.11.mlp.gate_proj"));
  EXPECT_TRUE(skips("a|model.layers.2", "model.layers.2.mlp"));
  EXPECT_FALSE(skips("mlp", "model.layers.2.mlp.up_proj"));
  EXPECT_TRUE(skips("model.", "model.layers.2.mlp.up_proj"));
  EXPECT_FALSE(SkippedModules({}, "run.yaml").Skips("lm_head"));
  EXPECT_NE(ErrorOf([] { SkippedModules({"a("}, "run.yaml"); }).find("not a regular expression"), std::string::npos);
}

}  // namespace attune::bnb_config_test
