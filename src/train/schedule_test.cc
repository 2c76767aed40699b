#include "train/schedule.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "base/file.h"

namespace attune::schedule_test {

using Json = nlohmann::ordered_json;

TEST(Schedule, AgreesWithTransformers) {
  const Json rows = Json::parse(ReadFile(std::string(ATTUNE_TEST_DATA) + "/train/schedules.json"));
  ASSERT_EQ(rows.size(), 136u);
  for (const auto& row : rows) {
    const Schedule schedule(row["name"], row["kwargs"], row["base_lr"], row["warmup_steps"], row["total_steps"]);
    const auto& want = row["lr"];
    for (size_t t = 0; t < want.size(); ++t) {
      EXPECT_NEAR(schedule.LearningRate(static_cast<int64_t>(t)), want[t].get<double>(), 1e-9)
          << row["name"] << row["kwargs"] << " warm-up " << row["warmup_steps"] << " at " << t;
    }
  }
}

TEST(Schedule, OutlivesTheKeywordsItWasMadeFrom) {
  Schedule* schedule = nullptr;
  {
    const Json kwargs = {{"num_cycles", 1.0}};
    schedule = new Schedule("cosine", kwargs, 1.0, 0, 4);
  }
  EXPECT_NEAR(schedule->LearningRate(2), 0.0, 1e-12);
  EXPECT_NEAR(schedule->LearningRate(4), 1.0, 1e-12);
  delete schedule;
}

TEST(Schedule, WarmupStableDecayShapes) {
  const Json kwargs = {{"num_decay_steps", 4}, {"warmup_type", "cosine"}, {"decay_type", "linear"}};
  const Schedule schedule("warmup_stable_decay", kwargs, 1.0, 2, 10);
  EXPECT_NEAR(schedule.LearningRate(1), 0.5, 1e-12);
  EXPECT_NEAR(schedule.LearningRate(5), 1.0, 1e-12);
  EXPECT_NEAR(schedule.LearningRate(7), 0.75, 1e-12);
  EXPECT_NEAR(schedule.LearningRate(10), 0.0, 1e-12);
}

std::string ErrorOf(const std::string& name, const Json& kwargs, double rate = 1e-3) {
  try {
    const Schedule schedule(name, kwargs, rate, 2, 10);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
    return e.what();
  }
  return "";
}

TEST(Schedule, ErrorsNameTheKey) {
  EXPECT_EQ(ErrorOf("cosin", {}), "lr_scheduler_type \"cosin\" is not known; did you mean \"cosine\"?");
  EXPECT_EQ(ErrorOf("linear", {{"power", 1}}), "lr_scheduler_kwargs.power: the schedule \"linear\" takes no keywords");
  EXPECT_EQ(ErrorOf("cosine", {{"num_cycle", 1}}),
            "lr_scheduler_kwargs.num_cycle: \"cosine\" has no such keyword; did you mean \"num_cycles\"?");
  EXPECT_EQ(ErrorOf("cosine", {{"num_cycles", "many"}}),
            "lr_scheduler_kwargs.num_cycles: expected a number of 0 or more, found \"many\"");
  EXPECT_EQ(ErrorOf("cosine", Json::array({1})), "lr_scheduler_kwargs: expected a mapping, found array");
  EXPECT_NE(ErrorOf("warmup_stable_decay", {}).find("num_decay_steps"), std::string::npos);
  EXPECT_NE(ErrorOf("warmup_stable_decay", {{"num_decay_steps", 9}}).find("more than the 10 updates"),
            std::string::npos);
  EXPECT_NE(ErrorOf("cosine_with_min_lr", {}).find("min_lr"), std::string::npos);
  EXPECT_NE(ErrorOf("polynomial", {}, 1e-9).find("lr_end"), std::string::npos);
  EXPECT_NE(ErrorOf("linear", {}, -1).find("learning_rate"), std::string::npos);
}

}  // namespace attune::schedule_test
