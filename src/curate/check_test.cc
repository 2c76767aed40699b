#include "curate/check.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "curate/length_histogram.h"
#include "curate/packed_for_test.h"

namespace attune::check_test {

class Check : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/check-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::string Write(const std::string& name, const std::string& content) const {
    WriteFileAtomic(folder_ + "/" + name, content);
    return folder_ + "/" + name;
  }
  static int64_t Rows(const CheckResult& result, Rule rule) { return result.rules[static_cast<size_t>(rule)].rows; }
  static const std::vector<FindingExample>& Examples(const CheckResult& result, Rule rule) {
    return result.rules[static_cast<size_t>(rule)].examples;
  }
  std::string folder_;
};

std::string Pair(const std::string& prompt, const std::string& answer) {
  return "{\"prompt\": \"" + prompt + "\", \"completion\": \"" + answer + "\"}\n";
}

TEST_F(Check, CountsRowsAndNamesThem) {
  const std::string path = Write("a.jsonl", Pair("one?", "1.") + "broken\n" + Pair("two?", "") + "\n" +
                                                Pair("mail?", "a@b.com and c@d.com.") + "{}\n");
  const CheckResult result = CheckData({.input = {path}});
  EXPECT_EQ(result.rows, 5);
  EXPECT_EQ(Rows(result, Rule::kBrokenRow), 1);
  EXPECT_EQ(Examples(result, Rule::kBrokenRow)[0].where, path + ":2");
  EXPECT_TRUE(Examples(result, Rule::kBrokenRow)[0].detail.starts_with("column 1: not valid JSON"))
      << Examples(result, Rule::kBrokenRow)[0].detail;
  EXPECT_EQ(Examples(result, Rule::kEmptyAnswer)[0].where, path + ":3");
  EXPECT_EQ(Rows(result, Rule::kEmail), 1) << "a row counts once";
  EXPECT_EQ(Examples(result, Rule::kEmail)[0].where, path + ":5");
  EXPECT_EQ(Rows(result, Rule::kUnknownFormat), 1);
  EXPECT_EQ(result.Errors(), 4);
  EXPECT_EQ(result.Warnings(), 0);
}

TEST_F(Check, StrictStopsAtTheFirstBrokenRow) {
  const std::string path = Write("a.jsonl", Pair("one?", "1.") + "broken\n");
  try {
    CheckData({.input = {path}, .strict = true});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_TRUE(std::string(error.what()).starts_with(path + ":2: ")) << error.what();
  }
}

TEST_F(Check, ComparesRows) {
  const std::string path = Write(
      "a.jsonl", Pair("p", "x.") + Pair("q", "y.") + Pair(" p", "x.") + Pair("p", "z.") + "{\"text\": \"alone\"}\n");
  const CheckResult result = CheckData({.input = {path}});
  EXPECT_EQ(Rows(result, Rule::kDuplicate), 1);
  EXPECT_EQ(Examples(result, Rule::kDuplicate)[0].where, path + ":3");
  EXPECT_EQ(Examples(result, Rule::kDuplicate)[0].detail, "as " + path + ":1");
  EXPECT_EQ(Rows(result, Rule::kConflict), 1);
  EXPECT_EQ(Examples(result, Rule::kConflict)[0].where, path + ":4");
  EXPECT_EQ(Rows(result, Rule::kMixedFormats), 1);
  EXPECT_EQ(Examples(result, Rule::kMixedFormats)[0].where, path + ":5");
}

