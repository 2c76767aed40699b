// attune prompt from outside: prompts scored beside an adapter, kept, and used by eval and generate.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"

namespace attune::prompt_test {

using Json = nlohmann::json;

class PromptTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    MakeChatModel();
    std::string train, held_out;
    for (int i = 0; i < 24; ++i) train += Row("q" + std::to_string(i), "a" + std::to_string(i));
    for (int i = 0; i < 5; ++i) held_out += Row("q" + std::to_string(i) + "x", "b" + std::to_string(i));
    WriteFileAtomic(Path("train.jsonl"), train);
    WriteFileAtomic(Path("held-out.jsonl"), held_out);
  }
  static std::string Row(const std::string& question, const std::string& answer) {
    return Json{{"messages", {{{"role", "user"}, {"content", question}}, {{"role", "assistant"}, {"content", answer}}}}}
               .dump() +
           "\n";
  }
  std::vector<std::string> Arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"prompt",      "--model",     "model",         "--data",
                                          "train.jsonl", "--eval_data", "held-out.jsonl"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Json Prompt(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = Arguments(more);
    arguments.emplace_back("--json");
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? Json::parse(outcome.out) : Json();
  }
  double EvalLoss(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"eval", "--model", "model", "--data", "held-out.jsonl", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? Json::parse(outcome.out)["eval_loss"].get<double>() : 0;
  }
  static Json Find(const Json& result, const std::string& begin) {
    for (const Json& c : result["candidates"]) {
      if (c["name"].get<std::string>().starts_with(begin)) return c;
    }
    return {};
  }
};

TEST_F(PromptTest, ScoresPromptsBesideAnAdapterAndKeepsTheBest) {
  ASSERT_EQ(Attune({"train", "--model", "model", "--data", "train.jsonl", "--output_dir", "adapter", "--r", "4",
                    "--max_steps", "20", "--learning_rate", "1e-2"})
                .exit_code,
            0);
  const Json result = Prompt(
      {"--system", "Be brief.", "--shots", "1,3", "--search", "3", "--adapter", "adapter", "--output", "prompt.json"});
  ASSERT_EQ(result["candidates"].size(), 7u);  // none, system, two likenesses, two searches, an adapter
  EXPECT_EQ(result["rows"], 5);
  for (size_t i = 1; i < 7; ++i)
    EXPECT_LE(result["candidates"][i - 1]["eval_loss"], result["candidates"][i]["eval_loss"]);
  // The same figures as eval's, with the same answers scored whatever stands before them.
  EXPECT_DOUBLE_EQ(Find(result, "no prompt")["eval_loss"], EvalLoss({}));
  EXPECT_DOUBLE_EQ(Find(result, "adapter")["eval_loss"], EvalLoss({"--adapter", "adapter"}));
  const Json best = result["candidates"][result["best_prompt"].get<size_t>()];
  EXPECT_EQ(best["adapter"], "");
  EXPECT_DOUBLE_EQ(best["eval_loss"], EvalLoss({"--prompt_file", "prompt.json"}));
  for (const Json& c : result["candidates"])
    EXPECT_EQ(c["eval_tokens"], result["candidates"][0]["eval_tokens"]) << c["name"];
  EXPECT_GT(Find(result, "3 examples like")["prompt_tokens"], Find(result, "1 examples like")["prompt_tokens"]);
}

TEST_F(PromptTest, GenerateShowsTheExamplesThatAreLikeTheQuestion) {
  WriteFileAtomic(Path("prompt.json"),
                  Json{{"system", "S"}, {"similar", {{"data", Path("train.jsonl")}, {"shots", 2}}}}.dump());
  const auto tokens = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"generate", "--model",          "model", "--prompt",
                                          "q7",       "--max_new_tokens", "1",     "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return Json::parse(outcome.out)["prompt_tokens"].get<int64_t>();
  };
  // "s:S</s>" and two times "u:qN</s>a:aN</s>", a byte a token and one for "</s>"; never the row that is asked, q7.
  EXPECT_EQ(tokens({"--prompt_file", "prompt.json"}), tokens({}) + 4 + 2 * 10);
}

TEST_F(PromptTest, ExamplesByMeaningAreChosenByEvalAsTheyWereByPrompt) {
  const Json result = Prompt({"--shots", "3", "--similarity", "embedding", "--output", "prompt.json"});
  ASSERT_EQ(result["candidates"].size(), 2u);
  const Json by_meaning = Find(result, "3 examples like the question in meaning");
  ASSERT_EQ(result["candidates"][0], by_meaning) << "the prompt that is written has no examples";
  EXPECT_TRUE(
      by_meaning["prompt"]["similar"]["vectors"].get<std::string>().ends_with("/prompt.json.vectors.safetensors"));
  const Json unwritten =
      Find(Prompt({"--shots", "3", "--similarity", "embedding"}), "3 examples like the question in meaning");
  EXPECT_EQ(unwritten["similarity"], "embedding");
  EXPECT_FALSE(unwritten["prompt"]["similar"].contains("vectors")) << "a file that nobody has written";
  EXPECT_DOUBLE_EQ(by_meaning["eval_loss"], EvalLoss({"--prompt_file", "prompt.json"}));
  EXPECT_EQ(Attune({"generate", "--model", "model", "--prompt", "q7", "--max_new_tokens", "1", "--prompt_file",
                    "prompt.json"})
                .exit_code,
            0);
  ExpectRefused(Arguments({"--similarity", "meaning"}), "use bm25, embedding or both");
  const std::string rows = ReadFile(Path("train.jsonl"));
  WriteFileAtomic(Path("train.jsonl"), rows + Row("q99", "a99"));
  ExpectRefused({"eval", "--model", "model", "--data", "held-out.jsonl", "--prompt_file", "prompt.json"},
                "run attune prompt again");
  WriteFileAtomic(Path("train.jsonl"), rows);
  WriteFileAtomic(Path("prompt.json.vectors.safetensors"), "no vectors");
  ExpectRefused({"eval", "--model", "model", "--data", "held-out.jsonl", "--prompt_file", "prompt.json"},
                "prompt.json.vectors.safetensors");
}

TEST_F(PromptTest, RefusesInOneLine) {
  WriteFileAtomic(Path("bad.json"), R"({"sistem": "x"})");
  WriteFileAtomic(Path("text.jsonl"), "{\"text\": \"a\"}\n");
  ExpectRefused({"eval", "--model", "model", "--data", "held-out.jsonl", "--prompt_file", "bad.json"},
                "did you mean \"system\"?");
  ExpectRefused({"generate", "--model", "model", "--prompt", "a", "--system", "b", "--prompt_file", "bad.json"},
                "exclude each other");
  ExpectRefused({"prompt", "--model", "model", "--data", "text.jsonl", "--eval_data", "held-out.jsonl"},
                "text.jsonl:1: has no question and answer");
  ExpectRefused(Arguments({"--output", "train.jsonl"}), "train.jsonl: exists");
  ExpectRefused(Arguments({"--output", "nowhere/prompt.json"}), "nowhere/prompt.json: its folder does not exist");
  ExpectRefused(Arguments({"--shots", "23", "--search", "2"}), "too few to try sets of 23 examples");
  WriteFileAtomic(Path("empty.jsonl"), "\n");
  ExpectRefused({"prompt", "--model", "model", "--data", "train.jsonl", "--eval_data", "empty.jsonl"}, "empty.jsonl");
  std::filesystem::remove(Path("model/chat_template.jinja"));
  ExpectRefused(Arguments({}), "has no chat template");
}

}  // namespace attune::prompt_test
