// The decoder against transformers and PEFT: logits, loss and gradients of the fixtures, under every policy, in f32 and
// bf16, and on the guarded device.
#include "models/decoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <optional>

#include "formats/safetensors.h"
#include "models/adapter_model.h"
#include "models/full_finetuning.h"

namespace attune::decoder_test {

const std::string kData = ATTUNE_TEST_DATA;

// A (rows, length) fixture of ids, mask and labels as packed sequences without the padding.
struct FixtureInputs {
  PackedBatch batch;
  std::vector<std::pair<int64_t, int64_t>> places;  // (row, column) of each token in the fixture
  int64_t length = 0;
};

FixtureInputs ReadInputs(const SafetensorsFile& io) {
  const auto ints = [&](const char* name) { return reinterpret_cast<const int64_t*>(io.Find(name)->bytes.data()); };
  const int64_t *ids = ints("input_ids"), *mask = ints("attention_mask"), *labels = ints("labels");
  FixtureInputs inputs;
  const int64_t rows = io.Find("input_ids")->shape[0];
  inputs.length = io.Find("input_ids")->shape[1];
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<int32_t> sequence, sequence_labels;
    for (int64_t t = 0; t < inputs.length; ++t) {
      const int64_t i = r * inputs.length + t;
      if (mask[i] == 0) continue;
      sequence.push_back(static_cast<int32_t>(ids[i]));
      sequence_labels.push_back(static_cast<int32_t>(labels[i]));
      inputs.places.emplace_back(r, t);
    }
    inputs.batch.Append(sequence, sequence_labels);
  }
  return inputs;
}

