// A training that is killed with SIGKILL at random moments, and resumed, and killed again, until it comes to
// its end: what it leaves must be, byte for byte, what a run that nobody touched leaves, with nothing in the
// folder to clean by hand.
//
// ATTUNE_KILLS sets the number of kills (50), ATTUNE_KILL_SEED the moments; tests/kill/run.sh asks for a
// thousand.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "formats/durable_folder.h"
#include "program.h"

namespace attune::kill_test {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kSteps = 24;

// What is trained in turn.
struct Variant {
  std::string name;
  std::vector<std::string> settings;
  std::string weights;  // the file of the result
};

std::vector<Variant> Variants() {
  const std::string adapter = "adapter_model.safetensors", model = "model.safetensors";
  return {
      {"lora", {"--save_steps", "1", "--target_modules", "all-linear", "--lora_dropout", "0.2"}, adapter},
      {"full", {"--save_steps", "2", "--method", "full", "--neftune_noise_alpha", "5"}, model},
      {"lion",
       {"--save_steps", "1", "--target_modules", "q_proj,v_proj", "--lora_dropout", "0.1", "--optim", "lion_32bit"},
       adapter},
      {"eval",
       {"--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2", "--eval_data", "held-out.jsonl",
        "--load_best_model_at_end", "true", "--target_modules", "q_proj", "--optim", "adafactor"},
       adapter},
  };
}

int Setting(const char* name, int otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}

class Kills : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()).string() + "/attune-kill-" + std::to_string(::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    WriteRows("rows.jsonl", 12, 7);
    WriteRows("held-out.jsonl", 3, 11);
  }
  void TearDown() override {
    if (!HasFailure()) fs::remove_all(folder_);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  void WriteRows(const std::string& name, int count, int factor) const {
    std::string text;
    for (int row = 0; row < count; ++row) {
      Json ids = Json::array();
      for (int t = 0; t < 5 + row % 4; ++t) ids.push_back((row * factor + t * 3) % 250);
      text += Json{{"input_ids", ids}}.dump() + "\n";
    }
    WriteFileAtomic(Path(name), text);
  }

  std::vector<std::string> TrainArguments(const Variant& variant, const std::string& output) const {
    std::vector<std::string> arguments = {"train",
                                          "--model",
                                          std::string(ATTUNE_TEST_DATA) + "/models/llama",
                                          "--data",
                                          "rows.jsonl",
                                          "--output_dir",
                                          output,
                                          "--max_steps",
                                          std::to_string(kSteps),
                                          "--logging_steps",
                                          "1",
                                          "--per_device_train_batch_size",
                                          "2",
                                          "--gradient_accumulation_steps",
                                          "2",
                                          "--save_total_limit",
                                          "3",
                                          "--learning_rate",
                                          "1e-3"};
    arguments.insert(arguments.end(), variant.settings.begin(), variant.settings.end());
    return arguments;
  }

  // The checkpoints by their steps; every folder of that name must be whole.
  std::vector<int> WholeCheckpoints(const std::string& output) const {
    std::vector<int> steps;
    if (!fs::exists(output)) return steps;
    for (const std::string& name : ListDirectory(output)) {
      if (!name.starts_with("checkpoint-") || name.find('.') != std::string::npos) continue;
      const auto reason = VerifyFolder(output + "/" + name);
      EXPECT_EQ(reason.value_or(""), "") << output << "/" << name;
      steps.push_back(std::stoi(name.substr(11)));
    }
    std::sort(steps.begin(), steps.end());
    return steps;
  }

  // What must be the same in two runs: without times, speeds and memory.
  static std::string Metrics(const std::string& path) {
    const std::string text = ReadFile(path);
    std::string kept;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      Json line = Json::parse(text.substr(begin, end - begin));
      for (const char* key : {"time", "tokens_per_second", "peak_rss_bytes", "eval_runtime"}) line.erase(key);
      kept += line.dump() + "\n";
      begin = end + 1;
    }
    return kept;
  }

  void ExpectSame(const Variant& variant, const std::string& straight, const std::string& killed) const {
    const std::string last = "/checkpoint-" + std::to_string(kSteps) + "/";
    for (const std::string& file : {"/" + variant.weights, last + variant.weights, last + "optimizer.safetensors"}) {
      EXPECT_TRUE(ReadFile(straight + file) == ReadFile(killed + file)) << variant.name << ": " << killed << file;
    }
    EXPECT_EQ(Metrics(straight + "/metrics.jsonl"), Metrics(killed + "/metrics.jsonl")) << variant.name;
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(killed)) {
      const std::string path = entry.path().string();
      for (const char* ending : {".partial", ".old", ".removing"}) EXPECT_FALSE(path.ends_with(ending)) << path;
      if (entry.path().parent_path() == killed) names.push_back(entry.path().filename());
    }
    std::vector<std::string> wanted = ListDirectory(straight);
    std::sort(names.begin(), names.end());
    EXPECT_EQ(names, wanted) << variant.name;
  }

  std::string folder_;
};

