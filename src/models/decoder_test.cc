// The decoder against transformers and PEFT: logits, loss and gradients of the fixtures, under every policy, in f32 and
// bf16, and on the guarded device.
#include "models/decoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace attune {
namespace {

const std::string kData = ATTUNE_TEST_DATA;

// A (rows, length) fixture of ids, mask and labels as packed sequences without the padding.
struct FixtureInputs {
  PackedBatch batch;
  std::vector<std::pair<int64_t, int64_t>> places;  // (row, column) of each token in the fixture
  int64_t length = 0;
};

FixtureInputs ReadInputs(const SafetensorsFile& io) {
  const auto ints = [&](const char* name) {
    return reinterpret_cast<const int64_t*>(io.Find(name)->bytes.data());
  };
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
  const char* adapter = "";  // folder under lora/, or none
  DType compute = DType::kF32;
  KeepPolicy policy = KeepPolicy::kExpensiveParts;
  bool guarded = false;
  int64_t logit_rows = 256;
};

// Modules and ranks of an adapter, read from the shapes in its file.
AdapterSpec ReadAdapter(const std::string& folder, const SafetensorsFile& file) {
  const auto config = nlohmann::json::parse(ReadFile(folder + "/adapter_config.json"));
  AdapterSpec adapter;
  for (const TensorView& t : file.tensors()) {
    const std::string prefix = "base_model.model.", a = ".lora_A.weight";
    if (!t.name.ends_with(a)) continue;
    AdapterModule m;
    m.path = t.name.substr(prefix.size(), t.name.size() - prefix.size() - a.size());
    m.rank = t.shape[0];
    m.in = t.shape[1];
    m.out = file.Find(prefix + m.path + ".lora_B.weight")->shape[0];
    const double alpha = config["lora_alpha"].get<double>();
    m.scale = static_cast<float>(config["use_rslora"].get<bool>() ? alpha / std::sqrt(static_cast<double>(m.rank))
                                                                  : alpha / static_cast<double>(m.rank));
    adapter.modules.push_back(m);
  }
  return adapter;
}

class Engine {
 public:
  Engine(const std::string& model, const Case& c, const FixtureInputs& inputs)
      : files_(ModelFiles::Open(model)),
        device_(MakeCpuDevice({.threads = 2, .guarded = c.guarded, .emulate_bf16 = c.compute == DType::kBF16})),
        weights_(*device_, files_, c.compute) {
    if (*c.adapter != 0) {
      const std::string folder = kData + "/lora/" + c.adapter;
      file_ = std::make_unique<SafetensorsFile>(folder + "/adapter_model.safetensors");
      adapter_ = ReadAdapter(folder, *file_);
    }
    trainables_ = AdapterTrainables(adapter_);
    vectors_ = std::make_unique<TrainableVectors>(*device_, trainables_);
    for (const TrainableTensor& t : trainables_) SetTrained(t);
    const int64_t tokens = inputs.batch.tokens();
    decoder_ = std::make_unique<Decoder>(
        *device_, files_.spec(), weights_, adapter_, trainables_, vectors_.get(),
        DecoderSettings{c.compute, c.policy, tokens, static_cast<int64_t>(inputs.batch.starts.size()) - 1,
                        inputs.length, tokens, c.logit_rows});
  }

  // Files hold B as (out, rank), memory as (rank, out).
  std::vector<float> Transposed(const std::vector<float>& values, int64_t rows, int64_t cols) const {
    std::vector<float> out(values.size());
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) out[j * rows + i] = values[i * cols + j];
    }
    return out;
  }

  void SetTrained(const TrainableTensor& t) {
    std::vector<float> values = Floats(*file_->Find(t.key));
    if (t.kind == TrainableTensor::Kind::kLoraB) values = Transposed(values, t.cols, t.rows);
    device_->Upload(TrainableVectors::Of(vectors_->value(), t).data, values.data(),
                    static_cast<int64_t>(values.size()) * 4);
  }

  std::vector<float> Gradient(const TrainableTensor& t) {
    std::vector<float> values(static_cast<size_t>(t.rows * t.cols));
    device_->Download(values.data(), TrainableVectors::Of(vectors_->gradient(), t).data,
                      static_cast<int64_t>(values.size()) * 4);
    if (t.kind == TrainableTensor::Kind::kLoraB) values = Transposed(values, t.rows, t.cols);
    return values;
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
  ModelWeights weights_;
  std::unique_ptr<SafetensorsFile> file_;
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
                         testing::Values("llama", "llama3", "llama_tied_bias", "mistral", "qwen2", "smollm3"));

