// What is counted for a plan against what the trainer asks of a real device.
#include "train/counted_work.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "models/adapter_model.h"
#include "models/full_finetuning.h"
#include "train/trainer.h"

namespace attune::counted_work_test {

struct Case {
  const char* model = "llama";
  bool full = false;
  double dropout = 0;
  bool use_dora = false;
  const char* optim = "adamw_torch";
  bool checkpointing = false;
};

constexpr int64_t kRows = 3, kLength = 8;

Dataset EqualRows() {
  Example example;
  example.input_ids.assign(kLength, 5);
  example.labels = example.input_ids;
  Dataset data;
  data.examples.assign(kRows, example);
  data.files = {"rows"};
  return data;
}

// Kinds with the work of one update, and the calls of all of them.
void ExpectCountedAsRun(const Case& c) {
  const ModelFiles files = ModelFiles::Open(std::string(ATTUNE_TEST_DATA) + "/models/" + c.model);
  LoraConfig lora;
  lora.lora_dropout = c.dropout;
  lora.use_dora = c.use_dora;
  lora.target_modules = std::string("all-linear");
  const AdapterSpec adapter =
      c.full ? BuildFullSpec(files.spec(), {}, "test")
             : BuildAdapterSpec(files.spec(),
                                ResolveTargets(lora, DecoderModules(files.spec()), files.spec().model_type), "test");
  const auto trainables = AdapterTrainables(adapter);
  TrainingArguments arguments;
  arguments.output_dir = testing::TempDir();
  arguments.optim = c.optim;
  arguments.num_train_epochs = 1;
  arguments.per_device_train_batch_size = kRows;
  arguments.gradient_checkpointing = c.checkpointing;
  arguments.save_strategy = IntervalStrategy::kNo;
  const Dataset data = EqualRows();
  const BaseStorage storage(files, DType::kF32);
  const auto device = MakeCpuDevice({.threads = 1});
  const PlanInputs inputs{
      files.spec(), adapter, trainables, arguments, false, data.examples, nullptr, storage, device->scratch_bytes(), 0};
  const RunPlan plan = PlanRun(inputs);
  const ModelWeights weights(*device, files, adapter, storage);
  const TrainableVectors vectors(*device, trainables);
  if (c.full) InitializeFromFiles(*device, vectors, trainables, files);
  Decoder decoder(*device, files.spec(), weights, adapter, trainables, &vectors, plan.settings);
  TrainObserver silent;
  Trainer trainer({*device, decoder, vectors, trainables, arguments, plan, data, nullptr, nullptr, {}, {}, {}, {}, {}},
                  silent);
  Profile profile;
  device->SetProfile(&profile);
  trainer.Run();
  ASSERT_EQ(trainer.state().step, 1);

  WorkAmounts counted = TrainingWork(inputs, {kRows * kLength, kLength, kRows * (kLength - 1)});
  for (const auto& [kind, amount] : UpdateWork(inputs)) counted[kind] += amount;
  double calls = 0;
  for (const auto& [kind, cost] : profile.by_kind) {
    EXPECT_DOUBLE_EQ(counted[kind], cost.amount) << kind;
    EXPECT_GT(counted[kind], 0) << kind;
    calls += static_cast<double>(cost.calls);
  }
  EXPECT_EQ(counted[kBetweenOps], calls);
  EXPECT_EQ(counted.size(), profile.by_kind.size() + 1);
}

TEST(CountedWork, IsThatOfAnAdaptersUpdate) { ExpectCountedAsRun({.dropout = 0.1}); }
TEST(CountedWork, IsThatOfCheckpointing) { ExpectCountedAsRun({.dropout = 0.1, .checkpointing = true}); }
TEST(CountedWork, IsThatOfWeightDecomposition) {
  ExpectCountedAsRun({.model = "qwen3", .dropout = 0.1, .use_dora = true});
}
TEST(CountedWork, IsThatOfFullFinetuning) { ExpectCountedAsRun({.model = "qwen2", .full = true}); }
TEST(CountedWork, IsThatOfASlidingWindowAndAPagedOptimizer) {
  ExpectCountedAsRun({.model = "mistral", .full = true, .optim = "paged_adamw_32bit", .checkpointing = true});
}

// A plan of many batches goes by an average one.
TEST(CountedWork, IsLinearInTokensAndLabels) {
  const ModelFiles files = ModelFiles::Open(std::string(ATTUNE_TEST_DATA) + "/models/llama");
  const AdapterSpec adapter = BuildFullSpec(files.spec(), {}, "test");
  const auto trainables = AdapterTrainables(adapter);
  const TrainingArguments arguments;
  const BaseStorage storage(files, DType::kF32);
  const std::vector<Example> no_rows;
  const PlanInputs inputs{files.spec(), adapter, trainables, arguments, false, no_rows, nullptr, storage, 0, 0};
  const WorkAmounts one = TrainingWork(inputs, {256, 128, 100}), two = TrainingWork(inputs, {512, 128, 200});
  for (const char* kind : {"thin products", "attention", "attention backward", "cross-entropy"}) {
    ASSERT_TRUE(one.contains(kind)) << kind;
    EXPECT_DOUBLE_EQ(two.at(kind), 2 * one.at(kind)) << kind;
  }
  EXPECT_LT(EvaluationWork(inputs, {256, 128, 100}).at("attention"), 1.01 * one.at("attention"));
  EXPECT_FALSE(EvaluationWork(inputs, {256, 128, 100}).contains("attention backward"));
}

}  // namespace attune::counted_work_test
