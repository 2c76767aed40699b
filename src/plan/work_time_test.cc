#include "plan/work_time.h"

#include <gtest/gtest.h>

namespace attune::work_time_test {

TEST(WorkTime, IsTheSumOverKinds) {
  const auto time =
      TimeOf({{"products", 600}, {"element-wise", 50}, {"optimiser", 0}}, {{"products", 200}, {"element-wise", 100}});
  ASSERT_TRUE(time);
  EXPECT_DOUBLE_EQ(time->seconds(), 3.5);
  EXPECT_DOUBLE_EQ(time->seconds_by_kind.at("products"), 3);
  EXPECT_FALSE(time->is_guessed);
}

TEST(WorkTime, ProductsByAnUnmeasuredTypeGoByOthers) {
  auto time = TimeOf({{"products by Q4_K", 600}}, {{"products", 200}, {"products by Q6_K", 10}});
  ASSERT_TRUE(time);
  EXPECT_DOUBLE_EQ(time->seconds(), 3 * kDecodeFactor);
  EXPECT_TRUE(time->is_guessed);
  time = TimeOf({{"products", 600}}, {{"products by Q4_K", 300}, {"products by Q6_K", 200}});
  ASSERT_TRUE(time);
  EXPECT_DOUBLE_EQ(time->seconds(), 3);
  EXPECT_TRUE(time->is_guessed);
}

TEST(WorkTime, SaysNothingWhereAKindWasNotMeasured) {
  EXPECT_FALSE(TimeOf({{"products", 1}, {"attention", 1}}, {{"products", 200}}));
  EXPECT_FALSE(TimeOf({{"products", 1}}, {{"thin products", 200}}));
}

}  // namespace attune::work_time_test
