// The program from outside: what a person types, what comes back, and the one line and exit code 2 for what is wrong.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"

namespace attune::command_line_test {

const std::string kData = ATTUNE_TEST_DATA;
const std::string kLlama = kData + "/models/llama";

struct Outcome {
  int exit_code;
  std::string out, err;
};

class CommandLine : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/cli-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }

  Outcome Attune(const std::string& arguments) {
    const std::string command = std::string(ATTUNE_BINARY_DIR) + "/attune " + arguments + " >" + Path("stdout") +
                                " 2>" + Path("stderr") + " </dev/null";
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(Path("stdout")), ReadFile(Path("stderr"))};
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  std::string Write(const std::string& name, const std::string& content) {
    WriteFileAtomic(Path(name), content);
    return Path(name);
  }

  std::string Rows() {
    std::string text;
    for (int row = 0; row < 12; ++row) {
      nlohmann::json ids = nlohmann::json::array();
      for (int t = 0; t < 5 + row % 4; ++t) ids.push_back((row * 7 + t * 3) % 250);
      text += nlohmann::json{{"input_ids", ids}}.dump() + "\n";
    }
    return Write("rows.jsonl", text);
  }

  std::string Train(const std::string& more = "") {
    return "train --model " + kLlama + " --data " + Rows() + " --output_dir " + Path("out") +
           " --max_steps 2 --target_modules q_proj,v_proj " + more;
  }

  // Exit code 2, one line on standard error that holds every one of the pieces, nothing on standard output.
  void ExpectRefused(const std::string& arguments, const std::vector<std::string>& pieces) {
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << arguments << "\n" << outcome.out << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const std::string& piece : pieces)
      EXPECT_NE(outcome.err.find(piece), std::string::npos) << piece << "\n" << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_FALSE(std::filesystem::exists(Path("out"))) << "something was written before the refusal";
  }

  std::string folder_;
};

TEST_F(CommandLine, TrainsEvaluatesMergesAndAgreesWithItself) {
  const Outcome train = Attune(Train("--json --learning_rate 1e-2"));
  ASSERT_EQ(train.exit_code, 0) << train.err;
  const auto result = nlohmann::json::parse(train.out);
  EXPECT_EQ(result["steps"], 2);
  for (const char* file : {"adapter_model.safetensors", "adapter_config.json", "metrics.jsonl", "run.json",
                           "checkpoint-2/trainer_state.json", "checkpoint-2/optimizer.safetensors"}) {
    EXPECT_TRUE(FileExists(Path("out") + "/" + file)) << file;
  }
  const auto run = nlohmann::json::parse(ReadFile(Path("out") + "/run.json"));
  EXPECT_GT(run["planned_bytes"].get<int64_t>(), 0);
  EXPECT_GT(run["peak_rss_bytes"].get<int64_t>(), 0);

  // base + adapter and the merged model give the same loss, and another one than the base alone.
  const Outcome merge = Attune("merge --model " + kLlama + " --adapter " + Path("out") + " --output " + Path("merged") +
                               " --dtype float32");
  ASSERT_EQ(merge.exit_code, 0) << merge.err;
  const auto loss = [&](const std::string& model) {
    const Outcome eval = Attune("eval --data " + Path("rows.jsonl") + " --json --model " + model);
    EXPECT_EQ(eval.exit_code, 0) << eval.err;
    return nlohmann::json::parse(eval.out)["eval_loss"].get<double>();
  };
  const double with_adapter = loss(kLlama + " --adapter " + Path("out"));
  EXPECT_NEAR(loss(Path("merged")), with_adapter, 1e-5);
  EXPECT_GT(std::abs(loss(kLlama) - with_adapter), 1e-4);
  // A second run into the same folder is refused, and the first is untouched.
  const std::string before = ReadFile(Path("out") + "/run.json");
  const Outcome again = Attune(Train());
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_NE(again.err.find("already holds another run"), std::string::npos) << again.err;
  EXPECT_EQ(ReadFile(Path("out") + "/run.json"), before);
}