TEST(GgufModel, LogitsAgreeWithTransformers) {
  const SafetensorsFile io(kData + "/gguf/io.safetensors");
  const FixtureInputs inputs = ReadInputs(io);
  Engine engine(kData + "/gguf/tiny_llama_mixed.gguf", {.policy = KeepPolicy::kNothing}, inputs);
  ExpectLogits(AllLogits(engine, inputs, io.Find("logits")->shape[2]), inputs, *io.Find("logits"));
}

void ExpectGradients(const Case& c) {
  const std::string base = std::string(c.adapter).starts_with("qwen2") ? "qwen2" : "llama";
  const SafetensorsFile io(kData + "/lora/" + c.adapter + "/io.safetensors");
  const FixtureInputs inputs = ReadInputs(io);
  Engine engine(kData + "/models/" + base, c, inputs);
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

TEST(LoraGradients, AllSevenProjections) { ExpectGradients({"llama_all7_r16"}); }
TEST(LoraGradients, RankStabilised) { ExpectGradients({"llama_rslora"}); }
TEST(LoraGradients, SomeLayers) { ExpectGradients({"llama_layers"}); }
TEST(LoraGradients, Qwen2) { ExpectGradients({"qwen2_all_linear"}); }
TEST(LoraGradients, Bf16) { ExpectGradients({"llama_all7_r16", DType::kBF16}); }
TEST(LoraGradients, SmallLogitChunks) {
  ExpectGradients({"llama_all7_r16", DType::kF32, KeepPolicy::kExpensiveParts, false, 5});
}
TEST(LoraGradients, OnAGuardedDevice) {
  ExpectGradients({"llama_all7_r16", DType::kF32, KeepPolicy::kExpensiveParts, true});
}
TEST(LoraGradients, OnAGuardedDeviceInBf16WithCheckpointing) {
  ExpectGradients({"llama_all7_r16", DType::kBF16, KeepPolicy::kBlockInputs, true});
}

// What a block keeps is a matter of memory alone: not one bit of a gradient may change, dropout included.
TEST(KeepPolicies, GiveTheSameBits) {
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const SafetensorsFile io(kData + "/lora/llama_all7_r16/io.safetensors");
    FixtureInputs inputs = ReadInputs(io);
    std::vector<std::vector<float>> gradients;
    for (const KeepPolicy policy : {KeepPolicy::kEverything, KeepPolicy::kExpensiveParts, KeepPolicy::kBlockInputs}) {
      Engine engine(kData + "/models/llama", {"llama_all7_r16", compute, policy}, inputs);
      engine.decoder().TrainBatch(inputs.batch, 1.0f);
      gradients.push_back(engine.WholeGradient());
    }
    EXPECT_EQ(gradients[0], gradients[1]);
    EXPECT_EQ(gradients[0], gradients[2]);
  }
}

// Two sequences packed together give the sum of what each gives alone.
TEST(Packing, DoesNotMixSequences) {
  const SafetensorsFile io(kData + "/lora/llama_all7_r16/io.safetensors");
  const FixtureInputs inputs = ReadInputs(io);
  Engine together(kData + "/models/llama", {"llama_all7_r16"}, inputs);
  together.decoder().TrainBatch(inputs.batch, 1.0f);
  Engine apart(kData + "/models/llama", {"llama_all7_r16"}, inputs);
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

}  // namespace
}  // namespace attune
