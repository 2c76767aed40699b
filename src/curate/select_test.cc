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
  EXPECT_EQ(Selected(rows), (std::vector<std::string>{RowOf(std::string(38, 'x')), RowOf(std::string(40, 'x')),
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
  settings_.rules.by = {{SelectRule::kDiverse}};
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
  settings_.rules.by = {{SelectRule::kRandom}};
  const auto one = Selected(rows);
  EXPECT_EQ(one.size(), 20u);
  EXPECT_NE(Lines(".control.jsonl"), one);
  EXPECT_EQ(Selected(rows), one);
  settings_.rules.seed = 1;
  EXPECT_NE(Selected(rows), one);
}

TEST_F(Select, WhatCannotBe) {
  settings_.rows = 2;
  EXPECT_THROW(Selected({RowOf("a"), RowOf("b")}), Error);
  settings_.rules.by = {{SelectRule::kIfd}};
  settings_.scores = [] { return RowScores{{{2, 1, 2}, {2, 3, 2}, {2, 1, 0}, {}, {2, 1, 3}}, 0}; };
  settings_.rows = 3;
  try {
    Selected({RowOf("a"), RowOf("b"), RowOf("c"), RowOf("d"), RowOf("e")});
    FAIL() << "two rows have an IFD below 1";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("only 2 rows to choose from, of 5"), std::string::npos) << error.what();
  }
}

TEST_F(Select, RulesByName) {
  EXPECT_EQ(SelectRulesNamed("diverse").size(), 1u);
  const auto mix = SelectRulesNamed("ifd=0.75,diverse=0.25");
  ASSERT_EQ(mix.size(), 2u);
  EXPECT_EQ(mix[0].rule, SelectRule::kIfd);
  EXPECT_EQ(mix[1].weight, 0.25);
  for (const char* wrong : {"best", "", "mix", "ifd=", "ifd=x", "ifd=0", "ifd=-1", "ifd=inf", "ifd,ifd", "ifd,"})
    EXPECT_THROW(SelectRulesNamed(wrong), Error) << wrong;
  EXPECT_THROW(LossBandNamed("lower"), Error);
  EXPECT_THROW(DiversityRuleNamed("k-center"), Error);
}

// Rows with the losses 1 to 9, the 5th without a prompt, the 6th and 7th with an answer that is likelier
// alone; an unreadable row in front.
class SelectByModel : public Select {
 protected:
  void SetUp() override {
    Select::SetUp();
    settings_.scores = [] {
      RowScores scores{{RowScore{}}, 1};
      for (int i = 1; i <= 9; ++i)
        scores.rows.push_back({10, static_cast<double>(i), i == 5 ? 0.0 : i == 6 || i == 7 ? 4.0 : 20.0});
      return scores;
    };
    rows_.push_back("broken");
    for (int i = 1; i <= 9; ++i) rows_.push_back(RowOf("loss " + std::to_string(i)));
  }
  std::string Chosen() {
    std::string digits;
    for (const std::string& row : Selected(rows_)) digits += row[row.find("loss ") + 5];
    return digits;
  }
  std::vector<std::string> rows_;
};

TEST_F(SelectByModel, HighestDifficultyBelowOne) {
  settings_.rules.by = {{SelectRule::kIfd}};
  settings_.rows = 2;
  EXPECT_EQ(Chosen(), "89");
  EXPECT_DOUBLE_EQ(manifest_["selected"]["mean_ifd"], (8.0 / 20 + 9.0 / 20) / 2);
  EXPECT_EQ(manifest_["eligible"], 6);
  EXPECT_TRUE(manifest_["control"].contains("mean_loss"));
  const std::string removed = ReadFile(settings_.stage.output + ".removed.jsonl"),
                    control = ReadFile(settings_.stage.output + ".control.jsonl");
  if (control.find("loss 6") == std::string::npos) {
    EXPECT_NE(removed.find("IFD 1.500"), std::string::npos) << removed;
  }
  settings_.rows = 6;
  EXPECT_EQ(Chosen(), "123489");
}

TEST_F(SelectByModel, BandsOfTheLoss) {
  settings_.rules.by = {{SelectRule::kLoss}};
  settings_.rows = 3;
  EXPECT_EQ(Chosen(), "456") << "the middle one by default";
  settings_.rules.loss_band = LossBand::kLowest;
  EXPECT_EQ(Chosen(), "123");
  settings_.rules.loss_band = LossBand::kHighest;
  EXPECT_EQ(Chosen(), "789");
}

TEST_F(SelectByModel, MixAddsRanksUp) {
  settings_.rules.loss_band = LossBand::kHighest;
  settings_.rows = 1;
  // Rows 1 and 2 lie together, all others each alone: 9 comes first by loss and is no twin of another.
  settings_.embeddings = [] {
    Embeddings e{10, std::vector<float>(100, 0.0f)};
    for (size_t i = 1; i < 10; ++i) e.Row(i)[i == 2 ? 1 : i] = 1;
    return e;
  };
  settings_.rules.by = {{SelectRule::kLoss, 0.9}, {SelectRule::kDiverse, 0.1}};
  EXPECT_EQ(Chosen(), "9");
  EXPECT_EQ(manifest_["vectors"], "hidden states");
  settings_.rules.by = {{SelectRule::kDiverse}};
  settings_.rows = 8;
  const std::string diverse = Chosen();
  EXPECT_NE(diverse.find('1') == std::string::npos, diverse.find('2') == std::string::npos)
      << diverse << ": one of the twins";
  settings_.rules.diversity = DiversityRule::kFacilityLocation;
  const std::string facility = Chosen();
  EXPECT_NE(facility.find('1') == std::string::npos, facility.find('2') == std::string::npos) << facility;
}

}  // namespace attune::select_test