std::vector<float> Floats(const TensorView& tensor) {
  std::vector<float> values(tensor.bytes.size() / 4);
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

struct Case {
  const char* adapter = "";  // folder under tests/data, or none
  DType compute = DType::kF32;
  KeepPolicy policy = KeepPolicy::kExpensiveParts;
  bool guarded = false;
  int64_t logit_rows = 256;
  bool full = false;  // full fine-tuning instead of an adapter
  float dropout = 0;
  std::optional<LoraConfig> config = {};  // where no adapter is named: a fresh one
  bool decoded = false;                   // the base in the compute type, not as it is stored
  bool spread_rows = false;
};

class Engine {
 public:
  Engine(const std::string& model, const Case& c, const FixtureInputs& inputs)
      : files_(ModelFiles::Open(model)),
        device_(MakeCpuDevice({.threads = 2, .guarded = c.guarded, .emulate_bf16 = c.compute == DType::kBF16})) {
    if (*c.adapter != 0) {
      const std::string folder = kData + "/" + c.adapter;
      adapter_ = BuildAdapterSpec(files_.spec(), AdapterFolder::Open(folder).config, folder, UnknownTargets::kIgnore);
      adapter_.dropout = c.dropout;
    }
    if (c.config) adapter_ = BuildAdapterSpec(files_.spec(), *c.config, "test");
    if (c.full) adapter_ = BuildFullSpec(files_.spec(), {}, "full");
    weights_.emplace(*device_, files_, adapter_, c.decoded ? BaseStorage(c.compute) : BaseStorage(files_, c.compute));
    trainables_ = AdapterTrainables(adapter_);
    vectors_ = std::make_unique<TrainableVectors>(*device_, trainables_);
    if (c.config) InitializeTrained(*device_, *vectors_, trainables_, *c.config, adapter_.tokens, files_, 1);
    if (c.full) InitializeFromFiles(*device_, *vectors_, trainables_, files_);
    if (*c.adapter != 0) {
      const std::string path = kData + "/" + c.adapter + "/adapter_model.safetensors";
      LoadTrainedFile(*device_, vectors_->value(), trainables_, OpenTrainedFile(trainables_, path));
    }
    const int64_t tokens = inputs.batch.tokens();
    decoder_ = std::make_unique<Decoder>(
        *device_, files_.spec(), *weights_, adapter_, trainables_, vectors_.get(),
        DecoderSettings{c.compute, c.policy, tokens, static_cast<int64_t>(inputs.batch.starts.size()) - 1,
                        inputs.length, tokens, c.logit_rows, 0, 0, c.spread_rows});
    if (c.config) decoder_->InitializeMagnitudes();
  }

  std::vector<float> Gradient(const TrainableTensor& t) { return DownloadTrained(*device_, vectors_->gradient(), t); }

  std::vector<float> Value(const TrainableTensor& t) { return DownloadTrained(*device_, vectors_->value(), t); }
  void SetValue(const TrainableTensor& t, const std::vector<float>& values) {
    UploadTrained(*device_, vectors_->value(), t, values);
    decoder_->RefreshTrained();
  }

  std::vector<float> WholeGradient() {
    std::vector<float> values(static_cast<size_t>(vectors_->elements()));
    device_->Download(values.data(), vectors_->gradient().data, vectors_->elements() * 4);
    return values;
  }

  Decoder& decoder() { return *decoder_; }
  const std::vector<TrainableTensor>& trainables() const { return trainables_; }

 private:
  ModelFiles files_;
  std::unique_ptr<Device> device_;
  std::optional<ModelWeights> weights_;
  AdapterSpec adapter_;
  std::vector<TrainableTensor> trainables_;
  std::unique_ptr<TrainableVectors> vectors_;
  std::unique_ptr<Decoder> decoder_;
};

// Logits of all tokens, in the order of inputs.places.
std::vector<float> AllLogits(Engine& engine, FixtureInputs inputs, int64_t vocab) {
  PackedBatch batch = inputs.batch;
  batch.rows.clear();
  for (int32_t t = 0; t < batch.tokens(); ++t) batch.rows.push_back(t);
  batch.targets.assign(batch.rows.size(), 0);
  std::vector<float> logits(static_cast<size_t>(batch.tokens() * vocab));
  engine.decoder().Logits(batch, [&](int64_t first, std::span<const float> piece) {
    std::copy(piece.begin(), piece.end(), logits.begin() + first * vocab);
  });
  return logits;
}

void ExpectLogits(const std::vector<float>& got, const FixtureInputs& inputs, const TensorView& expected) {
  const int64_t vocab = expected.shape[2];
  const std::vector<float> want = Floats(expected);
  for (size_t i = 0; i < inputs.places.size(); ++i) {
    const auto [row, column] = inputs.places[i];
    for (int64_t v = 0; v < vocab; ++v) {
      const float a = got[i * static_cast<size_t>(vocab) + static_cast<size_t>(v)];
      const float b = want[static_cast<size_t>((row * inputs.length + column) * vocab + v)];
      ASSERT_LE(std::fabs(a - b), 2e-4 + 2e-4 * std::fabs(b)) << "token " << i << " logit " << v;
    }
  }
}

struct Agreement {
  double cosine, norm_ratio;
};

Agreement Compare(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  if (aa == 0 && bb == 0) return {1, 1};  // the tokens that PEFT's fixture trains do not occur in its rows
  return {ab / std::sqrt(aa * bb), std::sqrt(aa / bb)};
}

class FamilyTest : public testing::TestWithParam<const char*> {};

TEST_P(FamilyTest, LogitsAndLossAgreeWithTransformers) {
  const std::string folder = kData + "/models/" + GetParam();
  const SafetensorsFile io(folder + "/io.safetensors");
  const FixtureInputs inputs = ReadInputs(io);
  Engine engine(folder, {.policy = KeepPolicy::kNothing}, inputs);
  ExpectLogits(AllLogits(engine, inputs, io.Find("logits")->shape[2]), inputs, *io.Find("logits"));
  const BatchLoss loss = engine.decoder().EvaluateBatch(inputs.batch);
  const float expected = Floats(*io.Find("loss"))[0];
  EXPECT_NEAR(loss.sum / static_cast<double>(loss.rows), expected, 1e-5 * expected);
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyTest,
                         testing::Values("llama", "llama3", "llama_tied_bias", "mistral", "qwen2", "qwen3", "smollm3"));

TEST(GgufModel, LogitsAgreeWithTransformers) {
  const SafetensorsFile io(kData + "/gguf/io.safetensors");
  const FixtureInputs inputs = ReadInputs(io);
  Engine engine(kData + "/gguf/tiny_llama_mixed.gguf", {.policy = KeepPolicy::kNothing}, inputs);
  ExpectLogits(AllLogits(engine, inputs, io.Find("logits")->shape[2]), inputs, *io.Find("logits"));
}

// What a row's score is made of: the states that the head reads, and the loss of each row.
TEST(RowOutputs, HiddenStatesGiveTheLogitsAndLossesTheirSum) {
  const std::string folder = kData + "/models/llama";
  const FixtureInputs inputs = ReadInputs(SafetensorsFile(folder + "/io.safetensors"));
  const ModelFiles files = ModelFiles::Open(folder);
  const StoredTensor& head = *files.Find("lm_head.weight");
  const int64_t vocab = head.rows(), width = head.columns();
  std::vector<float> weights(static_cast<size_t>(vocab * width));
  files.ReadRows(head, 0, vocab, weights.data());
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    Engine engine(folder, {.compute = compute, .policy = KeepPolicy::kNothing, .guarded = true}, inputs);
    const std::vector<float> hidden = engine.decoder().LastHidden(inputs.batch);
    ASSERT_EQ(hidden.size(), inputs.batch.rows.size() * static_cast<size_t>(width));
    engine.decoder().Logits(inputs.batch, [&](int64_t first, std::span<const float> logits) {
      for (int64_t i = 0; i < std::ssize(logits); ++i) {
        double sum = 0;
        for (int64_t k = 0; k < width; ++k)
          sum += weights[static_cast<size_t>(i % vocab * width + k)] *
                 hidden[static_cast<size_t>((first + i / vocab) * width + k)];
        ASSERT_NEAR(logits[static_cast<size_t>(i)], sum, compute == DType::kBF16 ? 0.02 : 1e-4);
      }
    });
    std::vector<float> losses = {1, 2, 3};
    const BatchLoss loss = engine.decoder().EvaluateBatch(inputs.batch, &losses);
    ASSERT_EQ(losses.size(), inputs.batch.rows.size());
    EXPECT_NEAR(std::accumulate(losses.begin(), losses.end(), 0.0), loss.sum, 1e-6 * loss.sum);
  }
}

