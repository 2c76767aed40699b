#include "adapters/lora_config.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"

namespace attune::lora_config_test {

using nlohmann::ordered_json;
const std::string kData = ATTUNE_TEST_DATA;

std::string ErrorOfField(const std::string& key, const std::string& value) {
  LoraConfig config;
  try {
    config.SetField(key, ordered_json::parse(value), "c.yaml: lora");
    config.Validate("c.yaml: lora");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

void ExpectFieldError(const std::string& key, const std::string& value, const std::string& part) {
  const std::string error = ErrorOfField(key, value);
  EXPECT_NE(error.find(part), std::string::npos) << key << " " << value << ": " << error;
  EXPECT_NE(error.find(key), std::string::npos) << error;
}

// Everything PEFT wrote, read and written again, is the same text.
TEST(LoraConfig, RewritesPeftsFilesByteForByte) {
  int supported = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData + "/lora")) {
    const std::string path = entry.path().string() + "/adapter_config.json";
    const LoraConfig config = LoraConfig::FromJson(ParseOrderedJsonFile(path), path);
    EXPECT_TRUE(config.ignored_keys.empty());
    EXPECT_EQ(config.ToText(), ReadFile(path)) << path;
    ++supported;
  }
  EXPECT_EQ(supported, 17);
}

TEST(LoraConfig, ReadsFieldsOfEveryShape) {
  LoraConfig config;
  const std::string where = "w";
  config.SetField("lora_alpha", 2.5, where);
  config.SetField("init_lora_weights", "gaussian", where);
  config.SetField("layers_to_transform", 3, where);
  config.SetField("layers_pattern", "layers", where);
  config.SetField("target_modules", ordered_json::parse(R"(["a","b","a"])"), where);
  config.SetField("alpha_pattern", ordered_json::parse(R"({"z":1,"a":2.5})"), where);
  config.SetField("modules_to_save", ordered_json::parse(R"(["lm_head"])"), where);
  config.SetField("trainable_token_indices", ordered_json::parse(R"({"embed_tokens":[7,3]})"), where);
  config.Validate(where);
  EXPECT_EQ(std::get<std::vector<std::string>>(config.target_modules), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(config.alpha_pattern.front().first, "z");  // the order decides which expression comes first
  const ordered_json json = config.ToJson();
  EXPECT_EQ(json["lora_alpha"], 2.5);
  EXPECT_EQ(json["layers_to_transform"], 3);
  EXPECT_EQ(json["trainable_token_indices"].dump(), R"({"embed_tokens":[7,3]})");
  EXPECT_EQ(json["init_lora_weights"], "gaussian");
  EXPECT_EQ(json["alpha_pattern"].dump(), R"({"z":1,"a":2.5})");
  EXPECT_EQ(LoraConfig::FromJson(json, where), config);
}

TEST(LoraConfig, WritesInitialisationsByTheirNames) {
  for (const char* name : {"pissa", "pissa_niter_16", "olora", "orthogonal", "gaussian", "eva", "loftq"}) {
    LoraConfig config;
    config.SetField("eva_config",
                    ordered_json::parse(name == std::string("eva") ? R"({"rho": 1.5, "whiten": false})" : "null"), "w");
    config.SetField("init_lora_weights", name, "w");
    EXPECT_EQ(config.ToJson()["init_lora_weights"], name);
    EXPECT_EQ(LoraConfig::FromJson(config.ToJson(), "w"), config);
    config.SetField("init_lora_weights", true, "w");
    EXPECT_EQ(config.ToJson()["init_lora_weights"], true);
  }
}

TEST(LoraConfig, RefusesWrongTypesAndRanges) {
  ExpectFieldError("r", "0", "an integer from 1 to 65536, not 0");
  ExpectFieldError("r", "8.0", "an integer");
  ExpectFieldError("r", "18446744073709551615", "an integer");
  ExpectFieldError("lora_alpha", "0", "a positive number");
  ExpectFieldError("lora_alpha", "1e308", "within the range of a 32-bit float");
  ExpectFieldError("alpha_pattern", "{\"q_proj\": 1e-300}", "within the range of a 32-bit float");
  ExpectFieldError("lora_alpha", "\"16\"", "a positive number, not \"16\"");
  ExpectFieldError("lora_dropout", "1", "from 0 to below 1");
  ExpectFieldError("lora_dropout", "-0.1", "from 0 to below 1");
  ExpectFieldError("bias", "\"some\"", "none, all or lora_only");
  ExpectFieldError("use_rslora", "1", "true or false");
  ExpectFieldError("target_modules", "[1]", "a list of names");
  ExpectFieldError("target_modules", "[\"\"]", "a list of names");
  ExpectFieldError("modules_to_save", "\"lm_head\"", "a list of names");
  ExpectFieldError("rank_pattern", "{\"q_proj\": 0}", "ranks");
  ExpectFieldError("alpha_pattern", "[]", "an object");
  ExpectFieldError("layers_to_transform", "[-1]", "a layer's number");
  ExpectFieldError("task_type", "\"SEQ_CLS\"", "CAUSAL_LM");
  ExpectFieldError("peft_type", "\"LOHA\"", "LORA");
  ExpectFieldError("init_lora_weights", "\"kaiming\"", "true, false, \"gaussian\"");
  for (const char* name :
       {"\"pissa_niter_\"", "\"pissa_niter_0\"", "\"pissa_niter_4x\"", "\"pissa_niter_1001\"", "\"pissa2\"", "3"}) {
    ExpectFieldError("init_lora_weights", name, "pissa_niter_16");
  }
  ExpectFieldError("trainable_token_indices", "[1, 1]", "each once");
  ExpectFieldError("trainable_token_indices", "[-1]", "token ids");
  ExpectFieldError("trainable_token_indices", "{\"embed_tokens\": 3}", "token ids");
  ExpectFieldError("loftq_config", "{\"loftq_iter\": 5}", "quantised once");
  ExpectFieldError("eva_config", "{\"rho\": 0.5}", "rho (1 or more)");
  ExpectFieldError("eva_config", "{\"whiten\": true}", "whiten false");
  ExpectFieldError("layers_pattern", "\"h\"", "needs layers_to_transform");
  ExpectFieldError("lora_bias", "\"all\"", "true or false");
}

// PEFT's LoraConfig.__post_init__ refuses both too.
TEST(LoraConfig, ABiasOfBGoesWithPlainLoraOnly) {
  const auto error_beside_lora_bias = [](const char* key, const ordered_json& value) -> std::string {
    LoraConfig config;
    config.SetField("lora_bias", true, "lora");
    config.SetField(key, value, "lora");
    try {
      config.Validate("lora");
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(error_beside_lora_bias("init_lora_weights", false), "no error");
  EXPECT_EQ(error_beside_lora_bias("init_lora_weights", "gaussian"),
            "lora: lora_bias needs init_lora_weights true or false");
  EXPECT_EQ(error_beside_lora_bias("use_dora", true),
            "lora: lora_bias does not go with use_dora: leave one of them out");
}

TEST(LoraConfig, RefusesWhatIsNotBuiltYetByName) {
  for (const std::string key : {"use_qalora", "ensure_weight_tying"}) {
    ExpectFieldError(key, "true", "arrives with a later version");
    EXPECT_EQ(ErrorOfField(key, "false"), "no error");
  }
  for (const std::string key :
       {"target_parameters", "layer_replication", "megatron_config", "alora_invocation_tokens", "use_bdlora"}) {
    ExpectFieldError(key, "[1]", "arrives with a later version");
    EXPECT_EQ(ErrorOfField(key, "null"), "no error");
  }
  for (const std::string name : {"corda", "lora_ga", "mica"}) {
    ExpectFieldError("init_lora_weights", "\"" + name + "\"", name + "\" arrives with a later version");
  }
}

TEST(LoraConfig, UnknownKeysAreErrorsInOurConfigurationAndNotedInFiles) {
  EXPECT_EQ(ErrorOfField("lora_dropuot", "0"),
            "c.yaml: lora: unknown key \"lora_dropuot\"; did you mean \"lora_dropout\"?");
  const LoraConfig config =
      LoraConfig::FromJson(ordered_json::parse(R"({"peft_type":"LORA","from_the_future":1})"), "f");
  EXPECT_EQ(config.ignored_keys, std::vector<std::string>{"from_the_future"});
  EXPECT_EQ(config.r, 8);
  EXPECT_THROW(LoraConfig::FromJson(ordered_json::parse(R"({"r":4})"), "f"), Error);
  EXPECT_THROW(LoraConfig::FromJson(ordered_json::parse("[]"), "f"), Error);
  EXPECT_THROW(
      LoraConfig::FromJson(
          ordered_json::parse(R"({"peft_type":"LORA","target_modules":".*q","layers_to_transform":[1]})"), "f"),
      Error);
}

}  // namespace attune::lora_config_test
