#include "adapters/target_matching.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "formats/json.h"
#include "formats/safetensors.h"

namespace attune::target_matching_test {

const std::string kData = ATTUNE_TEST_DATA;

// The modules of a base model of the fixtures, from its weights: every matrix is a linear layer or the
// embedding.
std::vector<ModuleInfo> ModulesOf(const std::string& model) {
  const SafetensorsFile file(kData + "/models/" + model + "/model.safetensors");
  std::vector<ModuleInfo> modules;
  for (const TensorView& tensor : file.tensors()) {
    if (!tensor.name.ends_with(".weight")) continue;
    ModuleInfo module{tensor.name.substr(0, tensor.name.size() - 7)};
    module.is_embedding = module.path.ends_with("embed_tokens");
    module.is_linear = tensor.shape.size() == 2 && !module.is_embedding;
    module.is_output_head = module.path == "lm_head";
    if (tensor.shape.size() == 2) {
      module.out = tensor.shape[0];
      module.in = tensor.shape[1];
      if (module.is_embedding) std::swap(module.in, module.out);
    }
    modules.push_back(module);
  }
  return modules;
}

// A model of many layers, as module paths.
std::vector<ModuleInfo> DeepModel(int layers) {
  std::vector<ModuleInfo> modules = {{"model.embed_tokens", false, false, true, 256, 36}};
  for (int layer = 0; layer < layers; ++layer) {
    for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                             "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
      modules.push_back({fmt::format("model.layers.{}.{}", layer, name), true, false, false, 36, 36});
    }
    modules.push_back({fmt::format("model.layers.{}.input_layernorm", layer)});
  }
  modules.push_back({"lm_head", true, true, false, 36, 256});
  return modules;
}

std::vector<std::string> Matched(const LoraConfig& config, const std::vector<ModuleInfo>& modules,
                                 const std::string& model_type = "llama") {
  std::vector<std::string> paths;
  for (const MatchedModule& match : MatchTargets(config, modules, model_type, "w")) paths.push_back(match.module.path);
  return paths;
}

