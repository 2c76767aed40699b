// attune eval as a bench from outside: several systems by several metrics, one page, and refusals in one line.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "program.h"

namespace attune::eval_test {

using Json = nlohmann::json;

class EvalBenchTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    MakeChatModel();
    std::string rows;
    for (int i = 0; i < 6; ++i) {
      rows += Json{{"messages",
                    {{{"role", "user"}, {"content", "q" + std::to_string(i)}},
                     {{"role", "assistant"}, {"content", "<b>a & " + std::to_string(i) + "</b>"}}}}}
                  .dump() +
              "\n";
    }
    WriteFileAtomic(Path("rows.jsonl"), rows);
  }
  std::vector<std::string> Arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"eval", "--model", "model", "--max_new_tokens", "4"};
    if (more.front() != "--data") arguments.insert(arguments.end(), {"--data", "rows.jsonl"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Json Bench(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = Arguments(more);
    arguments.emplace_back("--json");
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? Json::parse(outcome.out) : Json();
  }
};

TEST_F(EvalBenchTest, ComparesTheModelAPromptAndAnAdapter) {
  ASSERT_EQ(Attune({"train", "--model", "model", "--data", "rows.jsonl", "--output_dir", "adapter", "--r", "4",
                    "--max_steps", "60", "--learning_rate", "2e-2"})
                .exit_code,
            0);
  WriteFileAtomic(Path("prompt.json"), R"({"system": "S"})");
  const Json result =
      Bench({"--adapter", "adapter", "--prompt_file", "prompt.json", "--metrics",
             "loss,exact_match,token_f1,rouge_l,chrf", "--general", "built-in", "--output", "page.html"});
  ASSERT_EQ(result["systems"].size(), 3u);
  const Json &base = result["systems"][0], &prompt = result["systems"][1], &adapter = result["systems"][2];
  EXPECT_EQ(base["name"], "base");
  EXPECT_EQ(prompt["name"], "prompt prompt.json");
  EXPECT_EQ(adapter["name"], "adapter adapter");
  // The same figures as the loss alone.
  const auto loss = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"eval", "--model", "model", "--data", "rows.jsonl", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Json::parse(Attune(arguments).out)["eval_loss"].get<double>();
  };
  EXPECT_NEAR(base["metrics"]["loss"]["value"], loss({}), 1e-6);
  EXPECT_NEAR(prompt["metrics"]["loss"]["value"], loss({"--prompt_file", "prompt.json"}), 1e-6);
  EXPECT_NEAR(adapter["metrics"]["loss"]["value"], loss({"--adapter", "adapter"}), 1e-6);
  EXPECT_LT(adapter["metrics"]["loss"]["high"], base["metrics"]["loss"]["low"]);
  EXPECT_TRUE(base.contains("general_loss") && adapter.contains("general_loss") && !prompt.contains("general_loss"));
  EXPECT_NE(base["general_loss"], adapter["general_loss"]);
  // Every pair of systems on every metric; what training gained is beyond chance.
  ASSERT_EQ(result["differences"].size(), 3u * 5);
  for (const Json& d : result["differences"]) {
    if (d["metric"] != "loss" || d["a"] != "adapter adapter" || d["b"] != "base") continue;
    EXPECT_LT(d["high"], 0);
    EXPECT_EQ(d["share_a_larger"], 0);
  }
  const std::string page = ReadFile(Path("page.html"));
  EXPECT_NE(page.find("&lt;b&gt;a &amp; 3&lt;/b&gt;"), std::string::npos);
  EXPECT_EQ(page.find("<b>a"), std::string::npos);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("://"), std::string::npos);
}

TEST_F(EvalBenchTest, ChoosesTheLikeliestAnswer) {
  // One token a choice, so that both ways of choosing agree, with the model's own preference as the right answer of
  // every row.
  const auto rows = [&](size_t right) {
    std::string text;
    for (int i = 0; i < 4; ++i)
      text += Json{{"question", "q"}, {"choices", {"x", "y", "z"}}, {"answer", right}}.dump() + "\n";
    WriteFileAtomic(Path("choices.jsonl"), text);
    const Json figures = Bench({"--data", "choices.jsonl", "--metrics", "multiple_choice"})["systems"][0]["metrics"];
    EXPECT_EQ(figures["multiple_choice"], figures["multiple_choice_by_token"]);
    return figures["multiple_choice"]["value"].get<double>();
  };
  EXPECT_EQ(rows(0) + rows(1) + rows(2), 1);
}

