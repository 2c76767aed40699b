// Runs that are interrupted and gone on with, from outside: signals, what is refused and why, and the same
// bits at the end.
#include <sys/resource.h>

#include "formats/durable_folder.h"
#include "training.h"

namespace attune::resume_test {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

class ResumeTest : public TrainingTest {
 protected:
  // Long enough to be interrupted; dropout and two passes an update, so that all random numbers matter.
  Arguments Settings(const Arguments& more = {}) const {
    Arguments settings = {"--max_steps",
                          "150",
                          "--save_steps",
                          "50",
                          "--save_total_limit",
                          "2",
                          "--target_modules",
                          "q_proj,v_proj",
                          "--lora_dropout",
                          "0.1",
                          "--per_device_train_batch_size",
                          "2",
                          "--gradient_accumulation_steps",
                          "2",
                          "--learning_rate",
                          "1e-3"};
    settings.insert(settings.end(), more.begin(), more.end());
    return settings;
  }

  Outcome Interrupt(const Arguments& arguments, const std::string& after, int number = SIGINT) const {
    Program program(arguments, folder_, Path("program"));
    EXPECT_TRUE(program.WaitForOutput(after)) << "it ended before it could be interrupted";
    program.Signal(number);
    return program.Wait();
  }

  void ExpectSameRun(const std::string& straight, const std::string& resumed, const std::string& last) const {
    for (const std::string& file : {std::string("/adapter_model.safetensors"),
                                    "/" + last + "/adapter_model.safetensors", "/" + last + "/optimizer.safetensors"}) {
      EXPECT_TRUE(SameFile(straight + file, resumed + file)) << resumed << file;
    }
    EXPECT_EQ(Metrics(straight), Metrics(resumed));
  }
};

TEST_F(ResumeTest, AnInterruptedRunEndsInTheSameBits) {
  ASSERT_EQ(Train("straight", Settings()).exit_code, 0);
  for (const int number : {SIGINT, SIGTERM}) {
    fs::remove_all(Path("out"));
    const Outcome first = Interrupt(TrainArguments(Path("out"), Settings()), "step 3/", number);
    EXPECT_EQ(first.exit_code, 1);
    EXPECT_NE(first.err.find("stopping after this step"), std::string::npos) << first.err;
    EXPECT_NE(first.err.find("attune resume " + Path("out")), std::string::npos) << first.err;
    EXPECT_EQ(ReadJson("out/run.json")["status"], "interrupted");
    EXPECT_TRUE(FileExists(Path("out/report.html")));
    EXPECT_FALSE(FileExists(Path("out/adapter_model.safetensors"))) << "the result of a run that has not ended";
    const Outcome second = Interrupt({"resume", Path("out")}, "step 60/", number);
    EXPECT_EQ(second.exit_code, 1);
    const Outcome last = Run({"resume", Path("out"), "--json"});
    ASSERT_EQ(last.exit_code, 0) << last.err;
    EXPECT_EQ(nlohmann::json::parse(last.out)["steps"], 150);
    ExpectSameRun("straight", "out", "checkpoint-150");
    const auto record = ReadJson("out/run.json");
    EXPECT_EQ(record["status"], "finished");
    EXPECT_EQ(record["resumed"].size(), 2u);
  }
}

TEST_F(ResumeTest, ASecondSignalEndsItAtOnce) {
  WriteRows("rows.jsonl", 6000, 7);  // an update that takes a while
  Program program(TrainArguments(Path("out"), {"--max_steps", "50", "--save_steps", "1", "--target_modules",
                                               "all-linear", "--per_device_train_batch_size", "6000"}),
                  folder_, Path("program"));
  ASSERT_TRUE(program.WaitForOutput("step 2/"));
  program.Signal(SIGTERM);
  ASSERT_TRUE(program.WaitFor([&] { return ReadFile(Path("program.err")).find("once more") != std::string::npos; }));
  program.Signal(SIGINT);
  const Outcome outcome = program.Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err.find("interrupted after"), std::string::npos) << "it was not at once";
  EXPECT_EQ(VerifyFolder(Path("out/checkpoint-1")), std::nullopt);
  EXPECT_NE(Run({"runs", "show", Path("out")}).out.find("interrupted"), std::string::npos);
}

