#include "train/run_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "models/adapter_model.h"
#include "models/decoder.h"
#include "models/model_shapes.h"

namespace attune::run_plan_test {

std::vector<Example> Rows(int64_t count, int64_t tokens) {
  Example example;
  example.input_ids.assign(static_cast<size_t>(tokens), 1);
  example.labels = example.input_ids;
  return std::vector<Example>(static_cast<size_t>(count), example);
}

class RunPlanTest : public testing::Test {
 protected:
  RunPlanTest() : spec_(ModelSpec::FromConfig(nlohmann::json(ModelShapeConfig("smollm2-135m")), "smollm2-135m")) {
    LoraConfig lora;
    lora.target_modules = std::string("all-linear");
    adapter_ = BuildAdapterSpec(spec_, ResolveTargets(lora, DecoderModules(spec_), "llama"), "lora");
    trainables_ = AdapterTrainables(adapter_);
    arguments_.tokens_in_flight = 2048;
  }
  PlanInputs Inputs(const std::vector<Example>& rows) const {
    return {spec_, adapter_, trainables_, arguments_, true, rows, nullptr, storage_, 1 << 20, 1 << 20};
  }

  ModelSpec spec_;
  BaseStorage storage_{DType::kF32};
  AdapterSpec adapter_;
  std::vector<TrainableTensor> trainables_;
  TrainingArguments arguments_;
};

TEST_F(RunPlanTest, TheTableAddsUpToThePeak) {
  const std::vector<Example> rows = Rows(16, 256);
  const RunPlan plan = PlanRun(Inputs(rows));
  EXPECT_EQ(plan.settings.max_tokens, 2048);
  EXPECT_EQ(plan.planned_bytes, TotalBytes(plan.memory));
  EXPECT_EQ(TotalBytes(MemoryTable(Inputs(rows), plan.settings)), plan.planned_bytes);
  ASSERT_EQ(plan.memory.size(), 8u);
  EXPECT_EQ(plan.memory[0].name, "base weights");
  EXPECT_EQ(plan.memory[3].bytes, 2 * plan.memory[2].bytes);  // two moments, as large as the gradients
}

// Nobody waits for a plan that walks a thousand million updates: it takes what no update can exceed.
TEST_F(RunPlanTest, ARunWithoutEndIsPlannedByWhatNoUpdateExceeds) {
  std::vector<Example> rows;
  for (int64_t i = 0; i < 40; ++i) {
    rows.push_back(Rows(1, 5 + i * i % 97 * 3).front());
    for (int64_t t = 0; t < i % 5; ++t) rows.back().labels[static_cast<size_t>(t)] = -100;
  }
  arguments_.gradient_accumulation_steps = 2;
  for (const int64_t in_flight : {64, 600, 100000}) {
    arguments_.tokens_in_flight = in_flight;
    arguments_.max_steps = 1'000'000'000;
    const RunPlan endless = PlanRun(Inputs(rows));
    for (const int64_t steps : {1, 10, 300}) {
      arguments_.max_steps = steps;
      const RunPlan plan = PlanRun(Inputs(rows));
      EXPECT_LE(plan.settings.max_tokens, endless.settings.max_tokens);
      EXPECT_LE(plan.settings.max_sequences, endless.settings.max_sequences);
      EXPECT_LE(plan.settings.max_length, endless.settings.max_length);
      EXPECT_LE(plan.settings.max_labelled, endless.settings.max_labelled);
    }
    EXPECT_LE(endless.settings.max_tokens, std::max<int64_t>(in_flight, 5 + 96 * 3));
  }
}

TEST_F(RunPlanTest, NamesTheCheapestSettingThatFits) {
  const std::vector<Example> rows = Rows(16, 256);
  const int64_t needed = PlanRun(Inputs(rows)).planned_bytes;
  EXPECT_EQ(SettingThatFits(Inputs(rows), needed), "tokens_in_flight: 2048");
  EXPECT_EQ(SettingThatFits(Inputs(rows), needed - 1), "tokens_in_flight: 1024");

  arguments_.tokens_in_flight = 256;
  const int64_t least = PlanRun(Inputs(rows)).planned_bytes;
  arguments_.tokens_in_flight = 2048;
  EXPECT_EQ(SettingThatFits(Inputs(rows), least), "tokens_in_flight: 256");
  EXPECT_NE(SettingThatFits(Inputs(rows), least - 1).find("gradient_checkpointing: true"), std::string::npos);
  EXPECT_EQ(SettingThatFits(Inputs(rows), 100 << 20), "");  // less than the weights
}

}  // namespace attune::run_plan_test
