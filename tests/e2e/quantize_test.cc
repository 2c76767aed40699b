// attune quantize from outside: the tensors of transformers' own checkpoint, options under their names, and refusals.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "program.h"
#include "quant/bnb_checkpoint.h"
#include "quant/int8_rows.h"

namespace attune::quantize_test {

const std::string kData = ATTUNE_TEST_DATA;
const std::string kLlama = kData + "/models/llama";

class Quantize : public ProgramTest {
 protected:
  static std::vector<std::string> Arguments(const std::vector<std::string>& more, const std::string& model) {
    std::vector<std::string> arguments = {"quantize", "--model", model, "--output", "out"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Outcome Run(const std::vector<std::string>& more, const std::string& model = kLlama) {
    return Attune(Arguments(more, model));
  }
};

// Every tensor of the fixture, byte for byte, but for the 8-bit scales: bitsandbytes' CPU kernel does not always take
// the nearest code (tests/data/README.md), so they may be one code off, seldom. The map may differ by torch's rounding.
TEST_F(Quantize, WritesTheTensorsOfTransformers) {
  const Outcome outcome = Run({"--bnb_4bit_use_double_quant", "true", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(nlohmann::json::parse(outcome.out)["quantized"], 14);
  const std::string fixture = kData + "/nf4/llama_nf4_dq_blocks_cross_rows";
  const SafetensorsFile ours(Path("out/model.safetensors")), theirs(fixture + "/model.safetensors");
  ASSERT_EQ(ours.tensors().size(), theirs.tensors().size());
  size_t scales = 0, differ = 0;
  for (const TensorView& expected : theirs.tensors()) {
    const TensorView* tensor = ours.Find(expected.name);
    ASSERT_NE(tensor, nullptr) << expected.name;
    ASSERT_EQ(tensor->dtype, expected.dtype) << expected.name;
    ASSERT_EQ(tensor->shape, expected.shape) << expected.name;
    if (expected.name.ends_with(".weight.absmax")) {
      for (size_t i = 0; i < expected.bytes.size(); ++i) {
        const int apart = std::abs(static_cast<int>(tensor->bytes[i]) - static_cast<int>(expected.bytes[i]));
        EXPECT_LE(apart, 1) << expected.name;
        differ += apart != 0;
        ++scales;
      }
    } else if (expected.name.ends_with("nested_quant_map")) {
      const auto* a = reinterpret_cast<const float*>(tensor->bytes.data());
      const auto* b = reinterpret_cast<const float*>(expected.bytes.data());
      for (size_t i = 0; i < 256; ++i) EXPECT_NEAR(a[i], b[i], 1e-6);
    } else {
      EXPECT_TRUE(std::equal(tensor->bytes.begin(), tensor->bytes.end(), expected.bytes.begin())) << expected.name;
    }
  }
  EXPECT_LE(differ, scales / 100);
  EXPECT_EQ(ParseOrderedJsonFile(Path("out/config.json"))["quantization_config"],
            ParseOrderedJsonFile(fixture + "/config.json")["quantization_config"]);
}

// What is made up, quantised and decoded lies within the error of NF4: half the widest gap between two codes times the
// scale.
TEST_F(Quantize, DecodesToWithinItsRoundingAndCopiesTheTokenizer) {
  ASSERT_EQ(Attune({"synth", "--shape", "tiny", "--output", "m"}).exit_code, 0);
  const Outcome outcome =
      Run({"--llm_int8_skip_modules", "down_proj,lm_head", "--bnb_4bit_quant_storage", "bfloat16"}, "m");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(ReadFile(Path("out/tokenizer.json")), ReadFile(Path("m/tokenizer.json")));
  const SafetensorsFile source(Path("m/model.safetensors")), packed(Path("out/model.safetensors"));
  const FindTensor find = [&](std::string_view name) { return packed.Find(name); };
  int weights = 0;
  for (const TensorView& tensor : source.tensors()) {
    const auto weight = FindBnb4Weight(find, tensor.name, "out");
    if (!weight) {
      const TensorView* kept = packed.Find(tensor.name);
      EXPECT_TRUE(std::equal(tensor.bytes.begin(), tensor.bytes.end(), kept->bytes.begin())) << tensor.name;
      continue;
    }
    EXPECT_FALSE(tensor.name.ends_with("down_proj.weight"));
    ++weights;
    std::vector<float> values(static_cast<size_t>(weight->rows() * weight->columns()));
    weight->DecodeRows(0, weight->rows(), values.data());
    for (size_t i = 0; i < values.size(); ++i) {
      const uint32_t bits = static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(tensor.bytes.data())[i]) << 16;
      ASSERT_NEAR(values[i], std::bit_cast<float>(bits), 0.153f * weight->view.Scale(static_cast<int64_t>(i) / 64))
          << tensor.name;
    }
  }
  EXPECT_EQ(weights, 12);
}

// Codes and scales are those of the encoder, which the fixtures of bitsandbytes hold to the byte
// (quant/int8_rows_test.cc); the folder opens as any model and gives nearly the logits of what it was made from.
TEST_F(Quantize, WritesEightBitCheckpoints) {
  const Outcome outcome = Run({"--load_in_8bit", "true", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const SafetensorsFile packed(Path("out/model.safetensors")), source(kLlama + "/model.safetensors");
  const std::string module = "model.layers.1.mlp.down_proj";
  const TensorView &plain = *source.Find(module + ".weight"), &codes = *packed.Find(module + ".weight");
  EXPECT_EQ(codes.dtype, DType::kI8);
  EXPECT_EQ(codes.shape, plain.shape);
  EXPECT_EQ(packed.Find(module + ".weight_format")->bytes.size(), 1u);
  std::vector<int8_t> expected(codes.bytes.size());
  std::vector<float> scales(static_cast<size_t>(plain.shape[0]));
  EncodeInt8Rows(plain.dtype, plain.bytes.data(), plain.shape[0], plain.shape[1], expected.data(), scales.data());
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(expected)), codes.bytes));
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span(scales)), packed.Find(module + ".SCB")->bytes));
  EXPECT_EQ(packed.Find("lm_head.weight")->dtype, source.Find("lm_head.weight")->dtype);
  const auto config = ParseOrderedJsonFile(Path("out/config.json"))["quantization_config"];
  EXPECT_EQ(config["load_in_8bit"], true);
  EXPECT_EQ(config["load_in_4bit"], false);
  // Once more: a quantised model is no source.
  ExpectRefused({"quantize", "--model", "out", "--output", "again"}, "already");
  WriteFileAtomic(Path("ids.json"), "[[1, 7, 42, 99, 3]]");
  for (const std::string& model : {kLlama, Path("out")}) {
    const std::string output = model == kLlama ? "plain.safetensors" : "packed.safetensors";
    ASSERT_EQ(Attune({"logits", "--model", model, "--input_ids", Path("ids.json"), "--output", output}).exit_code, 0);
  }
  const SafetensorsFile a(Path("plain.safetensors")), b(Path("packed.safetensors"));
  const auto floats = [](const SafetensorsFile& file) {
    const TensorView& t = *file.Find("logits.0");
    return std::span(reinterpret_cast<const float*>(t.bytes.data()), t.bytes.size() / 4);
  };
  double difference = 0, size = 0;
  for (size_t i = 0; i < floats(a).size(); ++i) {
    difference += std::pow(floats(a)[i] - floats(b)[i], 2);
    size += std::pow(floats(a)[i], 2);
  }
  EXPECT_GT(difference, 0);
  EXPECT_LT(std::sqrt(difference / size), 0.02);
}

