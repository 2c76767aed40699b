// Adapters taken out of the base: training starts from the model as it was, and what is saved, on the untouched base,
// is the model that was trained.
#include "models/initial_adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "formats/json.h"
#include "models/adapter_model.h"
#include "models/decoder.h"
#include "models/quantized_layers.h"

namespace attune::initial_adapter_test {

const std::string kData = ATTUNE_TEST_DATA;
const std::string kModel = kData + "/models/llama";

// A model with everything it stands on.
struct Engine {
  explicit Engine(const LoraConfig& config) : files(ModelFiles::Open(kModel)), device(MakeCpuDevice({.threads = 2})) {
    spec = BuildAdapterSpec(files.spec(), config, "test");
    weights.emplace(*device, files, spec, BaseStorage(DType::kF32));
    tensors = AdapterTrainables(spec);
    vectors.emplace(*device, tensors);
    InitializeTrained(*device, *vectors, tensors, config, spec.tokens, files, 3);
  }

  // The base again, quantised while it is read.
  void Quantize(const BnbConfig& config) {
    weights.emplace(*device, files, spec, BaseStorage(files, DType::kF32, {.is_qlora = true, .quantization = config}));
  }

  void MakeDecoder() {
    DecoderSettings settings;
    settings.policy = KeepPolicy::kNothing;
    settings.max_tokens = settings.max_length = settings.max_labelled = 30;
    settings.max_sequences = 1;
    decoder.emplace(*device, files.spec(), *weights, spec, tensors, &*vectors, settings);
  }

  std::vector<float> Logits() {
    std::vector<int32_t> ids;
    for (int t = 0; t < 30; ++t) ids.push_back((t * 37 + 11) % 250);
    PackedBatch batch;
    batch.Append(ids, ids);
    std::vector<float> logits;
    decoder->Logits(
        batch, [&](int64_t, std::span<const float> piece) { logits.insert(logits.end(), piece.begin(), piece.end()); });
    return logits;
  }

  std::vector<float> Download(const Matrix& m) {
    std::vector<float> values(static_cast<size_t>(m.rows * m.cols));
    device->Download(values.data(), m.data, std::ssize(values) * 4);
    return values;
  }

  // Every value of a weight as it is held, whatever its format.
  std::vector<float> Decode(const std::string& name) {
    const Matrix held = weights->Find(name);
    std::vector<int32_t> ids(static_cast<size_t>(held.rows));
    std::iota(ids.begin(), ids.end(), 0);
    const Matrix rows = DenseMatrix(device->Allocate(held.rows * 4, "test"), DType::kI32, 1, held.rows);
    const Matrix out =
        DenseMatrix(device->Allocate(held.rows * held.cols * 4, "test"), DType::kF32, held.rows, held.cols);
    device->Upload(rows.data, ids.data(), held.rows * 4);
    device->Run(Embedding{out, held, rows});
    return Download(out);
  }

  // A step of some training: every value moves.
  void Move() {
    std::vector<float> values = Download(vectors->value());
    for (size_t i = 0; i < values.size(); ++i) values[i] += 0.05f * std::sin(static_cast<float>(i));
    device->Upload(vectors->value().data, values.data(), std::ssize(values) * 4);
    decoder->RefreshTrained();
  }

  ModelFiles files;
  std::unique_ptr<Device> device;
  AdapterSpec spec;
  std::optional<ModelWeights> weights;
  std::vector<TrainableTensor> tensors;
  std::optional<TrainableVectors> vectors;
  std::optional<Decoder> decoder;
};

void ExpectNear(const std::vector<float>& a, const std::vector<float>& b, float tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance * (1 + std::fabs(b[i]))) << i;
}

LoraConfig ConfigOf(const std::string& text) {
  LoraConfig config;
  const auto settings = nlohmann::ordered_json::parse(text);
  for (const auto& [key, value] : settings.items()) config.SetField(key, value, "test");
  config.task_type = "CAUSAL_LM";
  return config;
}

std::vector<float> BaseLogits() {
  Engine base(ConfigOf("{}"));  // B is zero
  base.MakeDecoder();
  return base.Logits();
}

// Of the engine's logits from those of the base as it is.
double SquareDistance(Engine& engine) {
  engine.MakeDecoder();
  const std::vector<float> logits = engine.Logits(), base = BaseLogits();
  double sum = 0;
  for (size_t i = 0; i < base.size(); ++i) sum += std::pow(logits[i] - base[i], 2);
  return sum;
}

class Decomposed : public testing::TestWithParam<const char*> {};