// Checkpoints that transformers and bitsandbytes wrote: decoded in every product, as their own 4-bit layers compute.
class QuantizedTest : public testing::TestWithParam<const char*> {};

TEST_P(QuantizedTest, LogitsAgreeWithTransformers) {
  const std::string folder = kData + "/nf4/" + GetParam();
  const SafetensorsFile io(folder + "/io.safetensors");
  const FixtureInputs inputs = ReadInputs(io);
  for (const bool guarded : {false, true}) {
    Engine engine(folder, {.policy = KeepPolicy::kNothing, .guarded = guarded}, inputs);
    ExpectLogits(AllLogits(engine, inputs, io.Find("logits")->shape[2]), inputs, *io.Find("logits"));
  }
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, QuantizedTest,
                         testing::Values("llama_fp4", "llama_nf4_dq", "llama_nf4_dq_blocks_cross_rows"));

void ExpectGradientsOf(const std::string& model, const std::string& io_path, const Case& c) {
  const SafetensorsFile io(io_path);
  const FixtureInputs inputs =
      io.Find("input_ids") != nullptr ? ReadInputs(io) : ReadInputs(SafetensorsFile(model + "/io.safetensors"));
  Engine engine(model, c, inputs);
  const float scale = 1.0f / static_cast<float>(inputs.batch.rows.size());
  const BatchLoss loss = engine.decoder().TrainBatch(inputs.batch, scale);
  const bool bf16 = c.compute == DType::kBF16;
  const float expected = Floats(*io.Find("loss"))[0];
  EXPECT_NEAR(loss.sum * scale, expected, (bf16 ? 1e-2 : 1e-5) * expected);
  for (const TrainableTensor& t : engine.trainables()) {
    const Agreement agreement = Compare(engine.Gradient(t), Floats(*io.Find("grad." + t.key)));
    // bf16 against an f32 reference: what rounding activations to 8 bits leaves of so small a model.
    EXPECT_GT(agreement.cosine, bf16 ? 0.97 : 0.99999) << t.key;
    EXPECT_NEAR(agreement.norm_ratio, 1.0, bf16 ? 0.1 : 1e-3) << t.key;
  }
}

