// The state in a checkpoint: what was written reads back, and what no run writes is refused by name.
#include "train/trainer_state.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::trainer_state_test {

using Json = nlohmann::ordered_json;

std::string ErrorWith(const char* key, const Json& value) {
  TrainerState state;
  state.step = 4;
  Json json = state.ToJson();
  json[key] = value;
  try {
    TrainerState::FromJson(json, "state.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(TrainerState, ReadsWhatItWrote) {
  TrainerState state;
  state.step = int64_t{1} << 40;
  state.skipped_nonfinite = 3;
  state.loss_sum = 0.1;
  state.best_metric = 1.0 / 3;
  state.history.push_back({{"step", 1}, {"loss", 2.5}});
  const Json json = Json::parse(state.ToJson().dump());
  EXPECT_EQ(TrainerState::FromJson(json, "state.json").ToJson(), state.ToJson());
}

TEST(TrainerState, RefusesCountsThatAreNone) {
  EXPECT_EQ(ErrorWith("step", 5), "");
  for (const Json& value : {Json(-1), Json(1.5), Json(1e308), Json(uint64_t{1} << 63), Json(true), Json("4"), Json()}) {
    for (const char* key : {"step", "tokens_seen", "skipped_nonfinite", "best_step", "plateau_cooldown"})
      EXPECT_NE(ErrorWith(key, value).find(key), std::string::npos) << value << ErrorWith(key, value);
  }
  EXPECT_NE(ErrorWith("skipped_nonfinite", 5).find("5 updates skipped of 4"), std::string::npos);
}

}  // namespace attune::trainer_state_test
