// The whole step loop against transformers' Trainer and torch's AdamW: twenty updates of the fixture, in losses, gradient
// norms, learning rates and final weights.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "formats/safetensors.h"

namespace attune {
namespace {

const std::string kData = ATTUNE_TEST_DATA;

Dataset ReadBatches() {
  const SafetensorsFile file(kData + "/train/batches.safetensors");
  const auto ints = [&](const char* name) {
    return reinterpret_cast<const int32_t*>(file.Find(name)->bytes.data());
  };
  const int32_t *ids = ints("input_ids"), *mask = ints("attention_mask"), *labels = ints("labels");
  const auto& shape = file.Find("input_ids")->shape;
  Dataset data;
  for (int64_t row = 0; row < shape[0] * shape[1]; ++row) {
    Example example;
    for (int64_t t = row * shape[2]; t < (row + 1) * shape[2]; ++t) {
      if (mask[t] == 0) continue;
      example.input_ids.push_back(ids[t]);
      example.labels.push_back(labels[t]);
    }
    data.examples.push_back(example);
  }
  return data;
}

class Recorder : public TrainObserver {
 public:
  void OnStep(const StepMetrics& metrics) override { steps.push_back(metrics); }
  std::vector<StepMetrics> steps;
};

LoraConfig FixtureLora() {
  LoraConfig lora;
  lora.r = 8;
  lora.lora_alpha = 16;
  lora.target_modules = std::vector<std::string>{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  lora.base_model_name_or_path = "llama";
  return lora;
}

struct Outcome {
  Recorder recorder;
  std::vector<float> weights;
  RunPlan plan;
};

// Runs the fixture's settings with the given differences.
Outcome Train(const std::string& output_dir, int64_t tokens_in_flight, bool guarded, double dropout, int64_t max_steps,
          const std::string& initial) {
  const nlohmann::json settings = ParseJsonFile(kData + "/train/trajectories.json");
  const ModelFiles files = ModelFiles::Open(kData + "/models/llama");
  const auto device = MakeCpuDevice({.threads = 2, .guarded = guarded});
  const ModelWeights weights(*device, files, DType::kF32);
  LoraConfig lora = FixtureLora();
  lora.lora_dropout = dropout;
  const AdapterSpec adapter = BuildAdapterSpec(files.spec(), lora, "test");
  const auto trainables = AdapterTrainables(adapter);
  const TrainableVectors vectors(*device, trainables);
  LoadTrained(*device, vectors, trainables, ReadTrainedValues(trainables, initial));
  TrainingArguments arguments;
  arguments.output_dir = output_dir;
  arguments.num_train_epochs = 4;
  arguments.max_steps = max_steps;
  arguments.per_device_train_batch_size = 2;
  arguments.gradient_accumulation_steps = 4;
  arguments.learning_rate = settings["runs"]["lora"]["learning_rate"].get<double>();
  arguments.lr_scheduler_type = "cosine";
  arguments.warmup_ratio = 0.1;
  arguments.weight_decay = settings["weight_decay"].get<double>();
  arguments.tokens_in_flight = tokens_in_flight;
  arguments.save_steps = 10;
  arguments.save_total_limit = 1;
  const Dataset data = ReadBatches();
  Outcome run;
  run.plan = PlanRun(files.spec(), adapter, trainables, arguments, false, data, nullptr, DType::kF32,
                     device->scratch_bytes(), 0);
  Decoder decoder(*device, files.spec(), weights, adapter, trainables, &vectors, run.plan.settings);
  Trainer trainer({*device, decoder, vectors, trainables, lora, arguments, run.plan, data, nullptr}, run.recorder);
  trainer.Run();
  run.weights.resize(static_cast<size_t>(vectors.elements()));
  device->Download(run.weights.data(), vectors.value().data, vectors.elements() * 4);
  return run;
}

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/trainer-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/initial");
    std::filesystem::create_directories(folder_ + "/out");
    std::filesystem::copy_file(kData + "/train/lora_initial.safetensors", folder_ + "/initial/adapter_model.safetensors");
  }
  std::string folder_;
};

TEST_F(TrainerTest, FollowsTheTrajectoryOfTransformers) {
  const Outcome run = Train(folder_ + "/out", 64, false, 0, -1, folder_ + "/initial");
  const auto expected = ParseJsonFile(kData + "/train/trajectories.json")["runs"]["lora"]["trajectory"];
  ASSERT_EQ(run.recorder.steps.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const StepMetrics& got = run.recorder.steps[i];
    const double loss = expected[i]["loss"].get<double>(), norm = expected[i]["grad_norm"].get<double>();
    EXPECT_NEAR(got.loss, loss, 1e-5 * loss) << "step " << i + 1;
    EXPECT_NEAR(got.grad_norm, norm, 1e-4 * norm) << "step " << i + 1;
    EXPECT_NEAR(got.learning_rate, expected[i]["learning_rate"].get<double>(), 1e-9) << "step " << i + 1;
  }
  // The last checkpoint, the only one kept, holds the weights that transformers ended with.
  EXPECT_FALSE(DirectoryExists(folder_ + "/out/checkpoint-10"));
  const SafetensorsFile saved(folder_ + "/out/checkpoint-20/adapter_model.safetensors");
  const SafetensorsFile final(kData + "/train/lora_final.safetensors");
  ASSERT_EQ(saved.tensors().size(), final.tensors().size());
  for (const TensorView& want : final.tensors()) {
    const TensorView* got = saved.Find(want.name);
    ASSERT_NE(got, nullptr) << want.name;
    ASSERT_EQ(got->shape, want.shape);
    const auto* a = reinterpret_cast<const float*>(got->bytes.data());
    const auto* b = reinterpret_cast<const float*>(want.bytes.data());
    for (size_t i = 0; i < want.bytes.size() / 4; ++i) ASSERT_NEAR(a[i], b[i], 5e-4) << want.name;
  }
}

TEST_F(TrainerTest, RunsOnAGuardedDeviceWithDropout) {
  const Outcome plain = Train(folder_ + "/out", 64, false, 0.1, 2, folder_ + "/initial");
  const Outcome guarded = Train(folder_ + "/out", 64, true, 0.1, 2, folder_ + "/initial");
  EXPECT_EQ(plain.weights, guarded.weights);
}

// How the rows of an update share a batch is a matter of memory and speed, dropout included.
TEST_F(TrainerTest, DoesNotDependOnHowRowsRunTogether) {
  const Outcome one = Train(folder_ + "/out", 1, false, 0.1, 4, folder_ + "/initial");
  const Outcome all = Train(folder_ + "/out", 4096, false, 0.1, 4, folder_ + "/initial");
  EXPECT_LT(one.plan.settings.max_tokens, all.plan.settings.max_tokens);
  for (size_t i = 0; i < one.weights.size(); ++i) ASSERT_NEAR(one.weights[i], all.weights[i], 2e-5);
  for (size_t i = 0; i < one.recorder.steps.size(); ++i) {
    EXPECT_NEAR(one.recorder.steps[i].loss, all.recorder.steps[i].loss, 1e-5);
  }
}

TEST_F(TrainerTest, TheSameRunGivesTheSameBits) {
  const Outcome a = Train(folder_ + "/out", 64, false, 0.1, 3, folder_ + "/initial");
  const Outcome b = Train(folder_ + "/out", 64, false, 0.1, 3, folder_ + "/initial");
  EXPECT_EQ(a.weights, b.weights);
}

TEST_F(TrainerTest, AnAdapterOfAnotherBaseIsRefusedByItsFirstKey) {
  const ModelFiles files = ModelFiles::Open(kData + "/models/llama3");
  const auto trainables = AdapterTrainables(BuildAdapterSpec(files.spec(), FixtureLora(), "test"));
  try {
    ReadTrainedValues(trainables, folder_ + "/initial");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_NE(std::string(error.what()).find("q_proj.lora_A.weight"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace attune