void ExpectGradients(const Case& c) {
  const std::string name = c.adapter;
  const std::string base = name.find("qwen2") != std::string::npos  ? "qwen2"
                           : name.find("bias") != std::string::npos ? "llama_tied_bias"
                                                                    : "llama";
  ExpectGradientsOf(kData + "/models/" + base, kData + "/" + name + "/io.safetensors", c);
}

TEST(LoraGradients, AllSevenProjections) { ExpectGradients({"lora/llama_all7_r16"}); }
TEST(LoraGradients, RankStabilised) { ExpectGradients({"lora/llama_rslora"}); }
TEST(LoraGradients, SomeLayers) { ExpectGradients({"lora/llama_layers"}); }
TEST(LoraGradients, Qwen2) { ExpectGradients({"lora/qwen2_all_linear"}); }
TEST(LoraGradients, AHeadTrainedWhole) { ExpectGradients({"lora/llama_modules_to_save"}); }
TEST(LoraGradients, Biases) { ExpectGradients({"lora/llama_bias_lora_only"}); }
TEST(LoraGradients, BiasesOfB) {
  ExpectGradients({"lora/llama_lora_bias"});
  ExpectGradients({"lora/llama_lora_bias", DType::kBF16, KeepPolicy::kBlockInputs, true});
}
TEST(LoraGradients, Embedding) { ExpectGradients({"lora/llama_embed"}); }
TEST(LoraGradients, EmbeddingOnAGuardedDeviceInBf16) {
  ExpectGradients({"lora/llama_embed", DType::kBF16, KeepPolicy::kBlockInputs, true});
}
TEST(LoraGradients, WeightDecomposed) { ExpectGradients({"lora/llama_dora"}); }
TEST(LoraGradients, WeightDecomposedOnAGuardedDeviceWithCheckpointing) {
  ExpectGradients({"lora/llama_dora", DType::kF32, KeepPolicy::kBlockInputs, true});
  ExpectGradients({"lora/llama_dora", DType::kBF16, KeepPolicy::kBlockInputs, true});
}
// On a 4-bit base as on the same base decoded beforehand, with a random B, so that every norm counts.
TEST(LoraGradients, WeightDecomposedOnA4BitBase) {
  const std::string model = kData + "/nf4/llama_nf4_dq";
  const FixtureInputs inputs = ReadInputs(SafetensorsFile(model + "/io.safetensors"));
  Case c;
  c.config.emplace().use_dora = true;
  c.config->init_lora_weights = LoraConfig::Init::kRandom;
  c.config->target_modules = std::vector<std::string>{"q_proj", "v_proj", "down_proj"};
  Engine packed(model, c, inputs);
  c.decoded = true;
  Engine decoded(model, c, inputs);
  packed.decoder().TrainBatch(inputs.batch, 1.0f);
  decoded.decoder().TrainBatch(inputs.batch, 1.0f);
  const Agreement agreement = Compare(packed.WholeGradient(), decoded.WholeGradient());
  EXPECT_GT(agreement.cosine, 0.999999);
  EXPECT_NEAR(agreement.norm_ratio, 1.0, 1e-5);
}
TEST(LoraGradients, TrainedTokens) {
  ExpectGradients({"lora/llama_trainable_tokens"});
  ExpectGradients({"lora/llama_trainable_tokens", DType::kBF16, KeepPolicy::kBlockInputs, true});
}