TEST_F(CommandLine, LogitsComeAsSafetensors) {
  const std::string ids = Write("ids.json", "[[1,2,3],[4]]");
  const Outcome outcome =
      Attune("logits --model " + kLlama + " --input_ids " + ids + " --output " + Path("l.safetensors"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(std::filesystem::file_size(Path("l.safetensors")) % 4, 0u);
}

TEST_F(CommandLine, BadSettingsAreRefusedByName) {
  ExpectRefused(Train("--learning_rat 1e-4"), {"learning_rat", "did you mean \"learning_rate\""});
  ExpectRefused(Train("--set training.learning_rate=fast"), {"training.learning_rate", "number", "fast"});
  ExpectRefused(Train("--target_modules q_prj"), {"q_prj", "q_proj"});
  ExpectRefused(Train("--use_dora true --target_modules embed_tokens"), {"use_dora", "embed_tokens"});
  ExpectRefused(Train("--init_lora_weights mica"), {"mica"});
  ExpectRefused(Train("--init_lora_weights pissa --r 300"), {"pissa", "r 300", "q_proj"});
  ExpectRefused(Train("--init_lora_weights loftq"), {"loftq", "not quantised here"});
  ExpectRefused(Train("--init_lora_weights eva --per_device_train_batch_size 1"),
                {"eva", "no batch holds 16 trained tokens"});
  ExpectRefused(Train("--trainable_token_indices 3,999"), {"trainable_token_indices", "999"});
  ExpectRefused(Train("--method qlorra"), {"qlorra", "qlora"});
  ExpectRefused(Train("--optim lomo"), {"optim", "lomo"});
  ExpectRefused(Train("--lr_scheduler_type cosin"), {"cosin", "cosine"});
  ExpectRefused("train --model " + kLlama + " --data " + Rows(), {"output_dir"});
  ExpectRefused("train " + Write("c.yaml", "training:\n  learning_rat: 1\n"), {"c.yaml:2", "learning_rate"});
  ExpectRefused("train " + Write("d.yaml", "a: [\n"), {"d.yaml", "YAML"});
  ExpectRefused("train " + Write("e.yaml", "lora:\n  r: 2\nlora:\n  r: 4\n"), {"e.yaml:3", "\"lora\" is there twice"});
  ExpectRefused("train " + Write("f.yaml", "lora: {r: 2, r: 4}\n"), {"f.yaml:1", "\"r\" is there twice"});
  ExpectRefused("train " + Write("g.yaml", "[lora]: {r: 2}\n"), {"g.yaml:1", "a key must be a text"});
  ExpectRefused("train " + Write("h.yaml", "lora: {rank_pattern: {[q_proj]: 2}}\n"),
                {"h.yaml:1", "a key must be a text"});
  ExpectRefused("train " + Write("i.yaml", "lora: {target_modules: &a [*a]}\n"), {"i.yaml", "deeper than 32"});
  std::string doubled = "lora: {target_modules: [&a0 [x]";  // a line that stands for 2^30 texts
  for (int i = 0; i < 30; ++i) doubled += fmt::format(", &a{} [*a{}, *a{}]", i + 1, i, i);
  ExpectRefused("train " + Write("j.yaml", doubled + "]}\n"), {"j.yaml", "more than 1048576 values"});
  ExpectRefused("train " + Write("k.yaml", "model:\n  name_or_path: \"\xff\"\n"), {"k.yaml:2", "not valid UTF-8"});
  ExpectRefused(Train("--tokenizer 'a\xff'"), {"tokenizer", "not valid UTF-8"});
  ExpectRefused(Train("--adam_epsilon 0"), {"adam_epsilon", "from 1e-30 to 1"});
  ExpectRefused("frobnicate", {"frobnicate"});
  ExpectRefused("synth --shape tiny --output ''", {"no name"});
  for (const char* value : {"nan", "-1", "1e9", "hot"}) {
    ExpectRefused("generate --model " + kLlama + " --prompt p --temperature '" + value + "'",
                  {"--temperature", value, "from 0 to 1000"});
  }
  for (const char* value : {"-1", "18446744073709551616", "1.5", "x"}) {  // the first two wrapped around
    ExpectRefused("generate --model " + kLlama + " --prompt p --seed '" + value + "'", {"--seed", value, "from 0 to"});
  }
}

TEST_F(CommandLine, BadDataIsRefusedByFileAndLine) {
  const auto train = [&](const std::string& data) {
    return "train --model " + kLlama + " --output_dir " + Path("out") + " --target_modules q_proj --data " + data;
  };
  ExpectRefused(train(Write("broken.jsonl", "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, \n")), {"broken.jsonl:2"});
  ExpectRefused(train(Write("wrong.jsonl", "{\"input_ids\": [1, \"two\"]}\n")), {"wrong.jsonl:1", "input_ids"});
  ExpectRefused(train(Write("outside.jsonl", "{\"input_ids\": [1, 256]}\n")), {"outside.jsonl:1", "256"});
  ExpectRefused(train(Write("nothing.jsonl", "{\"input_ids\": [1, 2], \"labels\": [-100, -100]}\n")),
                {"nothing.jsonl"});
  ExpectRefused(train(Write("empty.jsonl", "")), {"empty.jsonl"});
  ExpectRefused(train(Write("text.jsonl", "{\"text\": \"hello\"}\n")), {"tokenizer"});
  ExpectRefused(train("/no/such.jsonl"), {"/no/such.jsonl"});
}

TEST_F(CommandLine, BadModelsAreRefused) {
  const auto info = [&](const std::string& model) { return "info " + model; };
  ExpectRefused(info("/no/such/model"), {"/no/such/model"});
  ExpectRefused(info("some/repository"), {"some/repository"});
  ExpectRefused(info(Write("short.gguf", "GGUF")), {"short.gguf"});
  std::filesystem::copy(kLlama, Path("llama"));
  const std::string weights = ReadFile(kLlama + "/model.safetensors");
  Write("llama/model.safetensors", weights.substr(0, weights.size() / 2));
  ExpectRefused(info(Path("llama")), {"model.safetensors"});
  ExpectRefused("train --model " + kLlama + " --data " + Rows() + " --target_modules q_proj --output_dir /proc/attune",
                {"/proc/attune"});
  ExpectRefused("eval --model " + kData + "/models/llama3 --adapter " + kData + "/lora/llama_all7_r16 --data " + Rows(),
                {"adapter_model.safetensors", "lora_A.weight", "shape"});
}

}  // namespace attune::command_line_test
