// Variants of LoRA from outside: what a run ends with is what its files hold, merged or not, and a run that was stopped
// ends in the same bits.
#include "training.h"

namespace attune::adapter_variants_test {

using Arguments = std::vector<std::string>;

class AdapterVariantsTest : public TrainingTest {
 protected:
  static std::string BiasedLlama() { return std::string(ATTUNE_TEST_DATA) + "/models/llama_tied_bias"; }

  double EvalLoss(const std::string& model, const Arguments& more) const {
    Arguments arguments = {"eval", "--model", model, "--data", Path("held-out.jsonl"), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out)["eval_loss"];
  }

  void ExpectWholeRun(const Arguments& variant, const std::string& model = Llama()) const {
    Arguments settings = {"--save_steps",
                          "4",
                          "--lr_scheduler_type",
                          "constant",
                          "--learning_rate",
                          "1e-2",
                          "--r",
                          "4",
                          "--lora_dropout",
                          "0.1",
                          "--bf16",
                          "false",
                          "--model",
                          model,
                          "--eval_data",
                          Path("held-out.jsonl")};
    settings.insert(settings.end(), variant.begin(), variant.end());
    Arguments straight = settings, half = settings;
    straight.insert(straight.end(), {"--max_steps", "8", "--json"});
    half.insert(half.end(), {"--max_steps", "4"});
    const Outcome whole = Train("straight", straight);
    ASSERT_EQ(whole.exit_code, 0) << whole.err;
    ASSERT_EQ(Train("out", half).exit_code, 0);
    const Outcome resumed = Run({"resume", Path("out"), "--set", "max_steps=8", "--force"});
    ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
    EXPECT_TRUE(SameFile("straight/adapter_model.safetensors", "out/adapter_model.safetensors"));

    const double before = nlohmann::json::parse(whole.out)["eval_loss_before"];
    const double after = nlohmann::json::parse(whole.out)["eval_loss"];
    EXPECT_NEAR(before, EvalLoss(model, {}), 1e-4) << "training must start from the model as it is";
    EXPECT_GT(std::abs(after - before), 1e-3);
    EXPECT_NEAR(EvalLoss(model, {"--adapter", Path("straight")}), after, 1e-4);
    ASSERT_EQ(Run({"merge", "--model", model, "--adapter", Path("straight"), "--output", Path("merged")}).exit_code, 0);
    EXPECT_NEAR(EvalLoss(Path("merged"), {}), after, 1e-4);
  }
};

TEST_F(AdapterVariantsTest, Dora) { ExpectWholeRun({"--use_dora", "true"}); }
TEST_F(AdapterVariantsTest, TrainedTokens) { ExpectWholeRun({"--trainable_token_indices", "3,14,250"}); }
TEST_F(AdapterVariantsTest, Pissa) { ExpectWholeRun({"--init_lora_weights", "pissa"}); }
TEST_F(AdapterVariantsTest, PissaByIterationWithDora) {
  ExpectWholeRun({"--init_lora_weights", "pissa_niter_4", "--use_dora", "true", "--target_modules", "all-linear"});
}
TEST_F(AdapterVariantsTest, Olora) { ExpectWholeRun({"--init_lora_weights", "olora", "--use_rslora", "true"}); }
TEST_F(AdapterVariantsTest, Eva) { ExpectWholeRun({"--init_lora_weights", "eva", "--target_modules", "all-linear"}); }
TEST_F(AdapterVariantsTest, LoraBias) {
  ExpectWholeRun({"--lora_bias", "true", "--use_rslora", "true", "--bias", "lora_only"}, BiasedLlama());
}
TEST_F(AdapterVariantsTest, LoraBiasIsNotMergedIntoAModuleWithoutABias) {
  ASSERT_EQ(Train("out", {"--lora_bias", "true", "--max_steps", "1"}).exit_code, 0);
  ExpectRefused(Run({"merge", "--model", Llama(), "--adapter", Path("out"), "--output", Path("merged")}),
                {"out: it was trained with lora_bias", "model.layers.0.self_attn.q_proj of this base has no bias"});
  ExpectRefused(Train("embedding", {"--lora_bias", "true", "--target_modules", "embed_tokens,q_proj"}),
                {"lora_bias with model.embed_tokens among the target_modules"});
}
TEST_F(AdapterVariantsTest, Orthogonal) { ExpectWholeRun({"--init_lora_weights", "orthogonal"}); }

// Weights that stay in their files are read, never written: what changes has memory of its own.
TEST_F(AdapterVariantsTest, OnABaseThatStaysInItsFiles) {
  ASSERT_EQ(
      Run({"export", "--model", Llama(), "--format", "safetensors", "--output", Path("half"), "--dtype", "bfloat16"})
          .exit_code,
      0);
  const std::vector<std::pair<std::string, Arguments>> variants = {
      {"dora", {"--use_dora", "true"}},
      {"tokens", {"--trainable_token_indices", "3,14"}},
      {"pissa", {"--init_lora_weights", "pissa", "--target_modules", "q_proj"}}};
  for (const auto& [name, variant] : variants) {
    Arguments arguments = {
        "train",       "--model", Path("half"), "--data", Path("rows.jsonl"), "--output_dir", Path(name),
        "--max_steps", "3",       "--r",        "4",      "--bf16",           "false"};
    arguments.insert(arguments.end(), variant.begin(), variant.end());
    const Outcome in_memory = Run(arguments);
    ASSERT_EQ(in_memory.exit_code, 0) << in_memory.err;
    arguments[6] = Path(name + "-offloaded");
    arguments.insert(arguments.end(), {"--offload", "true"});
    const Outcome offloaded = Run(arguments);
    ASSERT_EQ(offloaded.exit_code, 0) << offloaded.err;
    EXPECT_TRUE(SameFile(name + "/adapter_model.safetensors", name + "-offloaded/adapter_model.safetensors")) << name;
  }
}

TEST_F(AdapterVariantsTest, LoftqOnABaseThatIsQuantisedWhileItIsRead) {
  const Arguments settings = {"--max_steps", "4", "--r", "4", "--init_lora_weights", "loftq"};
  Arguments qlora = settings;
  qlora.insert(qlora.end(), {"--method", "qlora"});
  const Outcome trained = Train("out", qlora);
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  EXPECT_EQ(ReadJson("out/adapter_config.json")["init_lora_weights"], true);
  ExpectRefused(Train("refused", settings), {"loftq", "not quantised here"});
  const Arguments merge = {"merge",     "--model",  Llama(),        "--adapter",
                           Path("out"), "--output", Path("merged"), "--any_base"};
  ExpectRefused(Run(merge), {"loftq", "attune quantize", "--any_base"});
  ASSERT_EQ(Run({"quantize", "--model", Llama(), "--output", Path("packed")}).exit_code, 0);
  Arguments onto_packed = merge;
  onto_packed[2] = Path("packed");
  EXPECT_EQ(Run(onto_packed).exit_code, 0);
}

// What is left of the weights is quantised. The result is the change to the base as it was, so it belongs to the 16-bit
// one.
TEST_F(AdapterVariantsTest, PissaOnABaseThatIsQuantisedWhileItIsRead) {
  const Arguments settings = {"--method",
                              "qlora",
                              "--r",
                              "8",
                              "--target_modules",
                              "all-linear",
                              "--eval_data",
                              Path("held-out.jsonl"),
                              "--save_steps",
                              "2",
                              "--learning_rate",
                              "1e-3",
                              "--lr_scheduler_type",
                              "constant"};
  const auto with = [&](const Arguments& more) {
    Arguments all = settings;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto before = [&](const Outcome& outcome) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out)["eval_loss_before"].get<double>();
  };
  const double base = EvalLoss(Llama(), {});
  const double plain = before(Train("plain", with({"--max_steps", "1", "--json"})));
  const double pissa = before(Train("straight", with({"--init_lora_weights", "pissa", "--max_steps", "4", "--json"})));
  EXPECT_LT(std::abs(pissa - base), std::abs(plain - base));
  const auto planned = [&](const std::string& run) {
    return ReadJson(run + "/run.json")["planned_bytes"].get<int64_t>();
  };
  EXPECT_LT(planned("straight"), planned("plain") + 40000) << "only the first A and B come to a base of few bits";

