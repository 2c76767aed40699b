// What is told of training rows before the first step, and manifests beside them.
#include "app/train_data_check.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "curate/clean.h"

namespace attune::train_data_check_test {

class TrainDataCheck : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "train-data-check-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    RemoveTree(folder_);
    MakeDirectories(folder_);
  }
  std::string Write(const std::string& name, const std::string& text) const {
    WriteFileAtomic(folder_ + "/" + name, text);
    return folder_ + "/" + name;
  }
  static std::string Row(const std::string& prompt, const std::string& answer) {
    return R"({"prompt": ")" + prompt + R"(", "completion": ")" + answer + "\"}\n";
  }
  std::string folder_;
};

TEST_F(TrainDataCheck, OneLineWhereNothingIsWrong) {
  const std::string path =
      Write("rows.jsonl", Row("Say a colour.", "It is blue.") + Row("Say another.", "It is green."));
  const DataNotes notes = CheckTrainData(path);
  ASSERT_EQ(notes.lines.size(), 1u);
  EXPECT_EQ(notes.lines[0], "data: nothing is wrong with 2 rows of " + path);
  EXPECT_EQ(notes.record["rows"], 2);
}

TEST_F(TrainDataCheck, ThreeLinesWithTheFirstPlaces) {
  const std::string path =
      Write("rows.jsonl", Row("Say a colour.", "It is blue.") + Row("Who?", "Write to a.person@example.org") +
                              Row("Say a colour.", "It is blue.") + Row("Where?", "In a caf\xC3\x83\xC2\xA9."));
  const DataNotes notes = CheckTrainData(path);
  ASSERT_EQ(notes.lines.size(), 3u);
  EXPECT_NE(notes.lines[0].find("data: 2 errors and "), std::string::npos) << notes.lines[0];
  EXPECT_NE(notes.lines[1].find("1 email (" + path + ":2)"), std::string::npos) << notes.lines[1];
  EXPECT_NE(notes.lines[1].find("1 mojibake (" + path + ":4)"), std::string::npos) << notes.lines[1];
  EXPECT_NE(notes.lines[2].find("1 duplicate (" + path + ":3)"), std::string::npos) << notes.lines[2];
  EXPECT_EQ(notes.record["errors"]["email"], 1);
  EXPECT_EQ(notes.record["warnings"]["duplicate"], 1);
}

TEST_F(TrainDataCheck, LooksAtTheFirstBytesOnly) {
  std::string text;
  for (int i = 0; i < 40'000; ++i) text += Row("Say number " + std::to_string(i) + ".", "It is as you say.");
  const std::string path = Write("rows.jsonl", text);
  const DataNotes notes = CheckTrainData(path, 1000);
  ASSERT_LT(notes.record["rows"], 40'000);
  ASSERT_GT(notes.record["rows"], 10);
  EXPECT_NE(notes.lines[0].find("the first "), std::string::npos) << notes.lines[0];
}

TEST_F(TrainDataCheck, AManifestIsComparedWithItsFile) {
  const std::string raw = Write("raw.jsonl", Row("Say a colour.", "It is blue."));
  CleanSettings settings;
  settings.stage.input = {raw};
  settings.stage.output = folder_ + "/clean";
  CleanData(settings);
  const std::string clean = folder_ + "/clean.jsonl";
  DataNotes notes = CheckManifests({clean, raw});
  EXPECT_TRUE(notes.lines.empty());
  ASSERT_EQ(notes.record.size(), 1u);
  EXPECT_EQ(notes.record[0]["file"], clean);
  EXPECT_EQ(notes.record[0]["manifest"], folder_ + "/clean.manifest.json");
  EXPECT_EQ(notes.record[0]["stage"], "clean");
  EXPECT_EQ(notes.record[0]["matches"], true);
  EXPECT_EQ(notes.record[0]["manifest_xxh3_128"].get<std::string>().size(), 32u);

  Write("clean.jsonl", ReadFile(clean) + Row("Say one more.", "It is red."));
  notes = CheckManifests({clean});
  ASSERT_EQ(notes.lines.size(), 1u);
  EXPECT_NE(notes.lines[0].find("was changed since"), std::string::npos) << notes.lines[0];
  EXPECT_EQ(notes.record[0]["matches"], false);

  Write("clean.manifest.json", "{\"outputs\": [");
  notes = CheckManifests({clean});
  ASSERT_EQ(notes.lines.size(), 1u);
  EXPECT_NE(notes.lines[0].find("clean.manifest.json"), std::string::npos) << notes.lines[0];
  EXPECT_TRUE(notes.record.empty());
}

}  // namespace attune::train_data_check_test