// With a tied head no fixture exists: the loss must change along the gradient as its length says.
TEST(LoraGradients, TrainedTokensOfATiedHead) {
  const SafetensorsFile io(kData + "/models/llama_tied_bias/io.safetensors");
  const FixtureInputs inputs = ReadInputs(io);
  Case c;
  c.config.emplace().trainable_token_indices =
      LoraConfig::Tokens{5, 7, 184};  // read, read and predicted, and read twice
  c.guarded = true;
  c.logit_rows = 20;
  Engine engine(kData + "/models/llama_tied_bias", c, inputs);
  const float scale = 1.0f / static_cast<float>(inputs.batch.rows.size());
  engine.decoder().TrainBatch(inputs.batch, scale);
  const TrainableTensor& rows = engine.trainables().back();
  ASSERT_EQ(rows.key, "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta");
  const std::vector<float> gradient = engine.Gradient(rows);
  double squares = 0;
  for (const float g : gradient) squares += static_cast<double>(g) * g;
  ASSERT_GT(squares, 1e-4);
  const auto loss_at = [&](double step) {
    std::vector<float> values = engine.Value(rows);
    for (size_t i = 0; i < values.size(); ++i) values[i] += static_cast<float>(step * gradient[i]);
    engine.SetValue(rows, values);
    const double loss = engine.decoder().EvaluateBatch(inputs.batch).sum * scale;
    for (size_t i = 0; i < values.size(); ++i) values[i] -= static_cast<float>(step * gradient[i]);
    engine.SetValue(rows, values);
    return loss;
  };
  const double step = 1e-3 / std::sqrt(squares);
  EXPECT_NEAR((loss_at(step) - loss_at(-step)) / (2 * step), squares, 5e-3 * squares);
}
TEST(LoraGradients, Bf16) { ExpectGradients({"lora/llama_all7_r16", DType::kBF16}); }
TEST(LoraGradients, SmallLogitChunks) {
  ExpectGradients({"lora/llama_all7_r16", DType::kF32, KeepPolicy::kExpensiveParts, false, 5});
}
TEST(LoraGradients, OnA4BitBase) {
  for (const KeepPolicy policy : {KeepPolicy::kExpensiveParts, KeepPolicy::kBlockInputs}) {
    ExpectGradientsOf(kData + "/nf4/llama_nf4_dq", kData + "/nf4/llama_nf4_dq/adapter/io.safetensors",
                      {"nf4/llama_nf4_dq/adapter", DType::kF32, policy});
  }
}
TEST(LoraGradients, OnAGuardedDevice) {
  ExpectGradients({"lora/llama_all7_r16", DType::kF32, KeepPolicy::kExpensiveParts, true});
}
TEST(LoraGradients, OnAGuardedDeviceInBf16WithCheckpointing) {
  ExpectGradients({"lora/llama_all7_r16", DType::kBF16, KeepPolicy::kBlockInputs, true});
}

class FullGradients : public testing::TestWithParam<const char*> {};

TEST_P(FullGradients, AgreeWithTransformers) {
  const std::string folder = kData + "/models/" + GetParam();
  Case c;
  c.full = true;
  ExpectGradientsOf(folder, folder + "/io.safetensors", c);
  c.policy = KeepPolicy::kBlockInputs;
  c.logit_rows = 7;
  c.guarded = true;
  ExpectGradientsOf(folder, folder + "/io.safetensors", c);
}

INSTANTIATE_TEST_SUITE_P(Families, FullGradients,
                         testing::Values("llama", "llama3", "llama_tied_bias", "mistral", "qwen2", "qwen3", "smollm3"));

TEST(FullGradients, Bf16) {
  for (const char* model : {"llama", "llama_tied_bias"}) {
    Case c;
    c.full = true;
    c.compute = DType::kBF16;
    const std::string folder = kData + "/models/" + model;
    ExpectGradientsOf(folder, folder + "/io.safetensors", c);
  }
}

