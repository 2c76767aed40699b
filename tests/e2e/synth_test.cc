// attune synth from outside: a folder that the other commands open, the same for the same seed, and refusals.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "formats/safetensors.h"
#include "program.h"
#include "quant/float16.h"

namespace attune::synth_test {

class Synth : public ProgramTest {
 protected:
  std::string Weights(const std::string& name) { return ReadFile(Path(name + "/model.safetensors")); }
};

TEST_F(Synth, MakesAModelThatOpensAndThatItsSeedDecides) {
  const Outcome made = Attune({"synth", "--shape", "tiny", "--output", "a", "--json"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(nlohmann::json::parse(made.out)["tensors"], 21);
  ASSERT_EQ(Attune({"synth", "--shape", "tiny", "--output", "b"}).exit_code, 0);
  ASSERT_EQ(Attune({"synth", "--shape", "tiny", "--output", "c", "--seed", "7"}).exit_code, 0);
  EXPECT_EQ(Weights("a"), Weights("b"));
  EXPECT_NE(Weights("a"), Weights("c"));

  const SafetensorsFile file(folder_ + "/a/model.safetensors");
  for (const TensorView& tensor : file.tensors()) {
    EXPECT_EQ(tensor.dtype, DType::kBF16);
    const auto* values = reinterpret_cast<const uint16_t*>(tensor.bytes.data());
    const size_t count = tensor.bytes.size() / 2;
    double square = 0;
    for (size_t i = 0; i < count; ++i) {
      if (tensor.shape.size() == 1) {
        ASSERT_EQ(Bf16ToFloat(values[i]), 1.0f) << tensor.name;
      }
      square += std::pow(Bf16ToFloat(values[i]), 2);
    }
    if (tensor.shape.size() == 2) {
      EXPECT_NEAR(std::sqrt(square / static_cast<double>(count)), 0.02, 0.001) << tensor.name;
    }
  }
  const Outcome tokens = Attune({"tokenize", "--model", "a", "--text", "Hä", "--json"});
  ASSERT_EQ(tokens.exit_code, 0) << tokens.err;
  EXPECT_EQ(nlohmann::json::parse(tokens.out)["ids"], nlohmann::json({3 + 'H', 3 + 0xc3, 3 + 0xa4}));
  EXPECT_EQ(Attune({"generate", "--model", "a", "--raw", "--prompt", "abc", "--max_new_tokens", "3"}).exit_code, 0);
}

TEST_F(Synth, TiedModelsHaveNoHead) {
  ASSERT_EQ(Attune({"synth", "--shape", "smollm2-135m", "--output", "m", "--torch_dtype", "float16"}).exit_code, 0);
  const SafetensorsFile file(folder_ + "/m/model.safetensors");
  EXPECT_EQ(file.Find("lm_head.weight"), nullptr);
  EXPECT_EQ(file.Find("model.embed_tokens.weight")->dtype, DType::kF16);
  EXPECT_EQ(Attune({"info", "m"}).exit_code, 0);
  std::filesystem::remove_all(folder_ + "/m");
}

TEST_F(Synth, RefusesInOneLine) {
  ExpectRefused({"synth", "--shape", "lama-2-7b", "--output", "o"},
                "did you mean \"llama-2-7b\"?; the shapes are llama-2-7b, llama-2-13b");
  ExpectRefused({"synth", "--shape", "tiny", "--output", "o", "--torch_dtype", "int8"},
                "use float32, bfloat16 or float16");
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/o"));
  std::filesystem::create_directories(folder_ + "/o/inside");
  ExpectRefused({"synth", "--shape", "tiny", "--output", "o"}, "exists already");
}

}  // namespace attune::synth_test
