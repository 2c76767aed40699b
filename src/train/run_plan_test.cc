#include "train/run_plan.h"

#include <gtest/gtest.h>

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
