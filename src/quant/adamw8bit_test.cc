// Three steps of bitsandbytes' AdamW8bit (tests/data/nf4/adamw8bit.safetensors), and what it cannot show.
#include "quant/adamw8bit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "quant/dynamic8.h"
#include "quant/float16.h"
#include "quant/gguf_blocks.h"

namespace attune::adamw8bit_test {

const std::string kNf4Data = std::string(ATTUNE_TEST_DATA) + "/nf4";

const TensorView& Tensor(const std::string& name) {
  static const SafetensorsFile file(kNf4Data + "/adamw8bit.safetensors");
  const TensorView* tensor = file.Find(name);
  if (tensor == nullptr) throw std::runtime_error("no tensor " + name);
  return *tensor;
}

std::vector<float> Floats(const std::string& name) {
  const TensorView& tensor = Tensor(name);
  std::vector<float> values(static_cast<size_t>(*ElementCount(tensor.shape)));
  DecodeBlocks(tensor.dtype, tensor.bytes.data(), static_cast<int64_t>(values.size()), values.data());
  return values;
}

void ExpectCodes(const std::vector<uint8_t>& codes, const std::string& name) {
  const auto* expected = reinterpret_cast<const uint8_t*>(Tensor(name).bytes.data());
  int differ = 0;
  for (size_t i = 0; i < codes.size(); ++i) {
    ASSERT_LE(std::abs(int{codes[i]} - int{expected[i]}), 1) << name << " " << i;
    differ += codes[i] != expected[i];
  }
  EXPECT_LE(differ, static_cast<int>(codes.size() / 1000)) << name;
}

void ExpectParameters(const std::vector<float>& values, const std::string& name, bool bf16) {
  const std::vector<float> expected = Floats(name);
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const float tolerance = bf16 ? std::abs(expected[i]) / 128 : 1e-6f;
    ASSERT_NEAR(values[i], expected[i], tolerance) << name << " " << i;
  }
}

TEST(AdamW8bit, FollowsBitsandbytes) {
  int cases = 0;
  for (const auto& json : ParseJsonFile(kNf4Data + "/adamw8bit.json")) {
    const std::string name = json["case"];
    SCOPED_TRACE(name);
    const int64_t count = json["numel"];
    if (count < kLeastAdamW8bitElements) continue;  // states in float32: ops/optimizer_fixture_test.cc
    const bool bf16 = json["dtype"] == "bfloat16";
    const AdamW8bitSettings settings = {json["lr"], json["betas"][0], json["betas"][1], json["eps"],
                                        json["weight_decay"]};
    std::vector<float> parameters = Floats(name + ".param.0");
    AdamW8bitState state(count);
    for (const std::string step : {"1", "2", "3"}) {
      const std::vector<float> gradient = Floats(name + ".grad." + step);
      // In two ranges, as threads would.
      const size_t half = 2048, blocks = half / kAdamW8bitBlock;
      const auto part = [&](size_t from, size_t to, size_t from_block, size_t to_block) {
        return AdamW8bitRange{std::span(parameters).subspan(from, to - from),
                              std::span(gradient).subspan(from, to - from),
                              std::span(state.m).subspan(from, to - from),
                              std::span(state.v).subspan(from, to - from),
                              std::span(state.absmax_m).subspan(from_block, to_block - from_block),
                              std::span(state.absmax_v).subspan(from_block, to_block - from_block)};
      };
      StepAdamW8bit(settings, std::stoi(step), part(half, parameters.size(), blocks, state.absmax_m.size()));
      StepAdamW8bit(settings, std::stoi(step), part(0, half, 0, blocks));
      ExpectCodes(state.m, name + ".state1." + step);
      ExpectCodes(state.v, name + ".state2." + step);
      const std::vector<float> absmax1 = Floats(name + ".absmax1." + step);
      const std::vector<float> absmax2 = Floats(name + ".absmax2." + step);
      ASSERT_EQ(absmax1.size(), state.absmax_m.size());
      for (size_t i = 0; i < absmax1.size(); ++i) {
        EXPECT_NEAR(state.absmax_m[i], absmax1[i], 1e-6f * absmax1[i]);
        EXPECT_NEAR(state.absmax_v[i], absmax2[i], 1e-6f * absmax2[i]);
      }
      if (bf16) {
        for (float& value : parameters) value = Bf16ToFloat(FloatToBf16(value));
      }
      ExpectParameters(parameters, name + ".param." + step, bf16);
    }
    ++cases;
  }
  EXPECT_EQ(cases, 3);
}

TEST(AdamW8bit, AGradientThatIsNotFiniteTouchesOnlyItsElement) {
  std::vector<float> parameters(300, 1.0f), gradient(300, 0.5f);
  gradient[10] = NAN;
  gradient[270] = INFINITY;
  AdamW8bitState state(300);
  const AdamW8bitSettings settings = {.learning_rate = 0.1, .weight_decay = 0.1};
  StepAdamW8bit(settings, 1, {parameters, gradient, state.m, state.v, state.absmax_m, state.absmax_v});
  for (size_t i = 0; i < 300; ++i) {
    if (i == 10 || i == 270) {
      EXPECT_EQ(parameters[i], 1.0f);
      EXPECT_EQ(DynamicMap(true)[state.m[i]], 0.0f);
      EXPECT_EQ(DynamicMap(false)[state.v[i]], 0.0f);
    } else {
      // The first step of Adam moves by the learning rate, after the decay.
      EXPECT_NEAR(parameters[i], 1.0f * (1 - 0.1f * 0.1f) - 0.1f, 1e-6);
    }
  }
}

TEST(AdamW8bit, ScalesTheGradient) {
  std::vector<float> a(256, 1.0f), b(256, 1.0f), gradient(256), scaled(256);
  for (size_t i = 0; i < 256; ++i) {
    gradient[i] = static_cast<float>(i) - 100;
    scaled[i] = gradient[i] * 0.25f;
  }
  AdamW8bitState s(256), t(256);
  AdamW8bitSettings settings;
  StepAdamW8bit(settings, 1, {a, scaled, s.m, s.v, s.absmax_m, s.absmax_v});
  settings.gradient_scale = 0.25f;
  StepAdamW8bit(settings, 1, {b, gradient, t.m, t.v, t.absmax_m, t.absmax_v});
  EXPECT_EQ(a, b);
  EXPECT_EQ(s.m, t.m);
  EXPECT_EQ(s.absmax_v, t.absmax_v);
}

}  // namespace attune::adamw8bit_test