TEST_F(ResumeTest, ARunWithoutACheckpointStartsAgainAsTheSameRun) {
  const Arguments settings = Settings({"--save_strategy", "no"});
  ASSERT_EQ(Train("straight", settings).exit_code, 0);
  ASSERT_EQ(Interrupt(TrainArguments(Path("out"), settings), "step 3/", SIGKILL).exit_code, -1);
  const std::string id = ReadJson("out/run.json")["id"];
  const Outcome resumed = Run({"resume", Path("out")});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("starting at step 0"), std::string::npos);
  EXPECT_EQ(ReadJson("out/run.json")["id"], id);
  EXPECT_TRUE(SameFile("straight/adapter_model.safetensors", "out/adapter_model.safetensors"));
  EXPECT_EQ(Metrics("straight"), Metrics("out"));
}

TEST_F(ResumeTest, RelativePathsHoldFromAnotherFolder) {
  fs::create_directories(Path("here"));
  fs::create_directories(Path("there"));
  fs::copy(Path("rows.jsonl"), Path("here/rows.jsonl"));
  Arguments arguments = {"train",        "--model", Llama(),           "--data", "rows.jsonl",
                         "--output_dir", "out",     "--logging_steps", "1"};
  for (const std::string& setting : Settings()) arguments.push_back(setting);
  {
    Program program(arguments, Path("here"), Path("program"));
    ASSERT_TRUE(program.WaitForOutput("step 3/"));
    program.Signal(SIGINT);
    ASSERT_EQ(program.Wait().exit_code, 1);
  }
  const Outcome resumed = Run({"resume", "../here/out"}, Path("there"));
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  ASSERT_EQ(Train("straight", Settings()).exit_code, 0);
  ExpectSameRun("straight", "here/out", "checkpoint-150");
}

TEST_F(ResumeTest, AFinishedRunIsLeftAsItIs) {
  ASSERT_EQ(Train("out", {"--max_steps", "4", "--save_strategy", "no", "--target_modules", "q_proj"}).exit_code, 0);
  const std::string record = ReadFile(Path("out/run.json")), weights = ReadFile(Path("out/adapter_model.safetensors"));
  const Outcome resumed = Run({"resume", Path("out"), "--json"});
  EXPECT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(nlohmann::json::parse(resumed.out)["steps"], 4);
  EXPECT_NE(resumed.err.find("finished"), std::string::npos);
  ExpectRefused(Run({"resume", Path("out"), "--set", "max_steps=6", "--force"}), {"no checkpoint to go on from"});
  EXPECT_EQ(ReadFile(Path("out/run.json")), record);
  EXPECT_EQ(ReadFile(Path("out/adapter_model.safetensors")), weights);
  ASSERT_EQ(Train("more", {"--max_steps", "4", "--target_modules", "q_proj"}).exit_code, 0);
  ExpectRefused(Run({"resume", Path("more"), "--set", "max_steps=6"}),
                {"training.max_steps", "4 then", "6 now", "--force"});
  const Outcome longer = Run({"resume", Path("more"), "--set", "max_steps=6", "--force"});
  EXPECT_EQ(longer.exit_code, 0) << longer.err;
  EXPECT_EQ(Metrics("more").back()["step"], 6);
}

