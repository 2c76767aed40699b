// Trainings from outside: settings that contradict each other, the best model, packing, full fine-tuning and
// from scratch.
#include <fmt/format.h>

#include <cmath>

#include "training.h"

namespace attune::train_test {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;
using Json = nlohmann::json;

class TrainTest : public TrainingTest {
 protected:
  static Arguments With(Arguments arguments, const Arguments& more) {
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Json Eval(const Arguments& more) const {
    const Outcome outcome = Run(With({"eval", "--data", Path("held-out.jsonl"), "--json"}, more));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? Json::parse(outcome.out) : Json();
  }
  // A run whose held-out loss soon gets worse: it learns rows that have nothing to do with these.
  Arguments Overfitting(const Arguments& more) const {
    return With({"--max_steps", "12", "--target_modules", "all-linear", "--learning_rate", "0.1", "--lr_scheduler_type",
                 "constant", "--eval_data", Path("held-out.jsonl"), "--eval_strategy", "steps",
                 "--per_device_train_batch_size", "4"},
                more);
  }
  // The step of the least held-out loss among those that `counts` says yes to.
  template <class Counts>
  int BestStep(const std::string& output, Counts counts) const {
    int best = 0;
    double least = INFINITY;
    for (const Json& line : Metrics(output)) {
      if (!line.contains("eval_loss") || line["step"] == 0 || line["eval_loss"] >= least) continue;
      least = line["eval_loss"];
      if (counts(line["step"].get<int>())) best = line["step"];
    }
    return best;
  }
};

TEST_F(TrainTest, ImpossibleSettingsAreRefusedBeforeAnythingIsWritten) {
  const Arguments base = {"--target_modules", "q_proj", "--max_steps", "4"};
  const Arguments eval = {"--eval_data", Path("held-out.jsonl")};
  const auto refused = [&](const Arguments& more, const std::vector<std::string>& pieces) {
    const Outcome outcome = Train("out", With(base, more));
    ExpectRefused(outcome, pieces);
    EXPECT_FALSE(fs::exists(Path("out"))) << outcome.err;
  };
  refused({"--warmup_ratio", "3"}, {"warmup_ratio", "3"});
  refused({"--warmup_steps", "-1"}, {"warmup_steps", "-1"});
  refused({"--learning_rate", "-1e-4"}, {"learning_rate", "-0.0001"});
  refused({"--learning_rate", ".nan"}, {"learning_rate"});
  refused({"--optim", "adamw_torhc"}, {"optim", "adamw_torhc", "adamw_torch"});
  refused({"--num_train_epochs", "0", "--max_steps", "-1"}, {"num_train_epochs"});
  refused({"--per_device_train_batch_size", "0"}, {"per_device_train_batch_size"});
  refused({"--gradient_accumulation_steps", "1.5"}, {"gradient_accumulation_steps"});
  refused({"--save_steps", "0"}, {"save_steps"});
  refused({"--save_steps", "2.5"}, {"save_steps"});
  refused({"--save_total_limit", "0"}, {"save_total_limit"});
  refused({"--max_grad_norm", "-1"}, {"max_grad_norm"});
  refused({"--adam_beta2", "1"}, {"adam_beta2"});
  refused({"--max_length", "0"}, {"max_length"});
  refused({"--load_best_model_at_end", "true"}, {"load_best_model_at_end", "data.eval"});
  refused(With(eval, {"--load_best_model_at_end", "true"}), {"load_best_model_at_end", "eval_strategy"});
  refused(With(eval, {"--load_best_model_at_end", "true", "--eval_strategy", "epoch", "--save_strategy", "steps"}),
          {"load_best_model_at_end", "save_strategy", "eval_strategy"});
  refused(With(eval, {"--load_best_model_at_end", "true", "--eval_strategy", "steps", "--eval_steps", "2",
                      "--save_steps", "3"}),
          {"save_steps (3)", "eval_steps (2)"});
  refused(With(eval, {"--early_stopping_patience", "2"}), {"early_stopping_patience", "eval_strategy"});
  refused(With(eval, {"--save_strategy", "best"}), {"save_strategy", "eval_strategy"});
  refused(With(eval, {"--eval_strategy", "steps", "--metric_for_best_model", "bleu"}),
          {"metric_for_best_model", "bleu"});
  refused({"--eval_strategy", "steps"}, {"eval_strategy", "data.eval"});
  refused(With(eval, {"--lr_scheduler_type", "reduce_lr_on_plateau"}), {"reduce_lr_on_plateau", "eval_strategy"});
  refused({"--optim_args", "momentum=0.9"}, {"optim_args", "adamw_torch"});
  refused({"--optim", "sgd", "--optim_args", "momentun=0.9"}, {"optim_args", "momentun=0.9"});
  refused({"--lr_scheduler_type", "polynomal"}, {"polynomal", "polynomial"});
  refused({"--fp16", "true", "--bf16", "true"}, {"fp16", "bf16", "both true"});
  refused({"--train_sampling_strategy", "batch_rebalance"}, {"train_sampling_strategy", "group_by_length"});
  refused({"--evaluation_strategy", "steps"}, {"evaluation_strategy", "its name is eval_strategy now"});
  refused({"--report_to", "[wandb]"}, {"report_to", "wandb", "metrics.jsonl"});
  refused({"--layer_replication", "[[0, 1]]"}, {"layer_replication"});
  refused({"--packing_strategy", "best"}, {"packing_strategy", "best"});
  refused({"--method", "full"}, {"lora", "full"});
  refused({"--model", Path("rows.jsonl")}, {"rows.jsonl"});
  fs::copy(Llama(), Path("model"));
  ExpectRefused(Run({"train", "--model", Path("model"), "--data", Path("rows.jsonl"), "--method", "full",
                     "--output_dir", Path("model")}),
                {Path("model"), "already holds a model"});
  ExpectRefused(Run({"train", "--model", Path("model"), "--data", Path("rows.jsonl"), "--method", "full",
                     "--output_dir", Path("model"), "--overwrite_output_dir", "true"}),
                {Path("model"), "would be overwritten"});
  EXPECT_EQ(ReadFile(Path("model/model.safetensors")), ReadFile(Llama() + "/model.safetensors"));
}

TEST_F(TrainTest, TheBestOfTheSavedModelsIsKept) {
  for (const char* save_steps : {"1", "3"}) {  // at 3, what is best was mostly not saved
    fs::remove_all(Path("out"));
    const Outcome run = Train("out", Overfitting({"--eval_steps", "1", "--save_steps", save_steps, "--save_total_limit",
                                                  "1", "--load_best_model_at_end", "true"}));
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const int every = std::atoi(save_steps);
    const int best = BestStep("out", [&](int step) { return step % every == 0; });
    const auto state = ReadJson("out/checkpoint-12/trainer_state.json");
    if (best == 0) {  // none of the saved was the best when it was saved
      EXPECT_TRUE(state["best_model_checkpoint"].is_null()) << state;
      EXPECT_TRUE(SameFile("out/adapter_model.safetensors", "out/checkpoint-12/adapter_model.safetensors"));
      continue;
    }
    const std::string checkpoint = "out/checkpoint-" + std::to_string(best);
    EXPECT_NE(best, 12) << "the held-out loss was to get worse";
    EXPECT_EQ(state["best_model_checkpoint"], Path(checkpoint));
    EXPECT_TRUE(SameFile("out/adapter_model.safetensors", checkpoint + "/adapter_model.safetensors"));
  }
}

TEST_F(TrainTest, TheLogGoesByStepsOrByEpochsOrIsLeftOut) {
  const auto logged = [&](const char* strategy) {
    fs::remove_all(Path("out"));
    const Outcome run = Train("out", {"--num_train_epochs", "2.5", "--per_device_train_batch_size", "4",
                                      "--logging_strategy", strategy, "--logging_steps", "2"});
    EXPECT_EQ(run.exit_code, 0) << run.err;
    std::vector<int> steps;
    for (const Json& line : Metrics("out")) steps.push_back(line["step"]);
    return steps;
  };
  EXPECT_EQ(logged("steps"), (std::vector<int>{2, 4, 6, 8}));
  EXPECT_EQ(logged("epoch"), (std::vector<int>{3, 6, 8}));
  EXPECT_EQ(logged("no"), std::vector<int>{});
}

TEST_F(TrainTest, KeysThatOneSettingHasUnderTwoNames) {
  const auto trained = [&](const char* output, const Arguments& more) {
    const Outcome run = Train(output, With({"--max_steps", "4", "--per_device_train_batch_size", "2"}, more));
    EXPECT_EQ(run.exit_code, 0) << run.err;
    return ReadFile(Path(output) + "/adapter_model.safetensors");
  };
  const std::string plain = trained("plain", {"--r", "4"});
  const std::string sorted = trained("sorted", {"--group_by_length", "true", "--r", "4"});
  const std::string in_order = trained("in-order", {"--shuffle", "false", "--r", "4"});
  EXPECT_NE(sorted, plain);
  EXPECT_NE(in_order, plain);
  EXPECT_EQ(trained("a", {"--train_sampling_strategy", "group_by_length", "--lora_r", "4"}), sorted);
  EXPECT_EQ(trained("b", {"--train_sampling_strategy", "sequential", "--lora_r", "4"}), in_order);
  EXPECT_EQ(trained("c", {"--train_sampling_strategy", "random", "--report_to", "[tensorboard]", "--r", "4"}), plain);
  EXPECT_EQ(trained("d", {"--eval_steps", "null", "--metric_for_best_model", "null", "--bf16", "null", "--use_cpu",
                          "false", "--gradient_checkpointing", "null", "--lora_bias", "false", "--lora_r", "4"}),
            plain);
}

TEST_F(TrainTest, EvaluationsBeginAfterTheirDelay) {
  ASSERT_EQ(Train("out", Overfitting({"--eval_steps", "3", "--eval_delay", "5", "--save_strategy", "no"})).exit_code,
            0);
  std::vector<int> steps;
  for (const Json& line : Metrics("out")) {
    if (line.contains("eval_loss")) steps.push_back(line["step"]);
  }
  EXPECT_EQ(steps, (std::vector<int>{0, 6, 9, 12}));
}

TEST_F(TrainTest, TrainingStopsEarlyWhenItGetsNoBetter) {
  const Outcome run = Train("out", Overfitting({"--eval_steps", "1", "--save_strategy", "best",
                                                "--early_stopping_patience", "2", "--load_best_model_at_end", "true"}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.out.find("stopped early"), std::string::npos) << run.out;
  const int best = BestStep("out", [](int) { return true; }), last = Metrics("out").back()["step"];
  EXPECT_EQ(last, best + 2);
  EXPECT_TRUE(SameFile("out/adapter_model.safetensors",
                       "out/checkpoint-" + std::to_string(best) + "/adapter_model.safetensors"));
  for (const std::string& name : ListDirectory(Path("out"))) {
    if (!name.starts_with("checkpoint-")) continue;
    EXPECT_LE(std::stoi(name.substr(11)), best) << "saved though it was not the best";
  }
}

TEST_F(TrainTest, EvaluationRowsThatAreTrainingRowsAreCounted) {
  WriteRows("held-out.jsonl", 3, 7);
  WriteFileAtomic(Path("held-out.jsonl"), ReadFile(Path("held-out.jsonl")) + "{\"input_ids\": [200, 201]}\n");
  const Outcome run =
      Train("out", {"--max_steps", "1", "--target_modules", "q_proj", "--eval_data", Path("held-out.jsonl")});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_NE(run.out.find("3 of 4 evaluation rows are training rows"), std::string::npos) << run.out;
}

TEST_F(TrainTest, PackedRowsGiveTheLossOfUnpackedOnes) {
  const Arguments all = {"--max_steps",  "3",  "--target_modules", "q_proj",
                         "--max_length", "64", "--learning_rate",  "1e-3"};
  ASSERT_EQ(Train("plain", With(all, {"--per_device_train_batch_size", "12"})).exit_code, 0);
  const Outcome packed = Train("packed", With(all, {"--packing", "true", "--packing_strategy", "bfd"}));
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  EXPECT_NE(packed.out.find("packed into 2 rows"), std::string::npos) << packed.out;
  const auto plain = Metrics("plain"), rows = Metrics("packed");
  ASSERT_EQ(plain.size(), rows.size());
  for (size_t i = 0; i < plain.size(); ++i) {
    EXPECT_NEAR(plain[i]["loss"].get<double>(), rows[i]["loss"].get<double>(), 1e-5);
    EXPECT_EQ(plain[i]["trained_tokens"], rows[i]["trained_tokens"]);
  }
}

TEST_F(TrainTest, ALossThatIsNotFiniteStopsBeforeTheOptimiser) {
  const Arguments wild = {
      "--max_steps",     "40", "--method",     "full", "--learning_rate",     "1e30",    "--optim", "sgd",
      "--max_grad_norm", "0",  "--save_steps", "1",    "--lr_scheduler_type", "constant"};
  const Outcome run = Train("out", wild);
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  for (const char* piece :
       {"not finite", "rows.jsonl:", "checkpoint-", "is intact", "nothing was updated", "first seen in"}) {
    EXPECT_NE(run.err.find(piece), std::string::npos) << piece << "\n" << run.err;
  }
  EXPECT_EQ(ReadJson("out/run.json")["status"], "failed");
  fs::remove_all(Path("out"));
  EXPECT_EQ(Train("out", With(wild, {"--skip_nonfinite", "100"})).exit_code, 0);
}

TEST_F(TrainTest, AFullyFineTunedModelIsAModel) {
  const Outcome run = Train("out", {"--method", "full", "--max_steps", "5", "--learning_rate", "1e-3"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const double before = Eval({"--model", Llama()})["eval_loss"], after = Eval({"--model", Path("out")})["eval_loss"];
  EXPECT_GT(std::fabs(before - after), 1e-4);
  EXPECT_EQ(Eval({"--model", Path("out/checkpoint-5")})["eval_loss"], after);
  // It is trained on as any other model.
  EXPECT_EQ(Run({"train", "--model", Path("out"), "--data", Path("rows.jsonl"), "--output_dir", Path("next"),
                 "--target_modules", "q_proj", "--max_steps", "1"})
                .exit_code,
            0);
}

TEST_F(TrainTest, FromRawTextToAModel) {
  std::string text;
  for (int i = 0; i < 200; ++i) {
    text += fmt::format("The {} of {} apples fell on a {} morning.\n", i % 2 == 0 ? "last" : "first", i,
                        i % 3 == 0 ? "cold" : "bright");
  }
  WriteFileAtomic(Path("text.txt"), text);
  const Outcome tokenizer = Run({"tokenizer", "train", "--input", Path("text.txt"), "--vocab_size", "300",
                                 "--model_type", "bpe", "--output", Path("tokenizer")});
  ASSERT_EQ(tokenizer.exit_code, 0) << tokenizer.err;
  Json config = Json::parse(ReadFile(Llama() + "/config.json"));
  config["vocab_size"] = 320;
  WriteFileAtomic(Path("config.json"), config.dump());
  const Arguments arguments = {"train",
                               "--init_from_config",
                               Path("config.json"),
                               "--tokenizer",
                               Path("tokenizer"),
                               "--data",
                               Path("text.txt"),
                               "--packing",
                               "true",
                               "--packing_strategy",
                               "wrapped",
                               "--max_length",
                               "32",
                               "--max_steps",
                               "30",
                               "--save_steps",
                               "10",
                               "--learning_rate",
                               "5e-3",
                               "--logging_steps",
                               "1"};
  const Outcome run = Run(With(arguments, {"--output_dir", Path("out")}));
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto metrics = Metrics("out");
  EXPECT_NEAR(metrics.front()["loss"].get<double>(), std::log(320.0), 0.3);
  EXPECT_LT(metrics.back()["loss"].get<double>(), metrics.front()["loss"].get<double>() - 1);
  const Outcome generated = Run({"generate", "--model", Path("out"), "--prompt", "The last", "--max_new_tokens", "4"});
  EXPECT_EQ(generated.exit_code, 0) << generated.err;
  // The seed alone decides where it begins.
  ASSERT_EQ(Run(With(arguments, {"--output_dir", Path("again")})).exit_code, 0);
  EXPECT_TRUE(SameFile("out/model.safetensors", "again/model.safetensors"));
}

}  // namespace attune::train_test
