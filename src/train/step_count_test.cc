#include "train/step_count.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace attune::step_count_test {

TEST(StepCount, AgreesWithTransformers) {
  const auto rows = nlohmann::json::parse(ReadFile(std::string(ATTUNE_TEST_DATA) + "/train/steps.json"));
  ASSERT_EQ(rows.size(), 144u);
  for (const auto& row : rows) {
    StepSettings s;
    s.num_rows = row["num_rows"];
    s.per_device_train_batch_size = row["batch_size"];
    s.gradient_accumulation_steps = row["gradient_accumulation_steps"];
    s.num_train_epochs = row["num_train_epochs"];
    s.drop_last = row["drop_last"];
    s.max_steps = row["max_steps"];
    const StepCounts got = CountSteps(s);
    EXPECT_EQ(got.micro_batches_per_epoch, row["micro_batches_per_epoch"]) << row;
    EXPECT_EQ(got.updates_per_epoch, row["updates_per_epoch"]) << row;
    EXPECT_EQ(got.total_updates, row["total_updates"]) << row;
    EXPECT_EQ(got.epochs_run, row["epochs_run"]) << row;
    EXPECT_EQ(got.micro_batches_in_last_update, row["micro_batches_in_last_update_of_epoch"]) << row;
  }
}

TEST(StepCount, WarmupInBothSpellings) {
  EXPECT_EQ(WarmupSteps(0, 0, 100), 0);
  EXPECT_EQ(WarmupSteps(0, 0.1, 6), 1);
  EXPECT_EQ(WarmupSteps(0.1, 0, 6), 1);
  EXPECT_EQ(WarmupSteps(7, 0.1, 100), 7);
  EXPECT_EQ(WarmupSteps(0.25, 0.1, 100), 25);
  EXPECT_THROW(WarmupSteps(2.5, 0, 100), Error);
  EXPECT_THROW(WarmupSteps(-1, 0, 100), Error);
  EXPECT_THROW(WarmupSteps(0, 1.5, 100), Error);
  EXPECT_THROW(WarmupSteps(std::numeric_limits<double>::quiet_NaN(), 0, 100), Error);
}

TEST(StepCount, Intervals) {
  EXPECT_EQ(IntervalSteps(10, 153, "logging_steps"), 10);
  EXPECT_EQ(IntervalSteps(0.1, 153, "logging_steps"), 16);
  EXPECT_THROW(IntervalSteps(0, 153, "save_steps"), Error);
  EXPECT_THROW(IntervalSteps(1.5, 153, "save_steps"), Error);
}

std::string ErrorOf(const StepSettings& s) {
  try {
    CountSteps(s);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(StepCount, ErrorsNameTheKey) {
  EXPECT_EQ(ErrorOf({}), "there are no rows to train on");
  EXPECT_EQ(ErrorOf({.num_rows = 3, .per_device_train_batch_size = 0}),
            "per_device_train_batch_size is 0: it must be 1 or more");
  EXPECT_NE(ErrorOf({.num_rows = 3, .num_train_epochs = 0}).find("num_train_epochs is 0"), std::string::npos);
  EXPECT_NE(ErrorOf({.num_rows = 3, .drop_last = true}).find("dataloader_drop_last"), std::string::npos);
  EXPECT_NE(ErrorOf({.num_rows = 3, .num_train_epochs = 1e300}).find("too large"), std::string::npos);
}

}  // namespace attune::step_count_test
