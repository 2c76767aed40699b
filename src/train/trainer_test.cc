// The whole step loop against transformers' Trainer and torch's AdamW: twenty updates of the fixture, in losses,
// gradient norms, learning rates and final weights.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "models/adapter_model.h"
#include "models/full_finetuning.h"
#include "train/checkpoint_store.h"

namespace attune::trainer_test {

const std::string kData = ATTUNE_TEST_DATA;

Dataset ReadBatches() {
  const SafetensorsFile file(kData + "/train/batches.safetensors");
  const auto ints = [&](const char* name) { return reinterpret_cast<const int32_t*>(file.Find(name)->bytes.data()); };
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
  data.files = {"batches"};
  return data;
}

class Recorder : public TrainObserver {
 public:
  void OnStep(const StepMetrics& metrics) override { steps.push_back(metrics); }
  void OnNote(const std::string& line) override { notes.push_back(line); }
  std::vector<StepMetrics> steps;
  std::vector<std::string> notes;
};

LoraConfig FixtureLora() {
  LoraConfig lora;
  lora.r = 8;
  lora.lora_alpha = 16;
  lora.target_modules =
      std::vector<std::string>{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  lora.base_model_name_or_path = "llama";
  return lora;
}

// The fixture's settings, and what a test changes of them.
struct TestRun {
  std::string output_dir;
  std::string run = "lora";  // of the fixture: lora, full, full_tied
  bool guarded = false;
  double dropout = 0;
  int threads = 2;
  int64_t stop_after = 0;  // asks the trainer to stop after so many updates
  bool resume = false;     // goes on from the newest checkpoint in output_dir
  float spoil = 0;         // put into the first weight before the start
  Dataset data = ReadBatches();
  TrainingArguments arguments;

  explicit TestRun(std::string output) : output_dir(std::move(output)) {
    arguments.num_train_epochs = 4;
    arguments.per_device_train_batch_size = 2;
    arguments.gradient_accumulation_steps = 4;
    arguments.lr_scheduler_type = "cosine";
    arguments.warmup_ratio = 0.1;
    arguments.weight_decay = 0.01;
    arguments.tokens_in_flight = 64;
    arguments.save_steps = 10;
    arguments.save_total_limit = 1;
  }
};

struct Outcome {
  Recorder recorder;
  std::vector<float> weights;
  std::vector<std::vector<float>> optimizer;
  RunPlan plan;
  TrainerState state;
  std::string error;
};

std::vector<float> Values(Device& device, const Matrix& m) {
  std::vector<float> values(static_cast<size_t>(m.rows * m.cols));
  device.Download(values.data(), m.data, m.rows * m.cols * 4);
  return values;
}

Outcome Train(TestRun setup) {
  const nlohmann::json fixture = ParseJsonFile(kData + "/train/trajectories.json");
  const nlohmann::json settings = fixture["runs"][setup.run];
  const bool is_lora = setup.run == "lora";
  const ModelFiles files =
      ModelFiles::Open(kData + (setup.run == "full_tied" ? "/models/llama_tied_bias" : "/models/llama"));
  const auto device = MakeCpuDevice({.threads = setup.threads, .guarded = setup.guarded});
  LoraConfig lora = FixtureLora();
  lora.lora_dropout = setup.dropout;
  const AdapterSpec adapter =
      is_lora ? BuildAdapterSpec(files.spec(), lora, "test") : BuildFullSpec(files.spec(), {}, "test");
  const BaseStorage storage(files, DType::kF32);
  const ModelWeights weights(*device, files, adapter, storage);
  const auto trainables = AdapterTrainables(adapter);
  const TrainableVectors vectors(*device, trainables);
  if (is_lora) {
    LoadTrainedFile(*device, vectors.value(), trainables,
                    OpenTrainedFile(trainables, kData + "/train/lora_initial.safetensors"));
  } else {
    InitializeFromFiles(*device, vectors, trainables, files);
  }
  if (setup.spoil != 0) device->Upload(vectors.value().data, &setup.spoil, 4);
  TrainingArguments& arguments = setup.arguments;
  arguments.output_dir = setup.output_dir;
  arguments.learning_rate = settings["learning_rate"].get<double>();
  Outcome run;
  run.plan = PlanRun({files.spec(), adapter, trainables, arguments, false, setup.data.examples, nullptr, storage,
                      device->scratch_bytes(), 0});
  Decoder decoder(*device, files.spec(), weights, adapter, trainables, &vectors, run.plan.settings);
  const std::string file = is_lora ? "/adapter_model.safetensors" : "/model.safetensors";
  Trainer::Inputs inputs{*device, decoder, vectors, trainables, arguments, run.plan, setup.data, nullptr,
                         nullptr, {},      {},      {},         {},        {},       {}};
  inputs.save_model = [&](const std::string& folder) {
    if (is_lora) {
      SaveAdapter(*device, vectors, trainables, lora, nullptr, folder);
    } else {
      SaveFullModel(*device, vectors, trainables, files, folder);
    }
  };
  inputs.load_model = [&](const std::string& folder) {
    LoadTrainedFile(*device, vectors.value(), trainables, OpenTrainedFile(trainables, folder + file));
  };
  Recorder& recorder = run.recorder;
  inputs.stop_requested = [&] {
    return setup.stop_after > 0 && static_cast<int64_t>(recorder.steps.size()) >= setup.stop_after;
  };
  Trainer trainer(inputs, recorder);
  if (setup.resume) trainer.Resume(ReadCheckpoint(FindNewest(setup.output_dir).found.value().path));
  try {
    trainer.Run();
  } catch (const Error& error) {
    run.error = error.what();
  }
  run.weights = Values(*device, vectors.value());
  for (const OptimizerState& state : trainer.optimizer().states())
    run.optimizer.push_back(Values(*device, state.values));
  run.state = trainer.state();
  return run;
}

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/trainer-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/out");
    std::filesystem::create_directories(folder_ + "/other");
  }
  TestRun Fresh(const char* out = "/out") const { return TestRun(folder_ + out); }
  std::string folder_;
};