TEST_F(EvalBenchTest, RunsCodeOnlyWithConsent) {
  WriteFileAtomic(Path("code.jsonl"), Json{{"prompt", "q"}, {"test", "exit 0"}}.dump() + "\n" +
                                          Json{{"prompt", "r"}, {"test", "exit 1"}}.dump() + "\n");
  ExpectRefused(Arguments({"--data", "code.jsonl", "--metrics", "code"}), "--allow_code_execution");
  const Json result =
      Bench({"--data", "code.jsonl", "--metrics", "code", "--allow_code_execution", "--interpreter", "tail -n 1"});
  EXPECT_EQ(result["systems"][0]["metrics"]["code"]["value"], 1);  // tail reads whatever it is given
  const Json shell =
      Bench({"--data", "code.jsonl", "--metrics", "code", "--allow_code_execution", "--interpreter", "false"});
  EXPECT_EQ(shell["systems"][0]["metrics"]["code"]["value"], 0);
  EXPECT_EQ(shell["rows"][0]["code"][0], "ended with status 1");
}

TEST_F(EvalBenchTest, HoldsAnswersAgainstPatternsSchemasAndNumbers) {
  WriteFileAtomic(Path("more.jsonl"),
                  Json{{"prompt", "q"}, {"answer", 7}, {"pattern", "^"}, {"schema", true}}.dump() + "\n" +
                      Json{{"prompt", "r"}, {"answer", "8"}, {"pattern", "[^\\s\\S]"}, {"schema", false}}.dump() +
                      "\n");
  const Json figures = Bench({"--data", "more.jsonl", "--metrics", "regex,json,numeric"})["systems"][0]["metrics"];
  EXPECT_EQ(figures["regex"]["value"], 0.5);  // the start is in every answer, an impossible letter in none
  EXPECT_TRUE(figures.contains("json") && figures.contains("json_schema") && figures.contains("numeric"));
  WriteFileAtomic(Path("all.json"), "true");
  const Json given =
      Bench({"--data", "more.jsonl", "--metrics", "json", "--schema", "all.json"})["systems"][0]["metrics"];
  EXPECT_EQ(given["json_schema"]["value"], given["json"]["value"]);
}

TEST_F(EvalBenchTest, RefusesInOneLine) {
  WriteFileAtomic(Path("bare.jsonl"), "\n{\"prompt\": \"q\"}\n");
  WriteFileAtomic(Path("text.jsonl"), "{\"text\": \"abc\"}\n");
  WriteFileAtomic(Path("empty.jsonl"), "\n");
  const auto refused = [&](const std::vector<std::string>& more, const std::string& piece) {
    ExpectRefused(Arguments(more), piece);
  };
  refused({"--metrics", "rouge_k"}, "did you mean \"rouge_l\"?");
  refused({"--data", "bare.jsonl", "--metrics", "exact_match"},
          "bare.jsonl:2: the metric exact_match needs a reference");
  refused({"--data", "bare.jsonl", "--metrics", "loss"}, "bare.jsonl:2: has no answer");
  refused({"--metrics", "multiple_choice"}, "rows.jsonl:1: the metric multiple_choice needs \"choices\"");
  refused({"--metrics", "regex"}, "needs \"pattern\" in the row, or --pattern");
  refused({"--metrics", "regex", "--pattern", "("}, "--pattern: \"(\" is not a regular expression");
  refused({"--metrics", "loss", "--pattern", "a"}, "--pattern: belongs to --metrics regex");
  refused({"--metrics", "code", "--allow_code_execution"}, "the metric code needs \"test\"");
  refused({"--data", "text.jsonl", "--metrics", "chrf"}, "text.jsonl:1: the metric chrf needs a reference");
  refused({"--data", "empty.jsonl", "--metrics", "loss"}, "empty.jsonl: holds no row");
  refused({"--metrics", "loss", "--output", "rows.jsonl"}, "rows.jsonl: exists");
  refused({"--metrics", "loss", "--output", "page.txt"}, "must end in .html");
  refused({"--metrics", "loss", "--general", "empty.jsonl"}, "empty.jsonl: holds");
  refused({"--metrics", "loss", "--max_length", "8"}, "--max_length");
  WriteFileAtomic(Path("choices.jsonl"), Json{{"question", "q"}, {"choices", {"x", "y"}}, {"answer", 2}}.dump() + "\n");
  refused({"--data", "choices.jsonl", "--metrics", "multiple_choice"},
          "choices.jsonl:1: \"answer\" must be one of the choices");
}

}  // namespace attune::eval_test
