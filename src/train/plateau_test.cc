#include "train/plateau.h"

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "base/file.h"
#include "train/schedule.h"

namespace attune::plateau_test {

using Json = nlohmann::ordered_json;

// The same bits as torch's, since the rate is kept as a count of reductions.
TEST(Plateau, IsTorchs) {
  const Json rows = Json::parse(ReadFile(std::string(ATTUNE_TEST_DATA) + "/train/plateau.json"));
  ASSERT_EQ(rows.size(), 24u);
  int64_t reductions = 0;
  for (const Json& row : rows) {
    const double base = row["base_lr"];
    const Schedule schedule("reduce_lr_on_plateau", row["kwargs"], base, 3, 40);
    PlateauState state;
    EXPECT_EQ(schedule.LearningRate(0, state), base);
    for (size_t i = 0; i < row["metrics"].size(); ++i) {
      schedule.Observe(row["metrics"][i], &state);
      ASSERT_EQ(schedule.LearningRate(static_cast<int64_t>(i), state), row["lr"][i].get<double>())
          << row["kwargs"] << " " << i;
    }
    reductions += state.reductions;
  }
  EXPECT_GT(reductions, 100);
}

TEST(Plateau, OtherSchedulesTakeNoNoteOfMetrics) {
  const Schedule schedule("linear", {}, 1.0, 0, 10);
  PlateauState state;
  for (int i = 0; i < 50; ++i) schedule.Observe(i, &state);
  EXPECT_FALSE(state.best);
  EXPECT_EQ(schedule.LearningRate(5, state), schedule.LearningRate(5));
}

TEST(Plateau, ErrorsNameTheKey) {
  const auto error_of = [](const Json& kwargs) {
    try {
      const Schedule schedule("reduce_lr_on_plateau", kwargs, 1e-3, 0, 10);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error_of({{"factor", 1.0}}),
            "lr_scheduler_kwargs.factor is 1: it must be below 1, or the rate would not fall");
  EXPECT_EQ(error_of({{"mode", "least"}}), "lr_scheduler_kwargs.mode: expected min or max, found \"least\"");
  EXPECT_EQ(error_of({{"patience", 1.5}}), "lr_scheduler_kwargs.patience: expected a whole number, found 1.5");
  EXPECT_EQ(error_of({{"min_lr", Json::array({0.1, 0.2})}}),
            "lr_scheduler_kwargs.min_lr: expected a number of 0 or more, found [0.1,0.2]");
  EXPECT_NE(error_of({{"patienc", 1}}).find("did you mean \"patience\"?"), std::string::npos);
  EXPECT_EQ(error_of({}), "");
}

}  // namespace attune::plateau_test