void ExpectTrajectory(const Outcome& run, const std::string& name) {
  const auto expected = ParseJsonFile(kData + "/train/trajectories.json")["runs"][name]["trajectory"];
  ASSERT_EQ(run.recorder.steps.size(), expected.size()) << run.error;
  for (size_t i = 0; i < expected.size(); ++i) {
    const StepMetrics& got = run.recorder.steps[i];
    const double loss = expected[i]["loss"].get<double>(), norm = expected[i]["grad_norm"].get<double>();
    EXPECT_NEAR(got.loss, loss, 1e-5 * loss) << "step " << i + 1;
    EXPECT_NEAR(got.grad_norm, norm, 1e-4 * norm) << "step " << i + 1;
    EXPECT_NEAR(got.learning_rate, expected[i]["learning_rate"].get<double>(), 1e-12) << "step " << i + 1;
  }
}

void ExpectSameTensors(const std::string& got_path, const std::string& want_path) {
  const SafetensorsFile saved(got_path), final(want_path);
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

TEST_F(TrainerTest, FollowsTheTrajectoryOfTransformers) {
  const Outcome run = Train(Fresh());
  ExpectTrajectory(run, "lora");
  // The last checkpoint, the only one kept, holds the weights that transformers ended with.
  EXPECT_FALSE(DirectoryExists(folder_ + "/out/checkpoint-10"));
  ExpectSameTensors(folder_ + "/out/checkpoint-20/adapter_model.safetensors", kData + "/train/lora_final.safetensors");
}

TEST_F(TrainerTest, FullFineTuningFollowsTheTrajectoryOfTransformers) {
  for (const char* name : {"full", "full_tied"}) {
    TestRun setup = Fresh();
    setup.run = name;
    std::filesystem::remove_all(setup.output_dir);
    std::filesystem::create_directories(setup.output_dir);
    const Outcome run = Train(setup);
    ExpectTrajectory(run, name);
    ExpectSameTensors(folder_ + "/out/checkpoint-20/model.safetensors",
                      kData + "/train/" + name + "_final.safetensors");
    // What was saved is a model: it opens, and its configuration says f32.
    EXPECT_EQ(ModelFiles::Open(folder_ + "/out/checkpoint-20").spec().torch_dtype, "float32");
  }
}

TEST_F(TrainerTest, RunsOnAGuardedDeviceWithDropout) {
  TestRun setup = Fresh();
  setup.dropout = 0.1;
  setup.arguments.max_steps = 2;
  TestRun guarded = setup;
  guarded.guarded = true;
  guarded.output_dir = folder_ + "/other";
  EXPECT_EQ(Train(setup).weights, Train(guarded).weights);
}

// How the rows of an update share a batch is a matter of memory and speed, dropout and noise included.
TEST_F(TrainerTest, DoesNotDependOnHowRowsRunTogether) {
  TestRun setup = Fresh();
  setup.dropout = 0.1;
  setup.arguments.neftune_noise_alpha = 5;
  setup.arguments.max_steps = 4;
  setup.arguments.tokens_in_flight = 1;
  const Outcome one = Train(setup);
  setup.arguments.tokens_in_flight = 4096;
  setup.output_dir = folder_ + "/other";
  const Outcome all = Train(setup);
  EXPECT_LT(one.plan.settings.max_tokens, all.plan.settings.max_tokens);
  for (size_t i = 0; i < one.weights.size(); ++i) ASSERT_NEAR(one.weights[i], all.weights[i], 2e-5);
  for (size_t i = 0; i < one.recorder.steps.size(); ++i) {
    EXPECT_NEAR(one.recorder.steps[i].loss, all.recorder.steps[i].loss, 1e-5);
  }
}

// batch 8 x accumulation 1 = 4 x 2 = 1 x 8, up to rounding.
TEST_F(TrainerTest, BatchAndAccumulationAreOneThing) {
  std::vector<Outcome> runs;
  for (const auto& [batch, accumulation] : {std::pair{8, 1}, std::pair{4, 2}, std::pair{1, 8}}) {
    TestRun setup = Fresh();
    setup.arguments.per_device_train_batch_size = batch;
    setup.arguments.gradient_accumulation_steps = accumulation;
    setup.arguments.max_steps = 5;
    setup.arguments.save_strategy = IntervalStrategy::kNo;
    runs.push_back(Train(setup));
  }
  for (const Outcome& run : runs) {
    for (size_t i = 0; i < run.weights.size(); ++i) ASSERT_NEAR(run.weights[i], runs[0].weights[i], 1e-5);
  }
}

TEST_F(TrainerTest, TheSameRunGivesTheSameBitsWithAnyNumberOfThreads) {
  TestRun setup = Fresh();
  setup.dropout = 0.1;
  setup.arguments.max_steps = 3;
  setup.arguments.save_strategy = IntervalStrategy::kNo;
  const Outcome a = Train(setup);
  setup.threads = 1;
  EXPECT_EQ(a.weights, Train(setup).weights);
  setup.threads = 3;
  EXPECT_EQ(a.weights, Train(setup).weights);
}

// Stopped in the middle of an epoch and resumed, a run ends with the bits of one that was never stopped.
TEST_F(TrainerTest, ResumesToTheSameBitsWithEveryOptimizer) {
  for (const char* optim :
       {"adamw_torch", "sgd", "adafactor", "lion_32bit", "paged_adamw_32bit", "sgd with momentum"}) {
    for (const char* name : {"lora", "full_tied"}) {
      for (const char* out : {"/out", "/other"}) {
        std::filesystem::remove_all(folder_ + out);
        std::filesystem::create_directories(folder_ + out);
      }
      TestRun straight = Fresh();
      straight.run = name;
      straight.dropout = std::string(name) == "lora" ? 0.1 : 0;
      straight.arguments.optim = std::string(optim).starts_with("sgd") ? "sgd" : optim;
      if (straight.arguments.optim != optim) straight.arguments.sgd = {.momentum = 0.9, .nesterov = true};
      straight.arguments.max_steps = 9;
      straight.arguments.logging_steps = 4;
      straight.arguments.neftune_noise_alpha = 5;
      straight.arguments.loraplus_lr_ratio = 4;
      TestRun stopped = straight;
      stopped.output_dir = folder_ + "/other";
      stopped.stop_after = 7;
      TestRun resumed = stopped;
      resumed.stop_after = 0;
      resumed.resume = true;
      const Outcome whole = Train(straight), first = Train(stopped), second = Train(resumed);
      EXPECT_NE(first.error.find("attune resume " + stopped.output_dir), std::string::npos) << first.error;
      ASSERT_EQ(second.recorder.steps.size(), 2u);
      EXPECT_EQ(second.recorder.steps[0].step, 8);
      EXPECT_EQ(second.recorder.steps[1].loss, whole.recorder.steps[8].loss);
      EXPECT_EQ(second.recorder.steps[1].grad_norm, whole.recorder.steps[8].grad_norm);
      EXPECT_EQ(second.recorder.steps[1].learning_rate, whole.recorder.steps[8].learning_rate);
      EXPECT_EQ(second.weights, whole.weights) << optim << " " << name;
      EXPECT_EQ(second.optimizer, whole.optimizer) << optim << " " << name;
      EXPECT_EQ(second.state.loss_sum, whole.state.loss_sum);
      ASSERT_EQ(second.state.history.size(), whole.state.history.size());
      for (size_t i = 0; i < whole.state.history.size(); ++i) {
        EXPECT_EQ(second.state.history[i]["loss"], whole.state.history[i]["loss"]);
      }
    }
  }
}

TEST_F(TrainerTest, ANumberOutOfRangeStopsBeforeTheOptimiser) {
  TestRun setup = Fresh();
  setup.spoil = INFINITY;  // A of layer 0's q_proj
  const Outcome run = Train(setup);
  EXPECT_NE(run.error.find("step 1: the loss is not finite, first seen in the output of model.layers.0.self_attn"),
            std::string::npos)
      << run.error;
  EXPECT_NE(run.error.find("nothing was updated"), std::string::npos) << run.error;
  for (const std::vector<float>& state : run.optimizer) {
    for (const float value : state) ASSERT_EQ(value, 0.0f);
  }
}

TEST_F(TrainerTest, SkipsAsManyUpdatesAsItMay) {
  TestRun setup = Fresh();
  setup.spoil = INFINITY;
  setup.arguments.skip_nonfinite = 2;
  const Outcome run = Train(setup);
  EXPECT_EQ(run.recorder.steps.size(), 2u);
  EXPECT_EQ(run.recorder.notes.size(), 2u);
  EXPECT_NE(run.error.find("step 3:"), std::string::npos) << run.error;
}

TEST_F(TrainerTest, AnAdapterOfAnotherBaseIsRefusedByItsFirstKey) {
  const ModelFiles files = ModelFiles::Open(kData + "/models/llama3");
  const auto trainables = AdapterTrainables(BuildAdapterSpec(files.spec(), FixtureLora(), "test"));
  try {
    OpenTrainedFile(trainables, kData + "/train/lora_initial.safetensors");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_NE(std::string(error.what()).find("q_proj.lora_A.weight"), std::string::npos) << error.what();
  }
}

}  // namespace attune::trainer_test
