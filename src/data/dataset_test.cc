#include "data/dataset.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "data/fake_text_for_test.h"

namespace attune::dataset_test {

class DatasetTest : public testing::Test {
 protected:
  std::string Write(const std::string& content) const {
    WriteFileAtomic(path_, content);
    return path_;
  }
  std::string ErrorOf(const std::string& content, EncodeOptions options = {}, int threads = 2) const {
    try {
      LoadDataset(Write(content), RowEncoder(tokenizer_, {}, "", options), threads);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "";
  }

  const std::string path_ =
      testing::TempDir() + testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl";
  FakeTokenizer tokenizer_;
};

TEST_F(DatasetTest, StatisticsAndOrder) {
  std::string content;
  for (int length = 100; length >= 1; --length) content += "{\"text\": \"" + std::string(length, 'x') + "\"}\n\n";
  const RowEncoder encoder(tokenizer_, {}, "", {.max_length = 91});
  const Dataset data = LoadDataset(Write(content), encoder, 3);
  ASSERT_EQ(data.examples.size(), 100u);
  EXPECT_EQ(data.examples[0].row_line, 1);
  EXPECT_EQ(data.examples[99].row_line, 199);
  EXPECT_EQ(data.examples[99].input_ids.size(), 2u);  // BOS and x
  EXPECT_EQ(data.stats.rows, 100);
  EXPECT_EQ(data.stats.truncated, 10);
  EXPECT_EQ(data.stats.shortest, 2);
  EXPECT_EQ(data.stats.median, 51);
  EXPECT_EQ(data.stats.p95, 91);
  EXPECT_EQ(data.stats.longest, 91);
  EXPECT_EQ(data.stats.tokens, 5150 - 55);
  EXPECT_EQ(data.stats.trained_tokens, data.stats.tokens - 100);  // nothing predicts the first of a row
}

TEST_F(DatasetTest, TheNumberOfThreadsChangesNothing) {
  std::string content;
  for (int i = 0; i < 500; ++i) content += "{\"prompt\": \"" + std::to_string(i) + "\", \"completion\": \" c\"}\n";
  const RowEncoder encoder(tokenizer_, {}, "", {});
  const Dataset one = LoadDataset(Write(content), encoder, 1);
  const Dataset four = LoadDataset(path_, encoder, 4);
  ASSERT_EQ(one.examples.size(), four.examples.size());
  for (size_t i = 0; i < one.examples.size(); ++i) {
    EXPECT_EQ(one.examples[i].input_ids, four.examples[i].input_ids);
    EXPECT_EQ(one.examples[i].labels, four.examples[i].labels);
  }
}

TEST_F(DatasetTest, RowsWithNothingToTrainAreDroppedAndCounted) {
  const RowEncoder encoder(tokenizer_, {}, "", {.max_length = 4});
  const Dataset data = LoadDataset(Write("{\"prompt\": \"long prompt\", \"completion\": \"c\"}\n{\"prompt\": "
                                         "\"p\", \"completion\": \"c\"}\n"),
                                   encoder);
  ASSERT_EQ(data.examples.size(), 1u);
  EXPECT_EQ(data.examples[0].row_line, 2);
  EXPECT_EQ(data.stats.rows, 2);
  EXPECT_EQ(data.stats.dropped, 1);
  EXPECT_EQ(data.stats.truncated, 1);
  EXPECT_EQ(data.stats.tokens, 3);
  EXPECT_EQ(data.stats.trained_tokens, 1);
}

TEST_F(DatasetTest, ErrorsNameTheFile) {
  EXPECT_NE(ErrorOf("{\"prompt\": \"long prompt\", \"completion\": \"c\"}", {.max_length = 4})
                .find(path_ + ": none of its 1 rows has a token to train on"),
            std::string::npos);
  EXPECT_EQ(ErrorOf("\n"), path_ + ": holds no rows");
  std::filesystem::remove(path_);
  EXPECT_THROW(LoadDataset(path_, RowEncoder(tokenizer_, {}, "", {})), Error);
  try {
    LoadDataset("rows.parquet", RowEncoder(tokenizer_, {}, "", {}));
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("attune data clean rows.parquet"), std::string::npos) << e.what();
  }
}

TEST_F(DatasetTest, TheFirstBrokenRowIsReported) {
  std::string content;
  for (int i = 1; i <= 400; ++i) content += i == 237 || i == 390 ? "{\"txt\": 1}\n" : "{\"text\": \"t\"}\n";
  for (int threads = 1; threads <= 4; ++threads) {
    EXPECT_TRUE(ErrorOf(content, {}, threads).starts_with(path_ + ":237: ")) << threads;
  }
}

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/b");
  }
  void Write(const std::string& name, const std::string& content) const {
    WriteFileAtomic(folder_ + "/" + name, content);
  }
  // "LINE:TEXT" behind the file's path below the folder.
  std::vector<std::string> Rows(const std::string& path) const {
    const Dataset data = LoadDataset(path, RowEncoder(tokenizer_, {}, "", {}), 2);
    std::vector<std::string> rows;
    for (const Example& example : data.examples) {
      const std::string name = data.RowName(example);
      rows.push_back(name.substr(std::min(name.size(), folder_.size() + 1)) + ":" +
                     tokenizer_.Decode(std::span(example.input_ids).subspan(1), false));
    }
    return rows;
  }
  std::string ErrorOf(const std::string& path) const {
    try {
      Rows(path);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return e.what();
    }
    return "";
  }

  const std::string folder_ = testing::TempDir() + testing::UnitTest::GetInstance()->current_test_info()->name();
  FakeTokenizer tokenizer_;
};

