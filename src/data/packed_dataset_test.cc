// Packed rows: their tokens, labels and sequence starts, after TRL's examples.
#include "data/packed_dataset.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace attune::packed_dataset_test {

using Ints = std::vector<int32_t>;

// Examples of these lengths with tokens 1, 2, 3, ... over all of them; the first token of each carries no
// loss.
std::vector<Example> Numbered(const std::vector<int>& lengths) {
  std::vector<Example> examples;
  int32_t token = 0;
  for (const int length : lengths) {
    Example example;
    for (int i = 0; i < length; ++i) {
      example.input_ids.push_back(++token);
      example.labels.push_back(i == 0 ? kIgnoredLabel : token);
    }
    example.row_line = std::ssize(examples) + 1;
    examples.push_back(example);
  }
  return examples;
}

TEST(PackExamples, BestFitTruncates) {
  const auto rows = PackExamples(Numbered({5, 2, 3, 1}), 4, PackingStrategy::kBfd);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].input_ids, (Ints{1, 2, 3, 4}));
  EXPECT_EQ(rows[1].input_ids, (Ints{8, 9, 10, 11}));
  EXPECT_EQ(rows[1].labels, (Ints{-100, 9, 10, -100}));
  EXPECT_EQ(rows[1].starts, (Ints{0, 3}));
  EXPECT_EQ(rows[2].input_ids, (Ints{6, 7}));
  EXPECT_EQ(rows[2].starts, (Ints{0}));
  EXPECT_TRUE(rows[0].truncated);
  EXPECT_FALSE(rows[1].truncated);
  EXPECT_EQ(rows[1].row_line, 3);
  EXPECT_DOUBLE_EQ(PackingEfficiency(rows, 4), 10 / 12.0);
}

// The rest of a split example is a sequence of its own: nothing predicts its first token.
TEST(PackExamples, BestFitSplits) {
  const auto rows = PackExamples(Numbered({5, 2, 3, 1}), 4, PackingStrategy::kBfdSplit);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[1].input_ids, (Ints{8, 9, 10, 5}));
  EXPECT_EQ(rows[1].labels, (Ints{-100, 9, 10, -100}));
  EXPECT_EQ(rows[1].starts, (Ints{0, 3}));
  EXPECT_EQ(rows[2].input_ids, (Ints{6, 7, 11}));
  for (const Example& row : rows) EXPECT_FALSE(row.truncated);
  EXPECT_DOUBLE_EQ(PackingEfficiency(rows, 4), 11 / 12.0);
}

TEST(PackExamples, WrappedKnowsNoBoundaries) {
  const auto rows = PackExamples(Numbered({5, 2, 3, 1}), 4, PackingStrategy::kWrapped);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].input_ids, (Ints{1, 2, 3, 4}));
  EXPECT_EQ(rows[1].input_ids, (Ints{5, 6, 7, 8}));
  EXPECT_EQ(rows[1].labels, (Ints{5, -100, 7, -100}));
  EXPECT_EQ(rows[2].input_ids, (Ints{9, 10, 11}));
  EXPECT_EQ(rows[1].row_line, 1);
  for (const Example& row : rows) EXPECT_TRUE(row.starts.empty());
}

// Across batches of 1000 examples and with empty ones among them: every token is there once, starts are
// right.
TEST(PackExamples, LosesNothing) {
  std::vector<int> lengths;
  for (int i = 0; i < 2500; ++i) lengths.push_back(i * 7919 % 23);
  const auto examples = Numbered(lengths);
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  for (const PackingStrategy strategy : {PackingStrategy::kBfdSplit, PackingStrategy::kWrapped}) {
    const auto rows = PackExamples(examples, 16, strategy);
    std::vector<bool> seen(static_cast<size_t>(total) + 1);
    for (const Example& row : rows) {
      EXPECT_LE(row.input_ids.size(), 16u);
      EXPECT_EQ(row.input_ids.size(), row.labels.size());
      for (const int32_t token : row.input_ids) {
        EXPECT_FALSE(seen[static_cast<size_t>(token)]);
        seen[static_cast<size_t>(token)] = true;
      }
      for (size_t i = 1; i < row.input_ids.size(); ++i) {  // a new sequence where the tokens do not follow
        const bool starts = std::find(row.starts.begin(), row.starts.end(), i) != row.starts.end();
        if (!starts && strategy == PackingStrategy::kBfdSplit) {
          EXPECT_EQ(row.input_ids[i], row.input_ids[i - 1] + 1);
        }
        if (starts) {
          EXPECT_EQ(row.labels[i], kIgnoredLabel);
        }
      }
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), total);
    EXPECT_GT(PackingEfficiency(rows, 16), 0.95);
  }
  EXPECT_TRUE(PackExamples({}, 16, PackingStrategy::kBfd).empty());
  EXPECT_EQ(PackingEfficiency({}, 16), 0);
}

TEST(PackExamples, NeedsALength) {
  try {
    PackExamples(Numbered({3}), 0, PackingStrategy::kBfd);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_NE(std::string(error.what()).find("max_length"), std::string::npos);
  }
}

}  // namespace attune::packed_dataset_test