std::string MatchError(const LoraConfig& config, const std::vector<ModuleInfo>& modules,
                       const std::string& model_type = "llama") {
  try {
    MatchTargets(config, modules, model_type, "w");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

LoraConfig Targeting(LoraConfig::Selection targets) {
  LoraConfig config;
  config.target_modules = std::move(targets);
  return config;
}

using Names = std::vector<std::string>;

// What PEFT put into adapter_model.safetensors must be what matching predicts: every key, rank and shape.
TEST(TargetMatching, PredictsTheTensorsOfEveryAdapterPeftWrote) {
  const std::map<std::string, std::string> cases = {{"llama_all7_r16", "llama"},
                                                    {"llama_rslora", "llama"},
                                                    {"llama_patterns", "llama"},
                                                    {"llama_regex", "llama"},
                                                    {"llama_all_linear", "llama"},
                                                    {"llama_layers", "llama"},
                                                    {"llama_modules_to_save", "llama"},
                                                    {"llama_bias_lora_only", "llama_tied_bias"},
                                                    {"llama_embed", "llama"},
                                                    {"llama_exclude", "llama"},
                                                    {"qwen2_all_linear", "qwen2"},
                                                    {"gemma3_text_all7", "gemma3_text"},
                                                    {"phi3_fused", "phi3"}};
  for (const auto& [name, model] : cases) {
    const std::string folder = kData + "/lora/" + name;
    const std::string path = folder + "/adapter_config.json";
    const LoraConfig config = LoraConfig::FromJson(ParseOrderedJsonFile(path), path);
    std::map<std::string, std::vector<int64_t>> expected;
    const std::vector<ModuleInfo> modules = ModulesOf(model);
    for (const MatchedModule& match : MatchTargets(config, modules, model, path)) {
      const ModuleInfo& module = match.module;
      const std::string prefix = "base_model.model." + module.path;
      if (module.is_embedding) {
        expected[prefix + ".lora_embedding_A"] = {match.rank, module.in};
        expected[prefix + ".lora_embedding_B"] = {module.out, match.rank};
        expected[prefix + ".base_layer.weight"] = {module.in, module.out};
      } else {
        expected[prefix + ".lora_A.weight"] = {match.rank, module.in};
        expected[prefix + ".lora_B.weight"] = {module.out, match.rank};
        if (config.bias == LoraConfig::Bias::kLoraOnly) expected[prefix + ".base_layer.bias"] = {module.out};
      }
    }
    for (const ModuleInfo& module : MatchModulesToSave(config, modules, path)) {
      expected["base_model.model." + module.path + ".weight"] = {module.out, module.in};
    }
    std::map<std::string, std::vector<int64_t>> written;
    const SafetensorsFile adapter(folder + "/adapter_model.safetensors");
    for (const TensorView& tensor : adapter.tensors()) {
      written[tensor.name] = tensor.shape;
    }
    EXPECT_EQ(expected, written) << name;
  }
}

TEST(TargetMatching, ScalingFollowsRankAlphaAndRslora) {
  LoraConfig config = Targeting(Names{"q_proj", "v_proj"});
  config.r = 4;
  config.lora_alpha = 10;
  config.rank_pattern = {{"layers\\.1\\.self_attn\\.q_proj", 9}, {"q_proj", 2}};
  config.alpha_pattern = {{"v_proj", 6.0}};
  const std::vector<ModuleInfo> modules = DeepModel(2);
  std::vector<MatchedModule> matched = MatchTargets(config, modules, "llama", "w");
  ASSERT_EQ(matched.size(), 4u);
  EXPECT_EQ(matched[0].rank, 2);
  EXPECT_EQ(matched[0].scaling, 5.0);
  EXPECT_EQ(matched[1].rank, 4);
  EXPECT_EQ(matched[1].scaling, 1.5);
  EXPECT_EQ(matched[2].rank, 9);
  EXPECT_EQ(matched[2].scaling, 10.0 / 9);
  config.use_rslora = true;
  matched = MatchTargets(config, modules, "llama", "w");
  EXPECT_EQ(matched[0].scaling, 10.0 / std::sqrt(2.0));
}

TEST(TargetMatching, PatternsMatchWholePartsOfThePath) {
  LoraConfig config = Targeting(Names{"q_proj"});
  config.rank_pattern = {{"roj", 3}, {"_proj", 5}, {"self_attn", 7}};  // no part of a path by itself
  EXPECT_EQ(MatchTargets(config, DeepModel(1), "llama", "w")[0].rank, 8);
}

TEST(TargetMatching, LayersAreFoundByNumberAndNamedByPattern) {
  LoraConfig config = Targeting(Names{"q_proj"});
  config.layers_to_transform = std::vector<int64_t>{1, 11};
  EXPECT_EQ(Matched(config, DeepModel(12)),
            (Names{"model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj"}));
  config.layers_to_transform = int64_t{2};
  config.layers_pattern = std::string("layers");
  EXPECT_EQ(Matched(config, DeepModel(12)), Names{"model.layers.2.self_attn.q_proj"});
  config.layers_pattern = Names{"blocks"};
  EXPECT_NE(MatchError(config, DeepModel(12)).find("leave no module"), std::string::npos);
  config.layers_pattern = {};
  config.target_modules = Names{"model.layers.0.self_attn.q_proj"};  // in full: PEFT does not filter it
  EXPECT_EQ(Matched(config, DeepModel(12)).size(), 1u);
}

TEST(TargetMatching, SavedModulesAndExclusionsWin) {
  LoraConfig config = Targeting(Names{"q_proj", "lm_head", "embed_tokens"});
  config.modules_to_save = Names{"lm_head"};
  config.exclude_modules = Names{"embed_tokens"};
  EXPECT_EQ(Matched(config, DeepModel(1)), Names{"model.layers.0.self_attn.q_proj"});
  config.modules_to_save = Names{"self_attn"};
  EXPECT_EQ(Matched(config, DeepModel(1)), Names{"lm_head"});  // q_proj lies inside self_attn
}

TEST(TargetMatching, DefaultsAndAllLinearResolveAsPeftSavesThem) {
  const std::vector<ModuleInfo> deep = DeepModel(12);
  EXPECT_EQ(std::get<Names>(ResolveTargets(LoraConfig(), deep, "qwen3").target_modules), (Names{"q_proj", "v_proj"}));
  EXPECT_NE(MatchError(LoraConfig(), deep, "smollm3").find("no default for model_type smollm3"), std::string::npos);
  // 84 names become the seven suffixes that tell them from embedding, norms and head.
  Names shortened = std::get<Names>(ResolveTargets(Targeting("All-Linear"), deep, "llama").target_modules);
  std::sort(shortened.begin(), shortened.end());
  EXPECT_EQ(shortened, (Names{"down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"}));
  EXPECT_EQ(Matched(Targeting("all-linear"), deep).size(), 84u);
  EXPECT_EQ(std::get<Names>(ResolveTargets(Targeting("all-linear"), DeepModel(2), "llama").target_modules).size(), 14u);
  // Leaving one layer out of a long list: suffixes may not reach into it.
  Names names;
  for (const ModuleInfo& module : deep) {
    if (module.is_linear && !module.is_output_head && module.path.find("layers.3.") == std::string::npos) {
      names.push_back(module.path);
    }
  }
  EXPECT_EQ(Matched(Targeting(names), deep), names);
}

TEST(TargetMatching, NamesWhatExistsWhenATargetDoesNot) {
  const std::string error = MatchError(Targeting(Names{"q_proj", "c_attn"}), DeepModel(1));
  EXPECT_EQ(error,
            "w: target_modules: the model has no module \"c_attn\" (it has embed_tokens, q_proj, k_proj, v_proj, "
            "o_proj, gate_proj, up_proj, down_proj, lm_head)");
  EXPECT_EQ(
      MatchTargets(Targeting(Names{"q_proj", "c_attn"}), DeepModel(1), "llama", "w", UnknownTargets::kIgnore).size(),
      1u);
  EXPECT_NE(MatchError(Targeting("q_proj"), DeepModel(1)).find("regular expression for the whole path"),
            std::string::npos);
  EXPECT_NE(MatchError(Targeting(Names{"input_layernorm"}), DeepModel(1)).find("neither a linear layer"),
            std::string::npos);
  EXPECT_NE(MatchError(Targeting("(q_proj"), DeepModel(1)).find("not a regular expression"), std::string::npos);
}

TEST(TargetMatching, ARunawayExpressionIsAnErrorNotAHang) {
  std::vector<ModuleInfo> modules = {{std::string(60, 'a') + "!", true}};
  EXPECT_NE(MatchError(Targeting("(a*)*(a*)*b|(a+)+$x"), modules).find("failed on"), std::string::npos)
      << MatchError(Targeting("(a*)*(a*)*b|(a+)+$x"), modules);
}

TEST(TargetMatching, ModulesToSaveMustExist) {
  LoraConfig config;
  config.modules_to_save = Names{"lm_head"};
  EXPECT_EQ(MatchModulesToSave(config, DeepModel(1), "w").size(), 1u);
  config.modules_to_save = Names{"lm_haed"};
  EXPECT_THROW(MatchModulesToSave(config, DeepModel(1), "w"), Error);
}

}  // namespace attune::target_matching_test
