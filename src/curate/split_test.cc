#include "curate/split.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace attune::split_test {

class Split : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/split-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    settings_.stage.input = {folder_ + "/in.jsonl"};
  }
  std::set<std::string> Lines(const std::string& path) const {
    std::set<std::string> lines;
    std::istringstream text(ReadFile(path));
    for (std::string line; std::getline(text, line);) lines.insert(line);
    return lines;
  }
  // The rows held out; both sides are checked to be all rows.
  std::set<std::string> HeldOut(const std::vector<std::string>& rows) {
    std::string text;
    for (const std::string& row : rows) text += row + "\n";
    WriteFileAtomic(folder_ + "/in.jsonl", text);
    settings_.stage.output = folder_ + "/out" + std::to_string(runs_++);
    manifest_ = SplitData(settings_);
    const auto train = Lines(settings_.stage.output + ".train.jsonl"),
               eval = Lines(settings_.stage.output + ".eval.jsonl");
    EXPECT_EQ(manifest_["train"], train.size());
    EXPECT_EQ(manifest_["eval"], eval.size());
    std::set<std::string> all(train);
    all.insert(eval.begin(), eval.end());
    EXPECT_EQ(all.size(), train.size() + eval.size());
    EXPECT_EQ(all, std::set<std::string>(rows.begin(), rows.end()));
    return eval;
  }
  std::string folder_;
  SplitSettings settings_;
  nlohmann::ordered_json manifest_;
  int runs_ = 0;
};

std::string RowOf(int number, const std::string& kind) {
  std::mt19937 random(static_cast<unsigned>(number));
  std::string text;
  for (int i = 0; i < 30; ++i) text += "w" + std::to_string(random() % 9999) + " ";
  return "{\"text\": \"" + text + "\", \"kind\": \"" + kind + "\"}";
}

TEST_F(Split, BySeedWhateverTheOrder) {
  std::vector<std::string> rows;
  for (int i = 0; i < 200; ++i) rows.push_back(RowOf(i, "a"));
  const auto held_out = HeldOut(rows);
  EXPECT_EQ(held_out.size(), 20u);
  std::reverse(rows.begin(), rows.end());
  settings_.stage.threads = 3;
  EXPECT_EQ(HeldOut(rows), held_out);
  settings_.seed = 43;
  EXPECT_NE(HeldOut(rows), held_out);
  settings_.rows = 7;
  EXPECT_EQ(HeldOut(rows).size(), 7u);
}

TEST_F(Split, StrataKeepTheirShares) {
  std::vector<std::string> rows;
  for (int i = 0; i < 300; ++i) rows.push_back(RowOf(i, i < 200 ? "many" : i < 290 ? "some" : "few"));
  settings_.duplicates.label = "kind";
  HeldOut(rows);
  EXPECT_EQ(manifest_["strata"]["many"]["eval"], 20);
  EXPECT_EQ(manifest_["strata"]["some"]["eval"], 9);
  EXPECT_EQ(manifest_["strata"]["few"]["eval"], 1);
  EXPECT_EQ(manifest_["settings"]["stratify"], "kind");
}

TEST_F(Split, NearDuplicatesStayTogether) {
  std::vector<std::string> rows;
  for (int i = 0; i < 60; ++i) {
    const std::string row = RowOf(i, "a");
    for (const char* more : {"", "first ", "second ", "third "}) rows.push_back(std::string(row).insert(10, more));
  }
  settings_.fraction = 0.3;
  const auto held_out = HeldOut(rows);
  EXPECT_EQ(held_out.size(), 72u);
  EXPECT_EQ(manifest_["clusters"], 60);
  for (int i = 0; i < 60; ++i) {
    int sides = 0;
    for (int k = 0; k < 4; ++k) sides += static_cast<int>(held_out.count(rows[static_cast<size_t>(4 * i + k)]));
    EXPECT_TRUE(sides == 0 || sides == 4) << i;
  }
}

TEST_F(Split, WhatCannotBe) {
  std::vector<std::string> rows = {RowOf(1, "a"), RowOf(1, "b")};
  EXPECT_THROW(HeldOut(rows), Error) << "one cluster";
  rows = {RowOf(1, "a"), RowOf(2, "b")};
  settings_.rows = 2;
  EXPECT_THROW(HeldOut(rows), Error) << "nothing would be left";
  EXPECT_EQ(ListDirectory(folder_), std::vector<std::string>{"in.jsonl"});
}

}  // namespace attune::split_test