TEST_F(ResumeTest, WhatChangedIsNamed) {
  ExpectRefused(Run({"resume", Path("nowhere")}), {"nowhere", "no run.json"});
  ExpectRefused(Run({"resume", folder_}), {folder_, "no run.json"});
  const Arguments settings = Settings({"--save_steps", "1", "--max_steps", "60"});
  ASSERT_EQ(Interrupt(TrainArguments(Path("first"), settings), "step 5/").exit_code, 1);
  const auto resume = [&](const Arguments& more) {
    fs::remove_all(Path("out"));
    fs::copy(Path("first"), Path("out"), fs::copy_options::recursive);
    Arguments arguments = {"resume", Path("out")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  };
  ExpectRefused(resume({"--set", "learning_rate=0.5"}), {"training.learning_rate", "0.001 then", "0.5 now", "--force"});
  ExpectRefused(resume({"--set", "max_length=3"}), {"training.max_length", "3 now", "--force"});
  ExpectRefused(resume({"--set", "optim=sgd"}), {"training.optim", "sgd", "start a new run"});
  ExpectRefused(resume({"--set", "optim=sgd", "--force"}), {"training.optim", "sgd", "start a new run"});
  ExpectRefused(resume({"--set", "r=4", "--force"}), {"r is not what it was", "4 now"});
  ExpectRefused(resume({"--set", "learning_rat=1"}), {"learning_rat", "did you mean"});
  EXPECT_EQ(resume({"--set", "save_steps=7"}).exit_code, 0);
  EXPECT_EQ(resume({"--set", "learning_rate=0.5", "--force"}).exit_code, 0);

  WriteRows("rows.jsonl", 12, 13);
  ExpectRefused(resume({}), {"the training data", "--force"});
  EXPECT_EQ(resume({"--force"}).exit_code, 0);
  WriteRows("rows.jsonl", 12, 7);

  fs::remove_all(Path("out"));
  fs::copy(Path("first"), Path("out"), fs::copy_options::recursive);
  WriteFileAtomic(Path("out/run.json"), ReadFile(Path("out/run.json")).substr(0, 200));
  ExpectRefused(Run({"resume", Path("out")}), {"out/run.json"});
}

// The rate depends on what evaluations have shown, and goes on from there.
TEST_F(ResumeTest, ARateThatFollowsEvaluationsIsGoneOnWith) {
  const Arguments settings =
      Settings({"--max_steps", "60", "--save_steps", "7", "--lr_scheduler_type", "reduce_lr_on_plateau",
                "--lr_scheduler_kwargs", "{mode: max, patience: 1, factor: 0.5}", "--eval_strategy", "steps",
                "--eval_steps", "3", "--eval_samples", "0", "--eval_data", Path("held-out.jsonl")});
  ASSERT_EQ(Train("straight", settings).exit_code, 0);
  EXPECT_EQ(Interrupt(TrainArguments(Path("out"), settings), "step 25/").exit_code, 1);
  ExpectRefused(Run({"resume", Path("out"), "--set", "eval_steps=5"}),
                {"training.eval_steps", "3 then", "5 now", "--force"});
  const Outcome resumed = Run({"resume", Path("out")});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  ExpectSameRun("straight", "out", "checkpoint-60");
  // The loss falls, which is worse by mode: max: after the first evaluation every second one halves the rate.
  double rate = 1e-3;
  int64_t evaluations = 0;
  for (const nlohmann::json& line : Metrics("straight")) {
    if (line.contains("learning_rate")) {
      EXPECT_EQ(line["learning_rate"], rate) << line["step"];
    }
    if (!line.contains("eval_loss") || line["step"] == 0) continue;
    if (++evaluations % 2 == 1 && evaluations > 1) rate *= 0.5;
  }
  EXPECT_LT(rate, 1e-5);
}

// The same rows and the same model, but other tokens.
TEST_F(ResumeTest, AnotherTokenizerIsAnotherRun) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "The " + std::to_string(i) + " apples of the garden fell in the cold night.\n";
  WriteFileAtomic(Path("rows.txt"), text);
  const auto make_tokenizer = [&](const std::string& size) {
    fs::remove_all(Path("tokenizer"));
    const Outcome made = Run({"tokenizer", "train", "--input", Path("rows.txt"), "--vocab_size", size, "--model_type",
                              "bpe", "--output", Path("tokenizer")});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  };
  make_tokenizer("300");
  nlohmann::json config = nlohmann::json::parse(ReadFile(Llama() + "/config.json"));
  config["vocab_size"] = 320;
  WriteFileAtomic(Path("config.json"), config.dump());
  Arguments arguments = {"train",  "--init_from_config", Path("config.json"), "--tokenizer", Path("tokenizer"),
                         "--data", Path("rows.txt"),     "--output_dir",      Path("out"),   "--logging_steps",
                         "1"};
  for (const char* setting : {"--max_steps", "500", "--save_steps", "1", "--save_total_limit", "2"})
    arguments.push_back(setting);
  ASSERT_EQ(Interrupt(arguments, "step 3/").exit_code, 1);
  make_tokenizer("290");
  ExpectRefused(Run({"resume", Path("out")}), {"tokenizer and chat template", "--force"});
  make_tokenizer("300");
  EXPECT_EQ(Run({"resume", Path("out"), "--set", "max_steps=200", "--force"}).exit_code, 0);
}

