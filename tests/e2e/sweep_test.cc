// attune sweep from outside: ranked on held-out rows, gone on with, and refused in one line.
#include <gtest/gtest.h>

#include "training.h"

namespace attune::sweep_test {

using Json = nlohmann::json;

class SweepTest : public TrainingTest {
 protected:
  std::vector<std::string> SweepArguments(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"sweep",
                                          "--model",
                                          Llama(),
                                          "--data",
                                          Path("rows.jsonl"),
                                          "--eval_data",
                                          Path("held-out.jsonl"),
                                          "--output_dir",
                                          Path("sweep"),
                                          "--max_steps",
                                          "8",
                                          "--per_device_train_batch_size",
                                          "4",
                                          "--bf16",
                                          "false"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Json Sweep(std::vector<std::string> more) const {
    more.emplace_back("--json");
    const Outcome outcome = Run(SweepArguments(more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? Json::parse(outcome.out) : Json();
  }
};

TEST_F(SweepTest, RanksEveryCombinationAndGoesOn) {
  const std::vector<std::string> grid = {"--grid", "learning_rate=1e-9,3e-2", "--grid", "r=2,4"};
  const Json first = Sweep(grid);
  ASSERT_EQ(first["rungs"].size(), 1u);
  const Json& trials = first["rungs"][0];
  ASSERT_EQ(trials.size(), 4u);
  for (size_t i = 1; i < trials.size(); ++i) EXPECT_LE(trials[i - 1]["eval_loss"], trials[i]["eval_loss"]);
  EXPECT_EQ(first["best"]["settings"]["learning_rate"], "3e-2");  // the other one stands still
  const Json record = Json::parse(ReadFile(first["best"]["output_dir"].get<std::string>() + "/run.json"));
  EXPECT_EQ(record["result"]["eval_loss"], first["best"]["eval_loss"]);
  EXPECT_EQ(Json::parse(ReadFile(Path("sweep/sweep.json"))), first);

  // One trial is lost: it alone is run again, to the same loss.
  std::filesystem::remove_all(Path("sweep/rung-1/trial-2"));
  const Outcome again = Run(SweepArguments(grid));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  size_t there = 0;
  for (size_t at = again.out.find("(there already)"); at != std::string::npos;
       at = again.out.find("(there already)", at + 1))
    ++there;
  EXPECT_EQ(there, 3u) << again.out;
  const Json second = Json::parse(ReadFile(Path("sweep/sweep.json")));
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(second["rungs"][0][i]["eval_loss"], trials[i]["eval_loss"]);
}

TEST_F(SweepTest, HalvingGivesTheBetterHalfTwiceAsMuch) {
  const Json result = Sweep({"--grid", "learning_rate=1e-9,1e-3,1e-2,3e-2", "--halving"});
  ASSERT_EQ(result["rungs"].size(), 3u);
  for (size_t rung = 0; rung < 3; ++rung) {
    EXPECT_EQ(result["rungs"][rung].size(), size_t{4} >> rung);
    for (const Json& trial : result["rungs"][rung]) EXPECT_EQ(trial["steps"], 2 << rung);
  }
  EXPECT_EQ(result["best"]["steps"], 8);
}

// A scale that overflows in the first step.
TEST_F(SweepTest, ATrialThatFailsIsTheWorstAndEndsNothing) {
  const Json result = Sweep({"--grid", "lora_alpha=1e30,8"});
  ASSERT_EQ(result["rungs"][0].size(), 2u);
  EXPECT_EQ(result["best"]["settings"]["lora_alpha"], "8");
  EXPECT_TRUE(result["rungs"][0][1]["eval_loss"].is_null());
  EXPECT_NE(result["rungs"][0][1]["error"].get<std::string>().find("not finite"), std::string::npos);
  const Outcome all = Run(SweepArguments({"--grid", "lora_alpha=1e30,2e30", "--output_dir", Path("other")}));
  EXPECT_EQ(all.exit_code, 1);
  EXPECT_NE(all.err.find("every trial failed"), std::string::npos) << all.err;
}

TEST_F(SweepTest, RefusesInOneLine) {
  const auto refused = [&](const std::vector<std::string>& more, const std::string& piece) {
    ExpectRefused(Run(SweepArguments(more)), {piece});
  };
  refused({}, "needs --grid");
  refused({"--grid", "learning_rate"}, "write key=A,B");
  refused({"--grid", "learning_rate="}, "needs values");
  refused({"--grid", "r=2,4", "--grid", "r=8"}, "--grid r: is given twice");
  refused({"--grid", "learning_rat=1,2"}, "did you mean \"learning_rate\"?");
  refused({"--grid", "r=4,0"}, "r");
  refused({"--grid", "r=4,5000"}, "r 5000");
  refused({"--grid", "r=2,4", "--data.eval", "null"}, "set data.eval");
  WriteFileAtomic(Path("no-rows.jsonl"), "");
  refused({"--grid", "r=2,4", "--data.eval", "no-rows.jsonl"}, "holds no rows");
  EXPECT_FALSE(DirectoryExists(Path("sweep")));
  Sweep({"--grid", "r=2"});
  refused({"--grid", "r=4"}, "holds a sweep with other settings");
  refused({"--grid", "r=2", "--learning_rate", "0.5"}, "holds a sweep with other settings");
}

}  // namespace attune::sweep_test
