#include "data/overlap.h"

#include <gtest/gtest.h>

namespace attune::overlap_test {

Dataset Rows(const std::vector<std::vector<int32_t>>& rows, const std::string& name) {
  Dataset dataset;
  dataset.files = {name + "/a.jsonl", name + "/b.jsonl"};
  for (size_t i = 0; i < rows.size(); ++i) {
    dataset.examples.push_back({.input_ids = rows[i], .labels = rows[i], .file = static_cast<int32_t>(i % 2)});
    dataset.examples.back().row_line = static_cast<int64_t>(10 * i + 1);
  }
  return dataset;
}

TEST(CountOverlap, CountsEvaluationRowsAndNamesTheFirst) {
  const Dataset train = Rows({{1, 2}, {3}, {4, 5, 6}, {3}, {7, 8}}, "train");
  const Dataset eval = Rows({{1}, {2, 1}, {1, 2, 3}, {4, 5, 6}, {3}, {3}, {9}}, "eval");
  const Overlap overlap = CountOverlap(train, eval);
  EXPECT_EQ(overlap.rows, 3);  // [4, 5, 6] and [3] twice
  EXPECT_EQ(overlap.eval_rows, 7);
  EXPECT_EQ(overlap.eval_row, "eval/b.jsonl:31");
  EXPECT_EQ(overlap.train_row, "train/a.jsonl:21");
}

TEST(CountOverlap, NoneAndNothing) {
  const Overlap none = CountOverlap(Rows({{1, 2}, {258}}, "train"), Rows({{2, 1}, {1}, {2, 1, 0}}, "eval"));
  EXPECT_EQ(none.rows, 0);
  EXPECT_EQ(none.eval_rows, 3);
  EXPECT_EQ(none.eval_row + none.train_row, "");
  EXPECT_EQ(CountOverlap({}, {}).rows, 0);
}

}  // namespace attune::overlap_test