// What a block keeps is a matter of memory alone: not one bit of a gradient may change, dropout included.
TEST(KeepPolicies, GiveTheSameBits) {
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    for (const char* adapter : {"lora/llama_all7_r16", "lora/llama_dora"}) {
      const SafetensorsFile io(kData + "/" + adapter + "/io.safetensors");
      FixtureInputs inputs = ReadInputs(io);
      for (int32_t t = 0; t < inputs.batch.tokens(); ++t) inputs.batch.keys.push_back(DropoutKey(1, 1, 1, t));
      std::vector<std::vector<float>> gradients;
      for (const KeepPolicy policy : {KeepPolicy::kEverything, KeepPolicy::kExpensiveParts, KeepPolicy::kBlockInputs}) {
        Engine engine(kData + "/models/llama",
                      {.adapter = adapter, .compute = compute, .policy = policy, .dropout = 0.2f}, inputs);
        engine.decoder().TrainBatch(inputs.batch, 1.0f);
        gradients.push_back(engine.WholeGradient());
      }
      EXPECT_EQ(gradients[0], gradients[1]) << adapter;
      EXPECT_EQ(gradients[0], gradients[2]) << adapter;
    }
  }
}

// Nor does it matter whether rows lie one behind the other.
TEST(KeepPolicies, GapsBehindRowsChangeNoBit) {
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    for (const char* adapter : {"lora/llama_all7_r16", "lora/llama_dora", "lora/llama_embed"}) {
      const SafetensorsFile io(kData + "/" + adapter + "/io.safetensors");
      const FixtureInputs inputs = ReadInputs(io);
      std::vector<std::vector<float>> gradients, hidden;
      for (const bool spread : {false, true}) {
        Engine engine(kData + "/models/llama", {.adapter = adapter, .compute = compute, .spread_rows = spread}, inputs);
        engine.decoder().TrainBatch(inputs.batch, 1.0f);
        gradients.push_back(engine.WholeGradient());
        hidden.push_back(engine.decoder().LastHidden(inputs.batch));
      }
      EXPECT_EQ(gradients[0], gradients[1]) << adapter;
      EXPECT_EQ(hidden[0], hidden[1]) << adapter;
    }
  }
}

// Two sequences packed together give the sum of what each gives alone.
TEST(Packing, DoesNotMixSequences) {
  const SafetensorsFile io(kData + "/lora/llama_all7_r16/io.safetensors");
  const FixtureInputs inputs = ReadInputs(io);
  Engine together(kData + "/models/llama", {"lora/llama_all7_r16"}, inputs);
  together.decoder().TrainBatch(inputs.batch, 1.0f);
  Engine apart(kData + "/models/llama", {"lora/llama_all7_r16"}, inputs);
  for (size_t s = 0; s + 1 < inputs.batch.starts.size(); ++s) {
    PackedBatch one;
    const auto first = inputs.batch.starts[s], last = inputs.batch.starts[s + 1];
    one.starts = {0, last - first};
    for (int32_t t = first; t < last; ++t) {
      one.input_ids.push_back(inputs.batch.input_ids[static_cast<size_t>(t)]);
      one.positions.push_back(t - first);
    }
    for (size_t i = 0; i < inputs.batch.rows.size(); ++i) {
      if (inputs.batch.rows[i] < first || inputs.batch.rows[i] >= last) continue;
      one.rows.push_back(inputs.batch.rows[i] - first);
      one.targets.push_back(inputs.batch.targets[i]);
    }
    apart.decoder().TrainBatch(one, 1.0f);
  }
  const Agreement agreement = Compare(apart.WholeGradient(), together.WholeGradient());
  EXPECT_GT(agreement.cosine, 0.9999999);
  EXPECT_NEAR(agreement.norm_ratio, 1.0, 1e-5);
}

}  // namespace attune::decoder_test
