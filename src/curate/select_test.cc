#include "curate/select.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace attune::select_test {

class Select : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/select-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    settings_.stage.input = {folder_ + "/in.jsonl"};
  }
  std::vector<std::string> Lines(const std::string& end) const {
    std::vector<std::string> lines;
    std::istringstream text(ReadFile(settings_.stage.output + end));
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    return lines;
  }
  std::vector<std::string> Selected(const std::vector<std::string>& rows) {
    std::string text;
    for (const std::string& row : rows) text += row + "\n";
    WriteFileAtomic(folder_ + "/in.jsonl", text);
    settings_.stage.output = folder_ + "/out" + std::to_string(runs_++);
    manifest_ = SelectData(settings_);
    return Lines(".jsonl");
  }
  std::string folder_;
  SelectSettings settings_;
  nlohmann::ordered_json manifest_;
  int runs_ = 0;
};

std::string RowOf(const std::string& text) { return "{\"prompt\": \"p\", \"completion\": \"" + text + "\"}"; }

TEST_F(Select, LongestAnswersWithAControl) {
  std::vector<std::string> rows;
  for (int i = 0; i < 40; ++i) rows.push_back(RowOf(std::string(static_cast<size_t>(i * 7 % 40 + 1), 'x')));
  rows.push_back("broken");
  settings_.rows = 3;
  EXPECT_EQ(Selected(rows),
            (std::vector<std::string>{RowOf(std::string(38, 'x')), RowOf(std::string(40, 'x')),
                                      RowOf(std::string(39, 'x'))}))
      << "in the order of the input";
  const auto control = Lines(".control.jsonl");
  EXPECT_EQ(control.size(), 3u);
  std::set<std::string> seen(control.begin(), control.end());
  for (const std::string& row : Lines(".jsonl")) seen.insert(row);
  EXPECT_EQ(Lines(".removed.jsonl").size(), 41 - seen.size());
  EXPECT_EQ(manifest_["selected"]["mean_answer_bytes"], 39);
  EXPECT_EQ(manifest_["rows_out"], 3);
}

TEST_F(Select, DiverseTakesOneOfEachKind) {
  std::vector<std::string> rows;
  for (int i = 0; i < 60; ++i) {
    std::string text;
    for (int w = 0; w < 12; ++w) text += "kind" + std::to_string(i % 6) + "word" + std::to_string(w) + " ";
    rows.push_back(RowOf(text + std::to_string(i)));
  }
  settings_.rows = 6;
  settings_.by = SelectBy::kDiverse;
  std::set<char> kinds;
  const auto one = Selected(rows);
  for (const std::string& row : one) kinds.insert(row[row.find("kind") + 4]);
  EXPECT_EQ(kinds.size(), 6u);
  EXPECT_GT(manifest_["selected"]["mean_nearest_distance"].get<double>(), 0.3);
  settings_.stage.threads = 3;
  EXPECT_EQ(Selected(rows), one);
}

TEST_F(Select, RandomBySeedIsNotItsControl) {
  std::vector<std::string> rows;
  for (int i = 0; i < 500; ++i) rows.push_back(RowOf("text " + std::to_string(i)));
  settings_.rows = 20;
  settings_.by = SelectBy::kRandom;
  const auto one = Selected(rows);
  EXPECT_EQ(one.size(), 20u);
  EXPECT_NE(Lines(".control.jsonl"), one);
  EXPECT_EQ(Selected(rows), one);
  settings_.seed = 1;
  EXPECT_NE(Selected(rows), one);
}

TEST_F(Select, WhatCannotBe) {
  settings_.rows = 2;
  EXPECT_THROW(Selected({RowOf("a"), RowOf("b")}), Error);
  for (const char* name : {"ifd", "best"}) EXPECT_THROW(SelectByNamed(name), Error);
  try {
    SelectByNamed("ifd");
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("not built yet"), std::string::npos);
  }
}

}  // namespace attune::select_test