TEST_F(ResumeTest, ADamagedCheckpointIsPassedOverAndDoesNoHarm) {
  ASSERT_EQ(Train("straight", Settings({"--max_steps", "40"})).exit_code, 0);
  const Arguments settings = Settings({"--save_steps", "1", "--max_steps", "40"});
  ASSERT_EQ(Interrupt(TrainArguments(Path("out"), settings), "step 5/").exit_code, 1);
  std::vector<int> steps;
  for (const std::string& name : ListDirectory(Path("out"))) {
    if (name.starts_with("checkpoint-")) steps.push_back(std::stoi(name.substr(11)));
  }
  std::sort(steps.begin(), steps.end());
  ASSERT_EQ(steps.size(), 2u);
  const std::string newest = "checkpoint-" + std::to_string(steps[1]);
  std::string bytes = ReadFile(Path("out/" + newest + "/optimizer.safetensors"));
  bytes[bytes.size() - 1] = static_cast<char>(bytes[bytes.size() - 1] ^ 1);
  WriteFileAtomic(Path("out/" + newest + "/optimizer.safetensors"), bytes);
  const Outcome resumed = Run({"resume", Path("out")});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_NE(resumed.out.find("skipped " + newest + ": optimizer.safetensors"), std::string::npos) << resumed.out;
  EXPECT_NE(resumed.out.find("going on after step " + std::to_string(steps[0])), std::string::npos) << resumed.out;
  ExpectSameRun("straight", "out", "checkpoint-40");
}

// As a full disk: one line, and what was saved before is whole.
TEST_F(ResumeTest, AFileThatMayNotGrowIsOneLine) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {2000, before.rlim_max};  // inherited by the program; less than an adapter
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Program program(TrainArguments(Path("out"), Settings()), folder_, Path("limited"));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  const Outcome outcome = program.Wait();
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("cannot be written: File too large"), std::string::npos) << outcome.err;
  EXPECT_FALSE(FileExists(Path("out/adapter_model.safetensors")));
}

TEST_F(ResumeTest, ARunThatIsAliveIsLeftAlone) {
  Program program(TrainArguments(Path("out"), Settings({"--max_steps", "100000"})), folder_, Path("alive"));
  ASSERT_TRUE(program.WaitForOutput("step 3/"));
  ExpectRefused(Run({"resume", Path("out")}), {Path("out"), "another attune is training here"});
  ExpectRefused(Train("out", Settings({"--overwrite_output_dir", "true"})),
                {Path("out"), "another attune is training here"});
  program.Signal(SIGINT);
  EXPECT_EQ(program.Wait().exit_code, 1);
}

}  // namespace attune::resume_test
