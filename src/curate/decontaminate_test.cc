#include "curate/decontaminate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "base/error.h"
#include "base/file.h"

namespace attune::decontaminate_test {

class Decontaminate : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/decontaminate-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    settings_.stage.input = {folder_ + "/train.jsonl"};
    settings_.against = {folder_ + "/eval.jsonl"};
  }
  // "LINE:WORDS:TEXT" of each removed row.
  std::vector<std::string> Removed(const std::vector<std::string>& train, const std::vector<std::string>& eval) {
    const auto write = [&](const char* name, const std::vector<std::string>& rows) {
      std::string text;
      for (const std::string& row : rows) text += row + "\n";
      WriteFileAtomic(folder_ + name, text);
    };
    write("/train.jsonl", train);
    write("/eval.jsonl", eval);
    settings_.stage.output = folder_ + "/out" + std::to_string(runs_++);
    manifest_ = DecontaminateData(settings_);
    std::vector<std::string> removed;
    std::istringstream lines(ReadFile(settings_.stage.output + ".removed.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const auto row = nlohmann::ordered_json::parse(line);
      removed.push_back(
          fmt::format("{}:{}:{}", row["line"].get<int>(), row["words"].get<int>(), row["text"].get<std::string>()));
    }
    return removed;
  }
  std::string folder_;
  DecontaminateSettings settings_;
  nlohmann::ordered_json manifest_;
  int runs_ = 0;
};

std::string RowOf(const std::string& prompt, const std::string& answer) {
  return "{\"prompt\": \"" + prompt + "\", \"completion\": \"" + answer + "\"}";
}

using List = std::vector<std::string>;

TEST_F(Decontaminate, FindsTheLongestRun) {
  const std::string eight = "one two three four five six seven eight", nine = eight + " nine";
  const List train = {RowOf("clean", "nothing to see"),
                      RowOf("q", "It says: One, TWO three four; five six seven eight!"),
                      RowOf("q", "zero " + nine + " other"), RowOf("q", "one two three four five six seven")};
  EXPECT_EQ(Removed(train, {RowOf("x", "before " + nine + " ten")}), (List{"2:8:" + eight, "3:9:" + nine}));
  EXPECT_EQ(manifest_["rows_sharing_8_words"], 2);
  EXPECT_EQ(manifest_["rows_sharing_12_words"], 0);
  EXPECT_EQ(manifest_["eval_rows_found"], 1);
  EXPECT_EQ(manifest_["examples"][0]["eval"], folder_ + "/eval.jsonl:1");
  settings_.words = 9;
  EXPECT_EQ(Removed(train, {RowOf("x", "before " + nine + " ten")}), List{"3:9:" + nine});
}

TEST_F(Decontaminate, PrefersTheLongerOfTwoPlaces) {
  const std::string eight = "a b c d e f g h";
  EXPECT_EQ(Removed({RowOf("q", eight + " i j")}, {RowOf("x", eight + " z"), RowOf("y", "0 " + eight + " i j k")}),
            List{"1:10:" + eight + " i j"});
  EXPECT_EQ(Removed({RowOf("q", "0 " + eight + " 1 " + eight + " i")}, {RowOf("x", eight + " i")}),
            List{"1:9:" + eight + " i"});
}

TEST_F(Decontaminate, RunsDoNotReachOverTexts) {
  EXPECT_EQ(Removed({RowOf("a b c d", "e f g h")}, {RowOf("x", "a b c d e f g h")}), List{});
  EXPECT_EQ(Removed({RowOf("x", "a b c d e f g h")}, {RowOf("a b c d", "e f g h")}), List{});
}

TEST_F(Decontaminate, ShortQuestionsCountAsAWhole) {
  EXPECT_EQ(Removed({RowOf("Define \\\"bank\\\"!", "A place."), RowOf("Define banks", "Yes.")},
                    {RowOf("define BANK", "Yes.")}),
            List{"1:2:define bank"});
  settings_.words = 12;
  EXPECT_EQ(Removed({RowOf("one two three four five six seven eight nine", "a")},
                    {RowOf("one two three four five six seven eight nine", "b")}),
            List{"1:9:one two three four five six seven eight nine"});
}

TEST_F(Decontaminate, SystemPromptsAreEverybodys) {
  const std::string chat =
      R"({"messages": [{"role": "system", "content": "one two three four five six seven eight nine"}, {"role": "user", "content": ")";
  const std::string end = R"("}, {"role": "assistant", "content": "b"}]})";
  EXPECT_EQ(Removed({chat + "this" + end}, {chat + "that" + end}), List{});
}

TEST_F(Decontaminate, EvaluationRowsMustBeReadable) {
  EXPECT_THROW(Removed({RowOf("a", "b")}, {"broken"}), Error);
  EXPECT_THROW(Removed({RowOf("a", "b")}, {}), Error);
}

// A Chinese or Japanese question has no blanks, and is found within a longer text all the same.
TEST_F(Decontaminate, WordsWithoutBlanks) {
  const List found = Removed({RowOf("请问：澳大利亚新南威尔士州的首府是哪个城市？谢谢", "悉尼"),
                              RowOf("ねえ、日本で一番高い山は何という名前ですか。教えて", "富士山"),
                              RowOf("请写一首关于春天的诗。", "春眠不觉晓")},
                             {RowOf("澳大利亚新南威尔士州的首府是哪个城市？", "悉尼市"),
                              RowOf("日本で一番高い山は何という名前ですか。", "富士")});
  EXPECT_EQ(found, (List{"1:18:澳 大 利 亚 新 南 威 尔 士 州 的 首 府 是 哪 个 城 市",
                         "2:14:日 本 で 一 番 高 い 山 は 何 という 名 前 ですか"}));
}

TEST_F(Decontaminate, CountsWhereThereAreNoRows) {
  EXPECT_EQ(Removed({}, {RowOf("x", "y")}), List{});
  EXPECT_EQ(manifest_.at("rows_sharing_8_words"), 0);
  EXPECT_EQ(manifest_.at("rows_sharing_12_words"), 0);
}

}  // namespace attune::decontaminate_test
