// Optimisers over tensors large enough for states in 8 bits and for states in a file to come in several stretches: what
// the small models of the other tests never have.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "quant/adamw8bit.h"
#include "train/checkpoint.h"

namespace attune::optimizer_test {

using Kind = TrainableTensor::Kind;

// A matrix of more than one stretch, one too small for 8 bits, and an embedding; none leaves a gap in the vector.
std::vector<TrainableTensor> Tensors() {
  std::vector<TrainableTensor> tensors = {
      {"model.a.weight", "model.a", Kind::kFullWeight, 5, (1 << 20) + 112},
      {"model.b.weight", "model.b", Kind::kFullWeight, 3, 112},
      {"model.embed_tokens.weight", "model.embed_tokens", Kind::kEmbedding, 50, 112}};
  AssignTrainableOffsets(tensors);
  return tensors;
}

struct Bench {
  std::string folder = testing::TempDir() + "/optimizer_test";
  std::vector<TrainableTensor> tensors = Tensors();
  std::unique_ptr<Device> device = MakeCpuDevice({.threads = 2});
  TrainableVectors vectors{*device, tensors};
  TrainingArguments arguments;

  explicit Bench(const char* optim) {
    std::filesystem::create_directories(folder);
    arguments.output_dir = folder;
    arguments.optim = optim;
    arguments.weight_decay = 0.1;
    Upload(vectors.value(), 1);
  }
  void Upload(const Matrix& m, int64_t seed) const {
    std::vector<float> values(static_cast<size_t>(m.cols));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>((i * 37 + 101 * static_cast<size_t>(seed)) % 1009) / 1009 - 0.5f;
    device->Upload(m.data, values.data(), m.cols * 4);
  }
  void Steps(Optimizer& optimizer, int64_t first, int64_t last) const {
    for (int64_t step = first; step <= last; ++step) {
      Upload(vectors.gradient(), step + 5);
      optimizer.Step(1e-2, 0.5f, step);
    }
  }
  std::vector<float> Weights() const {
    std::vector<float> values(static_cast<size_t>(vectors.elements()));
    device->Download(values.data(), vectors.value().data, vectors.elements() * 4);
    return values;
  }
};

std::vector<float> After(const char* optim, int64_t steps) {
  const Bench bench(optim);
  Optimizer optimizer(*bench.device, bench.vectors, bench.tensors, bench.arguments);
  bench.Steps(optimizer, 1, steps);
  return bench.Weights();
}

TEST(Optimizer, PagedStatesGiveTheSameBits) {
  EXPECT_EQ(After("paged_adamw_32bit", 3), After("adamw_torch", 3));
  EXPECT_EQ(After("paged_adamw_8bit", 3), After("adamw_bnb_8bit", 3));
  EXPECT_EQ(After("paged_lion_32bit", 3), After("lion_32bit", 3));
}

TEST(Optimizer, EightBitStatesOfWhatIsLargeEnough) {
  const Bench bench("adamw_bnb_8bit");
  const std::vector<float> before = bench.Weights();
  Optimizer optimizer(*bench.device, bench.vectors, bench.tensors, bench.arguments);
  ASSERT_EQ(optimizer.states().size(), 8u);  // codes and scales of the first, f32 of the others
  for (const OptimizerState& state : optimizer.states()) {
    const bool codes = state.name == "exp_avg.model.a.weight" || state.name == "exp_avg_sq.model.a.weight";
    EXPECT_EQ(state.values.dtype, codes ? DType::kU8 : DType::kF32) << state.name;
  }
  bench.Steps(optimizer, 1, 2);

  const int64_t elements = bench.tensors[0].rows * bench.tensors[0].cols;
  AdamW8bitState state(elements);
  std::vector<float> expected(before.begin(), before.begin() + elements), gradient(static_cast<size_t>(elements));
  AdamW8bitSettings settings;
  settings.learning_rate = 1e-2;
  settings.weight_decay = 0.1;
  settings.gradient_scale = 0.5f;
  for (int64_t step = 1; step <= 2; ++step) {
    bench.Upload(bench.vectors.gradient(), step + 5);
    bench.device->Download(gradient.data(), bench.vectors.gradient().data, elements * 4);
    StepAdamW8bit(settings, step, {expected, gradient, state.m, state.v, state.absmax_m, state.absmax_v});
  }
  const std::vector<float> weights = bench.Weights();
  EXPECT_EQ(std::memcmp(weights.data(), expected.data(), static_cast<size_t>(elements) * 4), 0);
}

// A checkpoint brings codes, scales and paged states back: the next updates have the same bits.
TEST(Optimizer, GoesOnFromACheckpoint) {
  for (const char* optim : {"adamw_bnb_8bit", "paged_adamw_8bit", "paged_adamw_32bit"}) {
    const Bench bench(optim);
    const std::string folder = bench.folder + "/checkpoint";
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    Optimizer optimizer(*bench.device, bench.vectors, bench.tensors, bench.arguments);
    bench.Steps(optimizer, 1, 2);
    const std::vector<float> between = bench.Weights();
    const TrainerState state;
    const RunPlan plan;
    const nlohmann::ordered_json fingerprint;
    const SaveModel save_nothing = [](const std::string&) {};
    WriteCheckpoint(folder, {*bench.device, optimizer, state, bench.arguments, plan, fingerprint, save_nothing});
    bench.Steps(optimizer, 3, 4);
    const std::vector<float> expected = bench.Weights();

    Optimizer second(*bench.device, bench.vectors, bench.tensors, bench.arguments);
    bench.device->Upload(bench.vectors.value().data, between.data(), bench.vectors.elements() * 4);
    LoadOptimizer(*bench.device, second, folder);
    bench.Steps(second, 3, 4);
    EXPECT_EQ(bench.Weights(), expected) << optim;
  }
}

TEST(Optimizer, PagedStatesTakeLittleMemory) {
  const Bench bench("paged_adamw_32bit");
  const Optimizer::Bytes bytes = Optimizer::PlannedBytes(bench.tensors, bench.arguments);
  EXPECT_EQ(bytes.memory, int64_t{32} << 20);
  EXPECT_EQ(bytes.file, 2 * AlignedBytes(bench.vectors.elements() * 4));
  for (const auto& entry : std::filesystem::directory_iterator(bench.folder)) {
    EXPECT_EQ(entry.path().filename().string().find(".scratch"), std::string::npos) << "left behind";
  }
}

}  // namespace attune::optimizer_test