TEST_P(Decomposed, StartsFromTheModelAndIsSavedForTheUntouchedBase) {
  const LoraConfig config = ConfigOf(GetParam());
  Engine trained(config);
  const InitialAdapter initial = InitialAdapter::FromWeights(trained.files, trained.spec, config, 3, 2);
  initial.SubtractFrom(*trained.device, *trained.weights, trained.files, trained.spec);
  initial.Upload(*trained.device, *trained.vectors, trained.tensors);
  trained.MakeDecoder();
  trained.decoder->InitializeMagnitudes();
  ExpectNear(trained.Logits(), BaseLogits(), 2e-4f);
  trained.Move();

  const std::string folder = std::filesystem::temp_directory_path() / ("attune_initial_" + std::to_string(::getpid()));
  SaveAdapter(*trained.device, *trained.vectors, trained.tensors, config, &initial, folder);
  const AdapterFolder opened = AdapterFolder::Open(folder);
  EXPECT_EQ(opened.config.init_lora_weights, LoraConfig::Init::kDefault);
  Engine plain(opened.config);
  const std::string path = AdapterFolder::WeightsPath(folder);
  LoadTrainedFile(*plain.device, plain.vectors->value(), plain.tensors, OpenTrainedFile(plain.tensors, path));
  plain.MakeDecoder();
  ExpectNear(plain.Logits(), trained.Logits(), 2e-4f);

  // A run goes on from the file alone, with the same bits.
  Engine resumed(config);
  InitialAdapter::FromFile(resumed.spec, resumed.tensors, path)
      .SubtractFrom(*resumed.device, *resumed.weights, resumed.files, resumed.spec);
  InitialAdapter::Load(*resumed.device, *resumed.vectors, resumed.tensors, path);
  for (const TrainableTensor& t : trained.tensors) {
    EXPECT_EQ(DownloadTrained(*resumed.device, resumed.vectors->value(), t),
              DownloadTrained(*trained.device, trained.vectors->value(), t));
  }
  for (const AdapterModule& m : trained.spec.modules) {
    const std::string weight = m.path + ".weight";
    EXPECT_EQ(resumed.Download(resumed.weights->Find(weight)), trained.Download(trained.weights->Find(weight)))
        << weight;
  }
  std::filesystem::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(
    Initialisations, Decomposed,
    testing::Values(
        R"({"init_lora_weights": "pissa", "r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"]})",
        R"({"init_lora_weights": "pissa_niter_8", "r": 3, "target_modules": ["up_proj", "o_proj"], "use_rslora": true,
                        "rank_pattern": {"o_proj": 5}, "alpha_pattern": {"up_proj": 9}})",
        R"({"init_lora_weights": "olora", "r": 4, "lora_alpha": 4, "target_modules": ["k_proj", "gate_proj"],
                        "rank_pattern": {"k_proj": 2}})",
        R"({"init_lora_weights": "olora", "r": 4, "lora_alpha": 8, "target_modules": ["lm_head"], "modules_to_save": ["norm"]})",
        R"({"init_lora_weights": "pissa", "r": 4, "use_dora": true, "trainable_token_indices": [4, 9]})"));

TEST(Orthogonal, LeavesTheBaseAsItIs) {
  const LoraConfig config =
      ConfigOf(R"({"init_lora_weights": "orthogonal", "r": 4, "target_modules": ["q_proj", "down_proj"]})");
  Engine engine(config);
  EXPECT_FALSE(engine.spec.changes_base);
  InitialAdapter::FromWeights(engine.files, engine.spec, config, 3, 2)
      .Upload(*engine.device, *engine.vectors, engine.tensors);
  engine.MakeDecoder();
  ExpectNear(engine.Logits(), BaseLogits(), 1e-4f);
}

// With few ranks the logits come closer to those of the unquantised base; with all of them W = Q(W) + scale B A.
TEST(Loftq, TakesUpWhatQuantisingLoses) {
  const LoraConfig config =
      ConfigOf(R"({"init_lora_weights": "loftq", "r": 12, "lora_alpha": 9, "target_modules": "all-linear"})");
  Engine engine(config);
  engine.Quantize(QloraQuantization());
  const double quantized = SquareDistance(engine);  // B is zero
  const InitialAdapter initial =
      InitialAdapter::FromResidual(*engine.device, *engine.weights, engine.files, engine.spec);
  initial.Upload(*engine.device, *engine.vectors, engine.tensors);
  EXPECT_LT(SquareDistance(engine), 0.9 * quantized);
  // All of the residual's rank: nothing is lost in these modules.
  Engine whole(ConfigOf(R"({"init_lora_weights": "loftq", "r": 12, "lora_alpha": 9, "target_modules": ["k_proj"]})"));
  whole.Quantize(QloraQuantization());
  InitialAdapter::FromResidual(*whole.device, *whole.weights, whole.files, whole.spec)
      .Upload(*whole.device, *whole.vectors, whole.tensors);
  const Matrix held = whole.weights->Find("model.layers.0.self_attn.k_proj.weight");
  ASSERT_EQ(held.dtype, DType::kBnb4);
  const StoredTensor& stored = *whole.files.Find("model.layers.0.self_attn.k_proj.weight");
  std::vector<float> w(static_cast<size_t>(held.rows * held.cols));
  whole.files.ReadRows(stored, 0, held.rows, w.data());
  const std::vector<float> decoded = whole.Decode("model.layers.0.self_attn.k_proj.weight");
  const std::vector<float> a = DownloadTrained(*whole.device, whole.vectors->value(), whole.tensors[0]);
  const std::vector<float> b = DownloadTrained(*whole.device, whole.vectors->value(), whole.tensors[1]);
  for (int64_t j = 0; j < held.rows; ++j) {
    for (int64_t i = 0; i < held.cols; ++i) {
      double sum = decoded[static_cast<size_t>(j * held.cols + i)];
      for (int64_t r = 0; r < 12; ++r)
        sum += 9.0 / 12 * b[static_cast<size_t>(j * 12 + r)] * a[static_cast<size_t>(r * held.cols + i)];
      ASSERT_NEAR(sum, w[static_cast<size_t>(j * held.cols + i)], 1e-5);
    }
  }
}

