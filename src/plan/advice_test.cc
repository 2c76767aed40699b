#include "plan/advice.h"

#include <gtest/gtest.h>

#include <set>

namespace attune::advice_test {

AdviceFacts Facts(const std::string& goal, int64_t rows) {
  AdviceFacts f;
  f.goal = goal;
  f.rows = rows;
  f.tokens = rows * 200;
  f.trained_tokens = rows * 100;
  f.has_held_out = true;
  f.lora_fits = f.qlora_fits = true;
  f.parameters_a_rank = 2500000;
  return f;
}

bool Fired(const AdviceResult& result, const std::string& id) {
  for (const AdviceRule* rule : result.fired) {
    if (rule->id == id) return true;
  }
  return false;
}

TEST(Advice, EveryRuleHasItsReasonAndCanFire) {
  std::set<std::string> ids, fired;
  for (const AdviceRule& rule : AdviceRules()) {
    EXPECT_TRUE(ids.insert(rule.id).second) << rule.id;
    for (const char* text : {rule.condition, rule.advice, rule.source})
      EXPECT_GT(std::string(text).size(), 3u) << rule.id;
  }
  for (const std::string& goal : AdviceGoals()) {
    for (const int64_t rows : {50, 500, 3000, 60000, 40000000}) {
      for (int fits = 0; fits < 4; ++fits) {
        AdviceFacts f = Facts(goal, rows);
        f.lora_fits = fits >= 2;
        f.qlora_fits = fits >= 1;
        f.full_fits = fits == 3;
        f.has_held_out = fits != 0;
        f.duplicates = fits == 0 ? rows / 10 : 0;
        f.hours = 30;
        f.budget_hours = fits == 0 ? 1 : 0;
        f.has_losses = fits != 0;
        f.loss_on_general = 3;
        f.loss_on_rows = fits == 1 ? 1 : 4;
        for (const AdviceRule* rule : FollowRules(f).fired) fired.insert(rule->id);
      }
    }
  }
  EXPECT_EQ(fired, ids);
}

TEST(Advice, FollowsThePublishedGuidance) {
  EXPECT_EQ(FollowRules(Facts("style", 40)).choice.first, "prompt");
  EXPECT_EQ(FollowRules(Facts("style", 500)).choice.first, "train");
  for (const char* goal : {"style", "domain", "code"})
    EXPECT_EQ(FollowRules(Facts(goal, 50000)).choice.method, "lora") << goal;

  AdviceFacts tight = Facts("style", 500);
  tight.lora_fits = false;
  EXPECT_EQ(FollowRules(tight).choice.method, "qlora");

  AdviceFacts behaviour = Facts("behaviour", 50000);
  EXPECT_EQ(FollowRules(behaviour).choice.method, "lora");  // full does not fit
  behaviour.full_fits = true;
  const AdviceResult full = FollowRules(behaviour);
  EXPECT_EQ(full.choice.method, "full");
  EXPECT_EQ(full.choice.learning_rate, 2e-5);
  EXPECT_EQ(full.choice.epochs, 1);
  behaviour.duplicates = 49500;  // 500 that are told apart
  EXPECT_EQ(FollowRules(behaviour).choice.method, "lora");
  behaviour.rows = 500;
  behaviour.duplicates = 0;
  EXPECT_EQ(FollowRules(behaviour).choice.method, "lora");

  EXPECT_TRUE(Fired(FollowRules(Facts("knowledge", 500)), "facts-change"));
  EXPECT_FALSE(Fired(FollowRules(Facts("style", 500)), "facts-change"));
}

TEST(Advice, LooksAtHowFarTheRowsAreFromGeneralText) {
  AdviceFacts f = Facts("knowledge", 500);
  f.loss_on_rows = 3.6;  // not measured yet
  EXPECT_FALSE(Fired(FollowRules(f), "far-from-general"));
  f.has_losses = true;
  f.loss_on_general = 3;
  EXPECT_TRUE(Fired(FollowRules(f), "far-from-general") && Fired(FollowRules(f), "much-is-new"));
  f.goal = "style";
  EXPECT_TRUE(Fired(FollowRules(f), "far-from-general") && !Fired(FollowRules(f), "much-is-new"));
  f.loss_on_rows = 2.9;
  EXPECT_FALSE(Fired(FollowRules(f), "far-from-general") || Fired(FollowRules(f), "known-already"));
  f.loss_on_rows = 1.9;
  EXPECT_TRUE(Fired(FollowRules(f), "known-already"));
}

TEST(Advice, RankGrowsWithWhatThereIsToLearn) {
  AdviceFacts f = Facts("code", 1000);
  EXPECT_EQ(FollowRules(f).choice.rank, 16);
  f.trained_tokens = 2 * 2500000 * 60;
  EXPECT_EQ(FollowRules(f).choice.rank, 64);
  f.trained_tokens = int64_t{1} << 40;
  EXPECT_EQ(FollowRules(f).choice.rank, 256);
  EXPECT_TRUE(Fired(FollowRules(f), "beyond-capacity"));
}

TEST(Advice, RatesFollowTheLengthOfTheRun) {
  EXPECT_EQ(FollowRules(Facts("style", 150)).choice.learning_rate, 3e-4);  // 57 updates
  EXPECT_EQ(FollowRules(Facts("style", 1500)).choice.learning_rate, 2e-4);
}

}  // namespace attune::advice_test