TEST_F(Kills, EndInTheBitsOfTheStraightRun) {
  const int wanted = Setting("ATTUNE_KILLS", 50), seed = Setting("ATTUNE_KILL_SEED", 1);
  std::mt19937 random(static_cast<unsigned>(seed));
  const std::vector<Variant> variants = Variants();
  std::map<std::string, double> seconds;  // of each variant's straight run
  int kills = 0, rounds = 0, before_the_first = 0, previous = 0, newest = 0, after_the_end = 0;
  for (; kills < wanted && !HasFailure(); ++rounds) {
    const Variant& variant = variants[static_cast<size_t>(rounds) % variants.size()];
    const std::string straight = Path(variant.name), output = Path(variant.name + "-killed");
    if (!seconds.contains(variant.name)) {
      const auto begin = std::chrono::steady_clock::now();
      const Outcome run = Program(TrainArguments(variant, straight), folder_, Path("straight")).Wait();
      ASSERT_EQ(run.exit_code, 0) << run.err;
      seconds[variant.name] = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    fs::remove_all(output);
    for (bool is_done = false; !is_done && !HasFailure();) {
      const bool has_begun = FileExists(output + "/run.json");
      const std::vector<int> before = WholeCheckpoints(output);
      Program program(has_begun ? std::vector<std::string>{"resume", output} : TrainArguments(variant, output), folder_,
                      Path("killed"));
      if (kills < wanted) {
        ::usleep(static_cast<useconds_t>(random() % static_cast<unsigned>(seconds[variant.name] * 0.5e6)));
        program.Signal(SIGKILL);
      }
      const Outcome outcome = program.Wait();
      if (outcome.exit_code != -1) {  // it came to its end
        ASSERT_EQ(outcome.exit_code, 0) << variant.name << " after " << kills << " kills\n"
                                        << outcome.out << outcome.err;
        is_done = true;
        break;
      }
      ++kills;
      const std::vector<int> after = WholeCheckpoints(output);
      const int newest_before = before.empty() ? 0 : before.back(), newest_after = after.empty() ? 0 : after.back();
      ASSERT_GE(newest_after, newest_before) << variant.name << " lost a checkpoint";
      // What it was saving when it died, and the one before that, which was in place by then.
      const size_t said = outcome.out.rfind("saving ");
      const int reported = said == std::string::npos
                               ? newest_before
                               : std::stoi(outcome.out.substr(outcome.out.rfind("/checkpoint-") + 12));
      const int interval = variant.settings[1] == "1" ? 1 : 2;
      EXPECT_GE(newest_after, std::max(newest_before, said == std::string::npos ? 0 : reported - interval))
          << outcome.out;
      EXPECT_LE(newest_after, reported + interval) << outcome.out;
      ++(newest_after == 0 ? before_the_first : newest_after < reported ? previous : newest);
      after_the_end += newest_after == kSteps;
    }
    ExpectSame(variant, straight, output);
  }
  fmt::print(
      "{} kills over {} runs: {} before the first checkpoint, {} left the previous checkpoint, {} the new "
      "one, {} came after "
      "the last step; every run ended in the bits of the straight run\n",
      kills, rounds, before_the_first, previous, newest, after_the_end);
}

}  // namespace attune::kill_test
