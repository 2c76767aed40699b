#include "models/model_spec.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "formats/json.h"

namespace attune::model_spec_test {

using nlohmann::json;
const std::string kData = ATTUNE_TEST_DATA;

json ConfigOf(const std::string& model, const std::string& file = "config.json") {
  return ParseJsonFile(kData + "/models/" + model + "/" + file);
}

std::string ErrorOf(const json& config) {
  try {
    ModelSpec::FromConfig(config, "config.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

// The error of llama's configuration with one key changed.
std::string ErrorWith(const std::string& key, const json& value, const std::string& model = "llama") {
  json config = ConfigOf(model);
  config[key] = value;
  return ErrorOf(config);
}

ModelSpec SpecWith(const std::string& model, const json& patch = json::object()) {
  json config = ConfigOf(model);
  config.merge_patch(patch);  // null removes a key
  return ModelSpec::FromConfig(config, "config.json");
}

TEST(ModelSpec, LayoutsOfTransformers4And5GiveTheSameSpec) {
  for (const std::string model : {"llama", "llama3", "llama_tied_bias", "mistral", "qwen2", "qwen3", "smollm3"}) {
    EXPECT_EQ(ModelSpec::FromConfig(ConfigOf(model), "a"),
              ModelSpec::FromConfig(ConfigOf(model, "config_v4.json"), "b"))
        << model;
  }
}

TEST(ModelSpec, ReadsTheTraitsOfEveryFamily) {
  const ModelSpec llama = SpecWith("llama");
  EXPECT_EQ(llama.architecture, "LlamaForCausalLM");
  EXPECT_EQ(llama.head_dim, 6);
  EXPECT_EQ(llama.num_key_value_heads, 2);
  EXPECT_EQ(llama.rope_theta, 50000);
  EXPECT_EQ(llama.bos_token_id, 1);
  EXPECT_EQ(llama.eos_token_ids, std::vector<int64_t>{2});
  EXPECT_EQ(llama.pad_token_id, 0);
  EXPECT_EQ(llama.torch_dtype, "float32");
  EXPECT_FALSE(llama.qkv_bias || llama.o_bias || llama.mlp_bias || llama.qk_norm || llama.tie_word_embeddings);
  EXPECT_EQ(llama.sliding_window, (std::vector<int64_t>{0, 0}));

  const ModelSpec llama3 = SpecWith("llama3");
  EXPECT_EQ(llama3.rope_scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(llama3.rope_scaling.original_max_position_embeddings, 32);

  const ModelSpec biased = SpecWith("llama_tied_bias");
  EXPECT_TRUE(biased.qkv_bias && biased.o_bias && biased.tie_word_embeddings);

  EXPECT_EQ(SpecWith("mistral").sliding_window, (std::vector<int64_t>{9, 9}));
  const ModelSpec qwen2 = SpecWith("qwen2");
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.o_bias);
  EXPECT_TRUE(SpecWith("qwen3").qk_norm);
  const ModelSpec smollm3 = SpecWith("smollm3");
  EXPECT_TRUE(smollm3.tie_word_embeddings);
  EXPECT_EQ(smollm3.uses_rope, (std::vector<bool>{true, true, true, false}));
}

TEST(ModelSpec, AbsentKeysTakeTheFamilysDefaults) {
  const json none = nullptr;
  const ModelSpec llama = SpecWith("llama", {{"head_dim", none},
                                             {"num_key_value_heads", none},
                                             {"rope_parameters", none},
                                             {"rms_norm_eps", none},
                                             {"eos_token_id", {2, 7}},
                                             {"pad_token_id", -1}});
  EXPECT_EQ(llama.head_dim, 6);
  EXPECT_EQ(llama.num_key_value_heads, 6);
  EXPECT_EQ(llama.rope_theta, 10000);
  EXPECT_EQ(llama.rms_norm_eps, 1e-6);
  EXPECT_EQ(llama.eos_token_ids, (std::vector<int64_t>{2, 7}));
  EXPECT_FALSE(llama.pad_token_id.has_value());
  // An absent sliding_window is 4096 to Mistral, null none.
  EXPECT_EQ(SpecWith("mistral", {{"sliding_window", none}}).sliding_window, (std::vector<int64_t>{4096, 4096}));
  json config = ConfigOf("mistral");
  config["sliding_window"] = nullptr;
  EXPECT_EQ(ModelSpec::FromConfig(config, "c").sliding_window, (std::vector<int64_t>{0, 0}));
  EXPECT_TRUE(SpecWith("smollm3", {{"tie_word_embeddings", none}}).tie_word_embeddings);
  EXPECT_EQ(SpecWith("smollm3", {{"no_rope_layers", none}, {"no_rope_layer_interval", 2}}).uses_rope,
            (std::vector<bool>{true, false, true, false}));
}

TEST(ModelSpec, QwenSlidesOnTheLayersItNames) {
  const json none = nullptr;
  EXPECT_EQ(
      SpecWith("qwen2",
               {{"use_sliding_window", true}, {"sliding_window", 5}, {"max_window_layers", 1}, {"layer_types", none}})
          .sliding_window,
      (std::vector<int64_t>{0, 5}));
  EXPECT_EQ(SpecWith("qwen3", {{"use_sliding_window", true},
                               {"sliding_window", 5},
                               {"layer_types", {"sliding_attention", "full_attention"}}})
                .sliding_window,
            (std::vector<int64_t>{5, 0}));
  EXPECT_NE(
      ErrorWith("layer_types", {"sliding_attention", "full_attention"}, "qwen2").find("sliding_window is not set"),
      std::string::npos);
  EXPECT_NE(ErrorWith("layer_types", {"chunked_attention", "full_attention"}, "qwen2").find("layer_types[0]"),
            std::string::npos);
}

TEST(ModelSpec, RefusesByNameWhatItCannotCompute) {
  EXPECT_NE(ErrorWith("model_type", "gpt2").find("model_type \"gpt2\" is not supported (supported: llama,"),
            std::string::npos);
  EXPECT_NE(ErrorWith("hidden_act", "gelu").find("hidden_act \"gelu\""), std::string::npos);
  EXPECT_NE(ErrorWith("pretraining_tp", 2).find("pretraining_tp 2"), std::string::npos);
  EXPECT_NE(ErrorWith("attn_logit_softcapping", 30.0).find("attn_logit_softcapping"), std::string::npos);
  EXPECT_NE(ErrorWith("num_experts", 8).find("num_experts"), std::string::npos);
  EXPECT_EQ(ErrorWith("num_experts", nullptr), "no error");
  EXPECT_NE(ErrorWith("architectures", {"LlamaForSequenceClassification"}).find("LlamaForCausalLM"), std::string::npos);
  for (const std::string type : {"dynamic", "yarn", "longrope", "mrope"}) {
    EXPECT_NE(
        ErrorWith("rope_parameters", {{"rope_type", type}, {"factor", 2.0}}).find("\"" + type + "\" is not supported"),
        std::string::npos);
    EXPECT_NE(ErrorWith("rope_scaling", {{"type", type}, {"factor", 2.0}}).find("\"" + type + "\""), std::string::npos);
  }
  EXPECT_NE(ErrorWith("partial_rotary_factor", 0.5).find("partial_rotary_factor 0.5"), std::string::npos);
}

TEST(ModelSpec, RefusesAbsurdAndMistypedValuesByName) {
  for (const std::string key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                                "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    for (const json& value :
         {json(0), json(-4), json(int64_t{1} << 50), json(UINT64_MAX), json(1.5), json("8"), json(true)}) {
      EXPECT_NE(ErrorWith(key, value).find(key), std::string::npos)
          << key << " " << value << ": " << ErrorWith(key, value);
    }
  }
  EXPECT_NE(ErrorWith("num_key_value_heads", 4).find("not a multiple"), std::string::npos);
  EXPECT_NE(ErrorWith("head_dim", 7).find("head_dim is 7"), std::string::npos);
  EXPECT_NE(ErrorWith("rms_norm_eps", -1).find("rms_norm_eps"), std::string::npos);
  EXPECT_NE(ErrorWith("attention_dropout", 1).find("attention_dropout"), std::string::npos);
  EXPECT_NE(ErrorWith("tie_word_embeddings", 1).find("true or false"), std::string::npos);
  EXPECT_NE(ErrorWith("eos_token_id", {"</s>"}).find("eos_token_id"), std::string::npos);
  EXPECT_NE(ErrorWith("rope_parameters", {{"rope_theta", 0}}).find("rope_theta"), std::string::npos);
  EXPECT_NE(ErrorWith("rope_parameters", {{"rope_type", "linear"}}).find("\"factor\""), std::string::npos);
  EXPECT_NE(ErrorWith("rope_parameters", {{"rope_type", "linear"}, {"factor", 0}}).find("factor"), std::string::npos);
  EXPECT_NE(ErrorWith("rope_parameters", {{"rope_type", "llama3"}, {"factor", 8}}).find("low_freq_factor"),
            std::string::npos);
  EXPECT_NE(ErrorWith("no_rope_layers", {1, 0}, "smollm3").find("no_rope_layers"), std::string::npos);
  EXPECT_NE(ErrorOf(json::array()).find("JSON object"), std::string::npos);
  json config = ConfigOf("llama");
  config.erase("hidden_size");
  EXPECT_EQ(ErrorOf(config), "config.json: the key \"hidden_size\" is missing");
}

TEST(ModelSpec, ListsTensorsByTraits) {
  const auto has = [](const ModelSpec& spec, const std::string& name) {
    for (const ExpectedTensor& tensor : ExpectedTensors(spec)) {
      if (tensor.name == name) return true;
    }
    return false;
  };
  EXPECT_EQ(ExpectedTensors(SpecWith("llama")).size(), 1u + 2 * 9 + 2);
  EXPECT_EQ(ExpectedTensors(SpecWith("llama", {{"mlp_bias", true}})).size(), 1u + 2 * 12 + 2);
  EXPECT_TRUE(has(SpecWith("qwen2"), "model.layers.1.self_attn.q_proj.bias"));
  EXPECT_FALSE(has(SpecWith("qwen2"), "model.layers.1.self_attn.o_proj.bias"));
  EXPECT_TRUE(has(SpecWith("qwen3"), "model.layers.0.self_attn.k_norm.weight"));
  EXPECT_FALSE(has(SpecWith("smollm3"), "lm_head.weight"));
}

// Values of torch 2.15 and transformers 5.24 (LlamaRotaryEmbedding) for the fixtures' configurations.
TEST(RopeInverseFrequencies, AgreeWithTransformers) {
  const auto expect = [](const ModelSpec& spec, const std::vector<float>& wanted) {
    const std::vector<float> got = RopeInverseFrequencies(spec);
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], wanted[i] * 1.2e-7f) << i;
  };
  expect(SpecWith("llama"), {1.e+00f, 2.7144171e-02f, 7.3680613e-04f});
  expect(SpecWith("llama3"), {1.e+00f, 8.514666e-02f, 1.6718509e-02f, 4.3234085e-03f, 1.118034e-03f, 2.8912374e-04f,
                              7.476744e-05f, 1.933487e-05f});
  expect(SpecWith("llama", {{"rope_parameters", {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 10000.0}}}}),
         {2.5e-01f, 1.1603971e-02f, 5.386086e-04f});
}

TEST(RopeInverseFrequencies, ExplicitFactorsDivide) {
  ModelSpec spec = SpecWith("llama");
  const std::vector<float> plain = RopeInverseFrequencies(spec);
  spec.rope_factors = {1, 2, 8};
  const std::vector<float> divided = RopeInverseFrequencies(spec);
  EXPECT_EQ(divided, (std::vector<float>{plain[0], plain[1] / 2, plain[2] / 8}));
}

// The factors that llama.cpp's converter stores for llama3 scaling give the frequencies of the scaling
// itself.
TEST(RopeInverseFrequencies, GgufFactorsStandForLlama3Scaling) {
  const ModelSpec scaled = SpecWith("llama3");
  ModelSpec spec = scaled;
  spec.rope_scaling = {};
  const std::vector<float> plain = RopeInverseFrequencies(spec), wanted = RopeInverseFrequencies(scaled);
  for (size_t i = 0; i < plain.size(); ++i) spec.rope_factors.push_back(plain[i] / wanted[i]);
  const std::vector<float> got = RopeInverseFrequencies(spec);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], wanted[i] * 2e-7f);
}

}  // namespace attune::model_spec_test
