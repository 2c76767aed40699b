// EVA on the tiny model: components of what layers read, ranks that add up, scales that stay.
#include "train/eva.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/error.h"
#include "models/adapter_model.h"

namespace attune::eva_test {

const std::string kModel = std::string(ATTUNE_TEST_DATA) + "/models/llama";

std::vector<Example> Rows(int count, int length) {
  std::vector<Example> rows(static_cast<size_t>(count));
  for (int r = 0; r < count; ++r) {
    for (int t = 0; t < length; ++t) {
      const int id = (r * 37 + t * t * 5 + t) % 250;
      rows[static_cast<size_t>(r)].input_ids.push_back(id);
      rows[static_cast<size_t>(r)].labels.push_back(t < 3 ? kIgnoredLabel : id);
    }
  }
  return rows;
}

LoraConfig Config(double rho) {
  LoraConfig config;
  config.r = 4;
  config.lora_alpha = 6;
  config.target_modules = std::vector<std::string>{"q_proj", "v_proj", "up_proj", "down_proj"};
  config.init_lora_weights = LoraConfig::Init::kEva;
  config.eva.rho = rho;
  return config;
}

EvaStart Find(const LoraConfig& config, const std::vector<Example>& rows, DType compute = DType::kF32) {
  const ModelFiles files = ModelFiles::Open(kModel);
  const AdapterSpec spec = BuildAdapterSpec(files.spec(), config, "test");
  return FindEvaStart({files, config, spec, rows, CutAllIntoChunks(ShapesOf(rows), 60), BaseStorage(compute)});
}

// A of each module, as it would be trained from.
std::map<std::string, std::vector<float>> FirstA(const EvaStart& start, AdapterSpec* spec) {
  const ModelFiles files = ModelFiles::Open(kModel);
  *spec = BuildAdapterSpec(files.spec(), start.config, "test");
  const std::vector<TrainableTensor> tensors = AdapterTrainables(*spec);
  const auto device = MakeCpuDevice({.threads = 2});
  const TrainableVectors vectors(*device, tensors);
  start.adapter.Upload(*device, vectors, tensors);
  std::map<std::string, std::vector<float>> found;
  for (const TrainableTensor& t : tensors) {
    const std::vector<float> values = DownloadTrained(*device, vectors.value(), t);
    if (t.kind == TrainableTensor::Kind::kLoraA) {
      found[t.module] = values;
    } else {
      for (const float value : values) EXPECT_EQ(value, 0) << "B starts from zero";
    }
  }
  return found;
}

TEST(Eva, SharesRanksOutByWhatComponentsExplain) {
  AdapterSpec spec;
  const EvaStart start = Find(Config(2), Rows(40, 20));
  const auto first = FirstA(start, &spec);
  EXPECT_GT(start.tokens, 0);
  int64_t ranks = 0;
  bool differ = false;
  for (const AdapterModule& m : spec.modules) {
    ranks += m.rank;
    differ = differ || m.rank != 4;
    EXPECT_LE(m.rank, 8) << "no more than rho times r";
    EXPECT_NEAR(m.scale, 6.0 / 4, 1e-6) << m.path;
    const std::vector<float>& a = first.at(m.path);
    for (int64_t r = 0; r < m.rank; ++r) {
      for (int64_t q = 0; q <= r; ++q) {
        double dot = 0;
        for (int64_t i = 0; i < m.in; ++i)
          dot += static_cast<double>(a[static_cast<size_t>(r * m.in + i)]) * a[static_cast<size_t>(q * m.in + i)];
        EXPECT_NEAR(dot, r == q ? 1 : 0, 1e-5) << m.path;
      }
    }
  }
  EXPECT_EQ(ranks, 8 * 4);
  EXPECT_TRUE(differ);
}

// With rho 1 every rank stays, and projections that read the same input start from the same A.
TEST(Eva, SharesComponentsOfTheSameInput) {
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    if (compute == DType::kBF16 && !MakeCpuDevice({})->has_bf16()) continue;
    AdapterSpec spec;
    const auto first = FirstA(Find(Config(1), Rows(40, 20), compute), &spec);
    ASSERT_EQ(spec.modules.size(), 8u);
    for (const AdapterModule& m : spec.modules) EXPECT_EQ(m.rank, 4);
    EXPECT_EQ(first.at("model.layers.1.self_attn.q_proj"), first.at("model.layers.1.self_attn.v_proj"));
    EXPECT_NE(first.at("model.layers.0.self_attn.q_proj"), first.at("model.layers.1.self_attn.q_proj"));
  }
}

TEST(Eva, StopsWhenComponentsStandStill) {
  LoraConfig config = Config(1);
  config.eva.tau = 0;
  const EvaStart start = Find(config, Rows(40, 20));
  EXPECT_TRUE(start.converged);
  EXPECT_EQ(start.tokens, 2 * 3 * 17) << "two batches of three rows, less the tokens that are masked";
}

TEST(Eva, RefusesRowsThatAreTooFew) {
  try {
    Find(Config(2), Rows(1, 5));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_NE(std::string(error.what()).find("no batch holds 8 trained tokens"), std::string::npos) << error.what();
  }
}

}  // namespace attune::eva_test