TEST_F(Check, LengthsLanguagesAndTheContext) {
  std::string rows;
  for (int i = 0; i < 40; ++i)
    rows += Pair("number " + std::to_string(i),
                 "The number is one of those that are not so large " + std::to_string(i) + ".");
  rows += Pair("zahl", "Die Zahl ist nicht eine der Zahlen, die das und auch sich sind.");
  rows += Pair("long", std::string(20'000, 'x') + ".");
  const std::string path = Write("a.jsonl", rows);
  const CheckResult result = CheckData({.input = {path}, .max_length = 4000});
  EXPECT_EQ(Rows(result, Rule::kUnusualLength), 1);
  EXPECT_EQ(Examples(result, Rule::kUnusualLength)[0].where, path + ":42");
  EXPECT_EQ(Rows(result, Rule::kLanguageMix), 1);
  EXPECT_EQ(Examples(result, Rule::kLanguageMix)[0].where, path + ":41");
  EXPECT_EQ(Rows(result, Rule::kTooLong), 1);
  EXPECT_EQ(Examples(result, Rule::kTooLong)[0].detail, "about 5001 tokens, the limit is 4000");
  const auto count = [](const std::string& row, const std::string&) {
    return row.find("zahl") != row.npos ? int64_t{5000} : int64_t{1};
  };
  const CheckResult counted = CheckData({.input = {path}, .max_length = 4000, .count_tokens = count});
  EXPECT_EQ(Examples(counted, Rule::kTooLong)[0].where, path + ":41");
}

TEST_F(Check, ManyFilesAndThreadsGiveTheSame) {
  std::string rows;
  for (int i = 0; i < 60'000; ++i) rows += Pair("p" + std::to_string(i % 50'000), i % 1000 == 7 ? "a@b.com." : "fine.");
  Write("a.jsonl", rows);
  Write("b.jsonl.gz", Gzip(rows));
  Write("c.csv", "prompt,completion\nq,r@s.com.\n");
  Write("out.removed.jsonl", "none of the data\n");
  const CheckResult one = CheckData({.input = {folder_}, .threads = 1}),
                    three = CheckData({.input = {folder_}, .threads = 3});
  EXPECT_EQ(one.rows, 120'001);
  EXPECT_EQ(one.files, 3);
  for (size_t i = 0; i < kRules; ++i) {
    EXPECT_EQ(one.rules[i].rows, three.rules[i].rows);
    ASSERT_EQ(one.rules[i].examples.size(), three.rules[i].examples.size());
    for (size_t e = 0; e < one.rules[i].examples.size(); ++e)
      EXPECT_EQ(one.rules[i].examples[e].where, three.rules[i].examples[e].where);
  }
  EXPECT_EQ(Rows(one, Rule::kEmail), 121);
  EXPECT_EQ(Rows(one, Rule::kDuplicate), 120'000 - 50'000 - Rows(one, Rule::kConflict));
}

std::string ErrorOf(const CheckSettings& settings) {
  try {
    CheckData(settings);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "";
}

TEST_F(Check, BadInputIsOneClearLine) {
  EXPECT_NE(ErrorOf({.input = {folder_ + "/none.jsonl"}}).find("none.jsonl: cannot be opened"), std::string::npos);
  EXPECT_NE(ErrorOf({.input = {folder_}}).find("the folder holds no .jsonl"), std::string::npos);
  EXPECT_NE(ErrorOf({.input = {Write("a.bin", "??")}}).find("cannot tell what kind of file"), std::string::npos);
  EXPECT_NE(ErrorOf({.input = {Write("e.jsonl", "\n")}}).find("holds no rows"), std::string::npos);
  EXPECT_NE(ErrorOf({.input = {Write("e.csv", "")}}).find("the first line must name the columns"), std::string::npos);
  EXPECT_NE(ErrorOf({.input = {Write("g.jsonl.gz", Gzip(std::string(5000, 'x')).substr(0, 20))}}).find("cut short"),
            std::string::npos);
  const std::string a = Write("a.csv", "prompt,completion\n1,2\n"), b = Write("b.csv", "prompt,answer\n1,2\n");
  EXPECT_NE(ErrorOf({.input = {a, b}}).find("b.csv: its columns are prompt, answer, those of"), std::string::npos);
  EXPECT_NE(
      ErrorOf({.input = {a}, .columns = {{"text", "body"}}}).find("has no column \"body\", only prompt, completion"),
      std::string::npos);
}

TEST(LengthHistogram, Quantiles) {
  LengthHistogram lengths, others;
  EXPECT_EQ(lengths.Quantile(0.5), 0);
  for (int i = 1; i <= 500; ++i) lengths.Add(i), others.Add(i + 500);
  lengths.Merge(others);
  lengths.Merge({});
  EXPECT_EQ(lengths.total(), 1000);
  EXPECT_EQ(lengths.shortest(), 1);
  EXPECT_EQ(lengths.longest(), 1000);
  EXPECT_NEAR(static_cast<double>(lengths.Quantile(0.5)), 500, 15);
  EXPECT_NEAR(static_cast<double>(lengths.Quantile(0.95)), 950, 30);
}

}  // namespace attune::check_test