  ASSERT_EQ(Train("out", with({"--init_lora_weights", "pissa", "--max_steps", "2"})).exit_code, 0);
  ASSERT_EQ(Run({"resume", Path("out"), "--set", "max_steps=4", "--force"}).exit_code, 0);
  EXPECT_TRUE(SameFile("straight/adapter_model.safetensors", "out/adapter_model.safetensors"));
  EXPECT_EQ(ReadJson("straight/adapter_config.json")["r"], 16);
  EXPECT_EQ(Run({"merge", "--model", Llama(), "--adapter", Path("straight"), "--output", Path("merged")}).exit_code, 0);

  ASSERT_EQ(Run({"quantize", "--model", Llama(), "--output", Path("packed")}).exit_code, 0);
  Arguments on_packed = with({"--init_lora_weights", "pissa"});
  on_packed.insert(on_packed.begin(),
                   {"train", "--model", Path("packed"), "--data", Path("rows.jsonl"), "--output_dir", Path("refused")});
  ExpectRefused(Run(on_packed), {"init_lora_weights \"pissa\"", "kept in few bits (4-bit)"});
  on_packed[2] = std::string(ATTUNE_TEST_DATA) + "/gguf/tiny_llama_mixed.gguf";
  ExpectRefused(Run(on_packed), {"init_lora_weights \"pissa\"", "or method: lora, which decodes it"});
}

}  // namespace attune::adapter_variants_test
