#include "cli/progress_line.h"

#include <gtest/gtest.h>

namespace attune::progress_line_test {

TEST(ProgressLine, SaysWhatIsLeft) {
  EXPECT_EQ(ProgressText("scoring rows", 25, 100, 10), "scoring rows: 25 of 100 (25 %), 30s left");
  EXPECT_EQ(ProgressText("scoring rows", 1, 100, 10), "scoring rows: 1 of 100 (1 %), 16m30s left");
  EXPECT_EQ(ProgressText("scoring rows", 1, 1000, 10), "scoring rows: 1 of 1000 (0 %), 2h46m left");
  EXPECT_EQ(ProgressText("scoring rows", 0, 100, 10), "scoring rows: 0 of 100 (0 %)");
  EXPECT_EQ(ProgressText("scoring rows", 100, 100, 10), "scoring rows: 100 of 100 (100 %)");
}

TEST(ProgressLine, IsQuietForShortWork) {
  testing::internal::CaptureStderr();
  {
    ProgressLine line;
    const OnProgress report = line.Reporter();
    for (int i = 0; i <= 5; ++i) report("scoring rows", i, 5);
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace attune::progress_line_test
