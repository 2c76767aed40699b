#include "data/dataset.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "data/fake_text_for_test.h"

namespace attune {
namespace {

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
  for (int length = 100; length >= 1; --length)
    content += "{\"text\": \"" + std::string(length, 'x') + "\"}\n\n";
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
  EXPECT_EQ(data.stats.trained_tokens, data.stats.tokens);
}

TEST_F(DatasetTest, TheNumberOfThreadsChangesNothing) {
  std::string content;
  for (int i = 0; i < 500; ++i)
    content += "{\"prompt\": \"" + std::to_string(i) + "\", \"completion\": \" c\"}\n";
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
}

TEST_F(DatasetTest, TheFirstBrokenRowIsReported) {
  std::string content;
  for (int i = 1; i <= 400; ++i) content += i == 237 || i == 390 ? "{\"txt\": 1}\n" : "{\"text\": \"t\"}\n";
  for (int threads = 1; threads <= 4; ++threads) {
    EXPECT_TRUE(ErrorOf(content, {}, threads).starts_with(path_ + ":237: ")) << threads;
  }
}

}  // namespace
}  // namespace attune