// What is left of the weights is quantised, not the weights, and a run that goes on has the same bits.
TEST(QuantizedResidual, LosesLessThanTheQuantizedWeights) {
  const LoraConfig config =
      ConfigOf(R"({"init_lora_weights": "pissa", "r": 8, "lora_alpha": 16, "target_modules": "all-linear"})");
  BnbConfig int8;
  int8.load_in_8bit = true;
  for (const BnbConfig& quantization : {QloraQuantization(), int8}) {
    Engine plain(ConfigOf(R"({"r": 8, "target_modules": "all-linear"})"));  // B is zero
    plain.Quantize(quantization);
    Engine engine(config);
    engine.Quantize(quantization);
    const std::string name = "model.layers.1.mlp.down_proj.weight";
    ASSERT_EQ(engine.weights->Find(name).dtype, quantization.load_in_8bit ? DType::kInt8Rows : DType::kBnb4);
    EXPECT_EQ(engine.Decode(name), plain.Decode(name));
    const InitialAdapter initial = InitialAdapter::FromWeights(engine.files, engine.spec, config, 3, 2);
    initial.SubtractFrom(*engine.device, *engine.weights, engine.files, engine.spec);
    initial.Upload(*engine.device, *engine.vectors, engine.tensors);
    EXPECT_LT(SquareDistance(engine), 0.6 * SquareDistance(plain));

    const std::string folder = testing::TempDir() + "/quantized_residual";
    SaveAdapter(*engine.device, *engine.vectors, engine.tensors, config, &initial, folder);
    Engine resumed(config);
    resumed.Quantize(quantization);
    InitialAdapter::FromFile(resumed.spec, resumed.tensors, AdapterFolder::WeightsPath(folder))
        .SubtractFrom(*resumed.device, *resumed.weights, resumed.files, resumed.spec);
    EXPECT_EQ(resumed.Decode(name), engine.Decode(name));
    EXPECT_NE(resumed.Decode(name), plain.Decode(name));
  }
}

std::string ErrorOf(const std::string& settings, const std::string& model) {
  try {
    BuildAdapterSpec(ModelFiles::Open(kData + "/models/" + model).spec(), ConfigOf(settings), "test");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

TEST(BuildAdapterSpec, RefusesWhatAModuleCannotStartFrom) {
  const auto refuses = [](const std::string& settings, const std::string& part, const std::string& model = "llama") {
    const std::string error = ErrorOf(settings, model);
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  refuses(R"({"init_lora_weights": "pissa", "r": 13, "target_modules": ["k_proj"]})",
          "r 13 for model.layers.0.self_attn.k_proj is more than the 12");
  refuses(R"({"init_lora_weights": "olora", "target_modules": ["embed_tokens"]})", "leave model.embed_tokens out");
  refuses(R"({"init_lora_weights": "olora", "target_modules": ["lm_head"]})", "shares the weight", "llama_tied_bias");
  refuses(R"({"init_lora_weights": "orthogonal", "r": 5})", "needs an even r");
  refuses(R"({"use_dora": true, "target_modules": ["embed_tokens"]})", "leave the embedding out");
  refuses(R"({"trainable_token_indices": [3, 256]})", "256 is outside the model's vocabulary of 256");
  refuses(R"({"trainable_token_indices": {"lm_head": [3]}})", "is not the input embedding");
  refuses(R"({"trainable_token_indices": [3], "target_modules": ["embed_tokens"]})", "also in target_modules");
  refuses(R"({"trainable_token_indices": [3], "modules_to_save": ["embed_tokens"]})", "also in modules_to_save");
}

}  // namespace attune::initial_adapter_test