TEST_F(Quantize, ReadsGgufModels) {
  const Outcome outcome = Run({"--json"}, kData + "/gguf/tiny_llama_mixed.gguf");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(ParseOrderedJsonFile(Path("out/config.json"))["torch_dtype"], "bfloat16");
}

TEST_F(Quantize, RefusesInOneLine) {
  const auto expect = [&](const std::vector<std::string>& more, const std::string& piece) {
    ExpectRefused(Arguments(more, kLlama), piece);
    EXPECT_FALSE(std::filesystem::exists(Path("out")));
    EXPECT_FALSE(std::filesystem::exists(Path("out.partial")));
  };
  expect({"--bnb_4bit_quant_type", "nf5"}, "did you mean \"nf4\"?");
  expect({"--bnb_4bit_use_double_quant", "maybe"}, "bnb_4bit_use_double_quant");
  expect({"--load_in_4bit", "false"}, "nothing to do");
  expect({"--load_in_4bit", "true", "--load_in_8bit", "true"}, "choose one");
  expect({"--torch_dtype", "int8"}, "use float32, bfloat16 or float16");
  expect({"--llm_int8_skip_modules", "proj,lm_head"}, "nothing is left to quantise");
  expect({"--llm_int8_skip_modules", "lm_head,dwon_proj"},
         "the model has no module \"dwon_proj\" (it has embed_tokens, q_proj");
}

}  // namespace attune::quantize_test
