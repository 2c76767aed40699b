// attune advise --measure from outside: every method on the same rows, gone on with, and refused in one line.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "program.h"

namespace attune::ladder_test {

using Json = nlohmann::ordered_json;  // the order of keys counts where a ladder knows its folder again

class LadderTest : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    MakeChatModel();
    std::string rows;
    for (int i = 0; i < 120; ++i)
      rows += Json{{"prompt", "q" + std::to_string(i)}, {"completion", "a" + std::to_string(i % 7)}}.dump() + "\n";
    WriteFileAtomic(Path("rows.jsonl"), rows);
  }
  static std::vector<std::string> Arguments(const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"advise", "--measure", "--model", "model", "--data", "rows.jsonl"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Json Ladder() {
    const Outcome outcome = Attune(Arguments({"--budget", "60s", "--output_dir", "ladder", "--json"}));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? Json::parse(outcome.out) : Json();
  }
};

TEST_F(LadderTest, MeasuresEveryMethodOnTheSameRowsAndGoesOn) {
  const Json first = Ladder();
  ASSERT_EQ(first["rungs"].size(), 5u);
  EXPECT_EQ(first["train_rows"], 108);
  EXPECT_EQ(first["held_out_rows"], 12);
  const char* names[] = {"base", "prompt", "lora", "qlora", "full"};
  for (size_t i = 0; i < 5; ++i) {
    const Json& rung = first["rungs"][i];
    EXPECT_EQ(rung["name"], names[i]);
    EXPECT_EQ(rung["skipped"], "") << names[i];
    EXPECT_LE(rung["low"], rung["eval_loss"]);
    EXPECT_GE(rung["high"], rung["eval_loss"]);
    EXPECT_GT(rung["peak_rss_bytes"], 1 << 20);
  }
  // What a run says of itself is what the same rows say of its adapter.
  const Json& lora = first["rungs"][2];
  EXPECT_LT(lora["eval_loss"], first["rungs"][0]["eval_loss"]);
  const Outcome eval =
      Attune({"eval", "--model", "model", "--adapter", lora["path"], "--data", "ladder/held-out.jsonl", "--json"});
  EXPECT_NEAR(lora["eval_loss"], Json::parse(eval.out)["eval_loss"].get<double>(), 1e-6);
  EXPECT_TRUE(FileExists(Path("ladder/prompt.json")));
  EXPECT_NE(ReadFile(Path("ladder/ladder.html")).find("<svg"), std::string::npos);

  // A rung is lost: it alone is measured again, and its runs are still there.
  Json state = Json::parse(ReadFile(Path("ladder/ladder.json")));
  state["rungs"].erase("lora");
  WriteFileAtomic(Path("ladder/ladder.json"), state.dump());
  const Json second = Ladder();
  EXPECT_EQ(second["rungs"][2]["eval_loss"], lora["eval_loss"]);
  EXPECT_EQ(second["rungs"][2]["path"], lora["path"]);
  for (const size_t i : {0u, 1u, 3u, 4u}) EXPECT_EQ(second["rungs"][i], first["rungs"][i]);

  state["trained"]["lora"]["steps"] = "many";
  Json damaged[] = {state, state, state, state, state};
  damaged[1]["rungs"] = Json::array();
  damaged[2]["rungs"]["base"].erase("cost");
  damaged[3]["rungs"]["base"]["losses"].erase(0);
  damaged[4]["rungs"]["base"]["skipped"] = "for no reason";
  for (const Json& of_ladder : damaged) {
    WriteFileAtomic(Path("ladder/ladder.json"), of_ladder.dump());
    ExpectRefused(Arguments({"--budget", "60s", "--output_dir", "ladder"}), "ladder.json: is not as attune advise");
  }
}

TEST_F(LadderTest, TextHasNoPrompt) {
  std::string text;
  for (int i = 0; i < 90; ++i) text += "a line of text, the " + std::to_string(i) + "th\n";
  WriteFileAtomic(Path("lines.txt"), text);
  const Outcome outcome = Attune({"advise", "--measure", "--model", "model", "--data", "lines.txt", "--budget", "60s",
                                  "--output_dir", "ladder", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json rungs = Json::parse(outcome.out)["rungs"];
  EXPECT_NE(rungs[1]["skipped"].get<std::string>().find("not all rows are questions"), std::string::npos);
  EXPECT_EQ(rungs[2]["skipped"], "");
  EXPECT_LT(rungs[2]["eval_loss"], rungs[0]["eval_loss"]);
}

TEST_F(LadderTest, AdviceLooksAtTheLossOnTheRows) {
  const auto advice = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"advise", "--model", "model", "--data", "rows.jsonl", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return Json::parse(outcome.out);
  };
  const Json json = advice({});
  EXPECT_EQ(json["losses"]["rows_measured"], 120);  // 2 and 3 tokens and their ends, a byte a token: all of them
  // A made-up model is as wrong about either as a guess is.
  const double guess = std::log(Json::parse(ReadFile(Path("model/config.json")))["vocab_size"].get<double>());
  EXPECT_NEAR(json["losses"]["rows"], guess, 0.5);
  EXPECT_NEAR(json["losses"]["general"], guess, 0.5);
  EXPECT_GT(json["losses"]["general_tokens"], 1000);
  EXPECT_EQ(advice({})["losses"], json["losses"]);
  EXPECT_TRUE(advice({"--loss_seconds", "0"})["losses"].is_null());
  ExpectRefused({"advise", "--model", "model", "--data", "rows.jsonl", "--loss_seconds", "-1"}, "--loss_seconds");
}

TEST_F(LadderTest, RefusesInOneLine) {
  WriteFileAtomic(Path("few.jsonl"), Json{{"prompt", "q"}, {"completion", "a"}}.dump() + "\n");
  WriteFileAtomic(Path("empty.jsonl"), "\n");
  const auto refused = [&](const std::vector<std::string>& more, const std::string& piece) {
    ExpectRefused(Arguments(more), piece);
  };
  refused({}, "--output_dir");
  refused({"--output_dir", "ladder", "--budget", "soon"}, "--budget soon: write a time");
  refused({"--output_dir", "ladder", "--budget", "5s"}, "a minute or more");
  refused({"--output_dir", "ladder", "--eval_data", "empty.jsonl"}, "empty.jsonl");
  refused({"--output_dir", "model"}, "model");
  refused({"--output_dir", "ladder", "--output", "run.yaml"}, "leave out --output");
  ExpectRefused({"advise", "--measure", "--model", "model", "--data", "few.jsonl", "--output_dir", "ladder"},
                "too few to set 8 apart");
  ExpectRefused({"advise", "--model", "model", "--data", "rows.jsonl", "--budget", "5m"}, "belongs to --measure");
  EXPECT_FALSE(DirectoryExists(Path("ladder")));
}

}  // namespace attune::ladder_test