TEST_F(FolderTest, EveryLineOfATextFileIsADocument) {
  Write("t.txt", "\xEF\xBB\xBF  one {\"text\": 1}\r\n\n   \ntwo\xE2\x98\x83\n\nthree");
  EXPECT_EQ(Rows(folder_ + "/t.txt"),
            (std::vector<std::string>{"t.txt:1:  one {\"text\": 1}", "t.txt:4:two\xE2\x98\x83", "t.txt:6:three"}));
  Write("t.txt", "fine\n\nbad \xFF\n");
  EXPECT_TRUE(ErrorOf(folder_ + "/t.txt").starts_with(folder_ + "/t.txt:3: the line is not valid UTF-8"));
  Write("t.txt", " \n\n");
  EXPECT_EQ(ErrorOf(folder_ + "/t.txt"), folder_ + "/t.txt: holds no rows");
}

TEST_F(FolderTest, AFolderIsReadInTheOrderOfItsPaths) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {"c.txt", "c1\nc2\n"},   {"a.jsonl", "\n{\"text\": \"a2\"}\n"},
      {"b/z.txt", "z1"},       {"b/empty.txt", ""},
      {"README.md", "no row"}, {".hidden.txt", "nor this"}};
  const std::vector<std::string> expected = {"a.jsonl:2:a2", "b/z.txt:1:z1", "c.txt:1:c1", "c.txt:2:c2"};
  for (const auto& [name, content] : files) Write(name, content);
  EXPECT_EQ(Rows(folder_), expected);
  SetUp();
  for (auto file = files.rbegin(); file != files.rend(); ++file) Write(file->first, file->second);
  EXPECT_EQ(Rows(folder_), expected);
  // A link that leads back does not end in a circle.
  std::filesystem::create_directory_symlink(folder_, folder_ + "/b/again");
  EXPECT_EQ(Rows(folder_), expected);
}

TEST_F(FolderTest, ErrorsNameTheFileWithinTheFolder) {
  EXPECT_EQ(ErrorOf(folder_), folder_ + ": the folder holds no .jsonl or .txt file");
  Write("a.txt", "");
  EXPECT_EQ(ErrorOf(folder_), folder_ + ": holds no rows");
  Write("a.txt", "fine\n");
  Write("b/rows.jsonl", "{\"text\": \"t\"}\n{\"txt\": 1}\n");
  EXPECT_TRUE(ErrorOf(folder_).starts_with(folder_ + "/b/rows.jsonl:2: ")) << ErrorOf(folder_);
}

}  // namespace attune::dataset_test
