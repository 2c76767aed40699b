// For tests of trainings from outside: a folder of its own, rows for the tiny model, and what two runs must
// have in common.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "program.h"

namespace attune {

class TrainingTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()).lexically_normal().string() + "training-" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    WriteRows("rows.jsonl", 12, 7);
    WriteRows("held-out.jsonl", 4, 11);
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  void WriteRows(const std::string& name, int count, int factor) const {
    std::string text;
    for (int row = 0; row < count; ++row) {
      nlohmann::json ids = nlohmann::json::array();
      for (int t = 0; t < 5 + row % 4; ++t) ids.push_back((row * factor + t * 3) % 250);
      text += nlohmann::json{{"input_ids", ids}}.dump() + "\n";
    }
    WriteFileAtomic(Path(name), text);
  }

  // attune train on rows.jsonl into `output`, with more arguments behind.
  std::vector<std::string> TrainArguments(const std::string& output, const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"train",        "--model", Llama(),           "--data", Path("rows.jsonl"),
                                          "--output_dir", output,    "--logging_steps", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  static std::string Llama() { return std::string(ATTUNE_TEST_DATA) + "/models/llama"; }

  Outcome Run(const std::vector<std::string>& arguments, const std::string& folder = "") const {
    return Program(arguments, folder.empty() ? folder_ : folder, Path("program")).Wait();
  }
  Outcome Train(const std::string& output, const std::vector<std::string>& more) const {
    return Run(TrainArguments(Path(output), more));
  }

  nlohmann::json ReadJson(const std::string& name) const { return nlohmann::json::parse(ReadFile(Path(name))); }

  // metrics.jsonl without times, speeds and memory.
  std::vector<nlohmann::json> Metrics(const std::string& output) const {
    const std::string text = ReadFile(Path(output + "/metrics.jsonl"));
    std::vector<nlohmann::json> lines;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      lines.push_back(nlohmann::json::parse(text.substr(begin, end - begin)));
      for (const char* key : {"time", "tokens_per_second", "peak_rss_bytes", "eval_runtime"}) lines.back().erase(key);
      begin = end + 1;
    }
    return lines;
  }

  bool SameFile(const std::string& a, const std::string& b) const { return ReadFile(Path(a)) == ReadFile(Path(b)); }

  // Exit code 2 and one line on standard error that holds every one of the pieces.
  void ExpectRefused(const Outcome& outcome, const std::vector<std::string>& pieces) const {
    EXPECT_EQ(outcome.exit_code, 2) << outcome.out << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    for (const std::string& piece : pieces)
      EXPECT_NE(outcome.err.find(piece), std::string::npos) << piece << "\n" << outcome.err;
  }

  std::string folder_;
};

}  // namespace attune
