#include "models/model_files.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "quant/float16.h"
#include "quant/gguf_blocks.h"
#include "quant/int8_rows.h"

namespace attune::model_files_test {

const std::string kData = ATTUNE_TEST_DATA;

std::vector<float> ReadAll(const ModelFiles& model, const std::string& name) {
  const StoredTensor* tensor = model.Find(name);
  EXPECT_NE(tensor, nullptr) << name;
  std::vector<float> values(static_cast<size_t>(tensor->rows() * tensor->columns()));
  model.ReadRows(*tensor, 0, tensor->rows(), values.data());
  return values;
}

std::string OpenError(const std::string& path) {
  try {
    ModelFiles::Open(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

// A copy of a fixture's folder whose config.json and weights a test may change.
std::string CopyOf(const std::string& model, const std::string& name) {
  const std::string folder = testing::TempDir() + "/" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::copy(kData + "/models/" + model, folder);
  return folder;
}

// Rewrites model.safetensors with tensors renamed; an empty new name drops the tensor.
template <class Rename>
void RewriteWeights(const std::string& folder, Rename rename) {
  const std::string path = folder + "/model.safetensors";
  const SafetensorsFile source(path);
  std::vector<TensorDeclaration> tensors;
  std::vector<std::pair<std::string, const TensorView*>> contents;
  for (const TensorView& tensor : source.tensors()) {
    for (const std::string& name : rename(tensor.name)) {
      tensors.push_back({name, tensor.dtype, tensor.shape});
      contents.emplace_back(name, &tensor);
    }
  }
  SafetensorsWriter writer(path, tensors);
  for (const TensorDeclaration& next : writer.order()) {
    for (const auto& [name, tensor] : contents) {
      if (name == next.name) writer.Write(name, tensor->bytes);
    }
  }
  writer.Commit();
}

TEST(ModelFiles, OpensEverySupportedFamilyCompletely) {
  for (const std::string family : {"llama", "llama3", "llama_tied_bias", "mistral", "qwen2", "qwen3", "smollm3"}) {
    const ModelFiles model = ModelFiles::Open(kData + "/models/" + family);
    EXPECT_TRUE(model.ignored_tensors().empty()) << family;
    EXPECT_FALSE(model.is_gguf());
    for (const ExpectedTensor& tensor : ExpectedTensors(model.spec())) EXPECT_NE(model.Find(tensor.name), nullptr);
  }
}

TEST(ModelFiles, RefusesFamiliesItDoesNotKnowByName) {
  for (const std::string family : {"gemma2", "gemma3_text", "gpt2", "phi3"}) {
    EXPECT_NE(OpenError(kData + "/models/" + family).find("model_type \"" + family + "\" is not supported"),
              std::string::npos);
  }
}

// Rewrites a folder's config.json with one key set.
void SetConfig(const std::string& folder, const std::string& key, const nlohmann::json& value) {
  nlohmann::json config = ParseJsonFile(folder + "/config.json");
  config[key] = value;
  WriteFileAtomic(folder + "/config.json", config.dump());
}

TEST(ModelFiles, RowsOfA4BitCheckpoint) {
  for (const std::string name : {"llama_fp4", "llama_nf4_dq", "llama_nf4_dq_blocks_cross_rows"}) {
    const ModelFiles model = ModelFiles::Open(kData + "/nf4/" + name);
    EXPECT_TRUE(model.ignored_tensors().empty());
    const SafetensorsFile io(kData + "/nf4/" + name + "/io.safetensors");
    int compared = 0;
    for (const ExpectedTensor& t : ExpectedTensors(model.spec())) {
      const TensorView* expected = io.Find(t.name + ".dequantized");
      if (expected == nullptr) expected = io.Find(t.name.substr(0, t.name.rfind('.')) + ".dequantized");
      if (expected == nullptr) continue;
      EXPECT_EQ(model.Find(t.name)->dtype, DType::kBnb4);
      const std::vector<float> got = ReadAll(model, t.name);
      std::vector<float> want(got.size());
      DecodeBlocks(expected->dtype, expected->bytes.data(), std::ssize(want), want.data());
      for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 1e-6f * std::abs(want[i])) << t.name;
      ++compared;
    }
    EXPECT_EQ(compared, 4) << name;
  }
}

TEST(ModelFiles, RefusesQuantisationThatIsNotThere) {
  const std::string folder = CopyOf("llama", "says_4bit");
  SetConfig(folder, "quantization_config", {{"quant_method", "bitsandbytes"}, {"load_in_4bit", true}});
  EXPECT_NE(OpenError(folder).find("load_in_4bit, but none of the tensors is"), std::string::npos) << OpenError(folder);
  SetConfig(folder, "quantization_config", {{"quant_method", "awq"}, {"bits", 4}});
  EXPECT_NE(OpenError(folder).find("quant_method must be \"bitsandbytes\""), std::string::npos) << OpenError(folder);
}

TEST(ModelFiles, RefusesA4BitWeightWithoutItsParts) {
  for (const std::string part : {".absmax", ".quant_map", ".nested_absmax", ".quant_state.bitsandbytes__nf4"}) {
    const std::string folder = testing::TempDir() + "/without_a_part";
    std::filesystem::remove_all(folder);
    std::filesystem::copy(kData + "/nf4/llama_nf4_dq", folder);
    const std::string lost = "model.layers.1.mlp.up_proj.weight" + part;
    RewriteWeights(folder, [&](const std::string& name) {
      return name == lost ? std::vector<std::string>{} : std::vector<std::string>{name};
    });
    EXPECT_NE(OpenError(folder).find("model.layers.1.mlp.up_proj.weight"), std::string::npos) << OpenError(folder);
  }
}

TEST(ModelFiles, RefusesAQuantisedEmbedding) {
  const std::string folder = testing::TempDir() + "/quantised_embedding";
  std::filesystem::remove_all(folder);
  std::filesystem::copy(kData + "/nf4/llama_nf4_dq", folder);
  const std::string layer = "model.layers.1.mlp.up_proj.weight", table = "model.embed_tokens.weight";
  RewriteWeights(folder, [&](const std::string& name) {
    std::vector<std::string> names = {name};
    if (name == table) return std::vector<std::string>();
    if (name.starts_with(layer)) names.push_back(table + name.substr(layer.size()));
    return names;
  });
  EXPECT_NE(OpenError(folder).find("only linear layers may be quantised"), std::string::npos) << OpenError(folder);
}

// As bitsandbytes stores LLM.int8: codes and a scale a row.
TEST(ModelFiles, RowsOfAn8BitCheckpoint) {
  const ModelFiles plain = ModelFiles::Open(kData + "/models/llama");
  const std::string folder = CopyOf("llama", "int8"), name = "model.layers.0.mlp.up_proj.weight";
  const StoredTensor& source = *plain.Find(name);
  std::vector<int8_t> codes(static_cast<size_t>(source.rows() * source.columns()));
  std::vector<float> scales(static_cast<size_t>(source.rows()));
  EncodeInt8Rows(source.dtype, source.bytes.data(), source.rows(), source.columns(), codes.data(), scales.data());
  std::vector<TensorDeclaration> tensors = {{name, DType::kI8, source.shape},
                                            {"model.layers.0.mlp.up_proj.SCB", DType::kF32, {source.rows()}}};
  for (const ExpectedTensor& t : ExpectedTensors(plain.spec())) {
    if (t.name != name) tensors.push_back({t.name, plain.Find(t.name)->dtype, t.shape});
  }
  SafetensorsWriter writer(folder + "/model.safetensors", tensors);
  for (const TensorDeclaration& next : writer.order()) {
    writer.Write(next.name, next.name == name ? std::as_bytes(std::span(codes))
                            : next.dtype == DType::kF32 && next.name.ends_with(".SCB")
                                ? std::as_bytes(std::span(scales))
                                : plain.Find(next.name)->bytes);
  }
  writer.Commit();
  SetConfig(folder, "quantization_config", {{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}});
  const ModelFiles model = ModelFiles::Open(folder);
  EXPECT_EQ(model.Find(name)->dtype, DType::kInt8Rows);
  std::vector<float> want(codes.size());
  DecodeInt8Rows(codes.data(), scales.data(), source.rows(), source.columns(), want.data());
  EXPECT_EQ(ReadAll(model, name), want);
}

TEST(ModelFiles, GgufRowsComeBackInHuggingFaceOrder) {
  const ModelFiles model = ModelFiles::Open(kData + "/gguf/tiny_llama_mixed.gguf");
  ASSERT_TRUE(model.is_gguf());
  const ModelSpec& spec = model.spec();
  EXPECT_EQ(spec.head_dim, 16);
  const SafetensorsFile reference(kData + "/gguf/dequantized.safetensors");
  for (const ExpectedTensor& expected : ExpectedTensors(spec)) {
    const TensorView* stored = reference.Find(expected.gguf_name);
    ASSERT_NE(stored, nullptr);
    const std::vector<float> got = ReadAll(model, expected.name);
    std::vector<float> wanted(got.size());
    DecodeBlocks(DType::kF32, stored->bytes.data(), static_cast<int64_t>(wanted.size()), wanted.data());
    const int64_t columns = model.Find(expected.name)->columns();
    for (size_t i = 0; i < got.size(); ++i) {
      const auto row = static_cast<int64_t>(i) / columns, column = static_cast<int64_t>(i) % columns;
      int64_t source = row;
      if (expected.is_rotated) {  // row j of a head is stored at 2j, row j + 8 at 2j + 1
        const int64_t j = row % 16;
        source = row / 16 * 16 + (j < 8 ? 2 * j : 2 * (j - 8) + 1);
      }
      const float want = wanted[static_cast<size_t>(source * columns + column)];
      ASSERT_NEAR(got[i], want, std::abs(want) * 2e-7f) << expected.name;
    }
  }
}

TEST(ModelFiles, PartsAndBfloat16AgreeWithTheWhole) {
  const ModelFiles model = ModelFiles::Open(kData + "/gguf/tiny_llama_mixed.gguf");
  for (const std::string name : {"model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight",
                                 "model.layers.0.mlp.down_proj.weight", "model.norm.weight", "lm_head.weight"}) {
    const StoredTensor& tensor = *model.Find(name);
    const std::vector<float> whole = ReadAll(model, name);
    const int64_t columns = tensor.columns(), first = 5, rows = tensor.rows() - 11;
    std::vector<float> part(static_cast<size_t>(rows * columns));
    std::vector<uint16_t> narrow(part.size());
    model.ReadRows(tensor, first, rows, part.data());
    model.ReadRowsBf16(tensor, first, rows, narrow.data());
    for (size_t i = 0; i < part.size(); ++i) {
      ASSERT_EQ(part[i], whole[i + static_cast<size_t>(first * columns)]) << name;
      ASSERT_EQ(narrow[i], FloatToBf16(part[i])) << name;
    }
    model.DropPages(tensor);
    EXPECT_EQ(ReadAll(model, name), whole);  // dropped pages come back
    EXPECT_THROW(model.ReadRows(tensor, tensor.rows() - 1, 2, part.data()), Error);
    EXPECT_THROW(model.ReadRows(tensor, -1, 1, part.data()), Error);
  }
}

TEST(ModelFiles, TheModelPrefixIsOptional) {
  const std::string folder = CopyOf("llama_tied_bias", "no_prefix");
  const ModelFiles original = ModelFiles::Open(kData + "/models/llama_tied_bias");
  RewriteWeights(folder, [](const std::string& name) { return std::vector{name.substr(6)}; });
  const ModelFiles model = ModelFiles::Open(folder);
  EXPECT_EQ(ReadAll(model, "model.norm.weight"), ReadAll(original, "model.norm.weight"));
}

TEST(ModelFiles, ATiedHeadInTheFileIsIgnoredIfEqualAndUsedIfNot) {
  const std::string equal = CopyOf("llama_tied_bias", "tied_equal");
  RewriteWeights(equal, [](const std::string& name) {
    return name == "model.embed_tokens.weight" ? std::vector<std::string>{name, "lm_head.weight"} : std::vector{name};
  });
  const ModelFiles tied = ModelFiles::Open(equal);
  EXPECT_TRUE(tied.spec().tie_word_embeddings);
  EXPECT_EQ(tied.ignored_tensors(), std::vector<std::string>{"lm_head.weight"});
  EXPECT_EQ(tied.Find("lm_head.weight"), nullptr);

  const std::string different = CopyOf("llama", "tied_different");
  std::string config = ReadFile(different + "/config.json");
  config.replace(config.find("\"tie_word_embeddings\": false"), 28, "\"tie_word_embeddings\": true ");
  WriteFileAtomic(different + "/config.json", config);
  const ModelFiles untied = ModelFiles::Open(different);
  EXPECT_FALSE(untied.spec().tie_word_embeddings);
  EXPECT_NE(untied.Find("lm_head.weight"), nullptr);

  RewriteWeights(equal, [](const std::string& name) {
    return name == "model.embed_tokens.weight" ? std::vector<std::string>{} : std::vector{name};
  });
  EXPECT_NE(ModelFiles::Open(equal).Find("model.embed_tokens.weight"), nullptr);  // stored as the head only
}

TEST(ModelFiles, NamesMissingAndMisshapedTensors) {
  const std::string missing = CopyOf("llama", "missing_tensor");
  RewriteWeights(missing, [](const std::string& name) {
    return name == "model.layers.1.mlp.up_proj.weight" ? std::vector<std::string>{} : std::vector{name};
  });
  EXPECT_NE(OpenError(missing).find("\"model.layers.1.mlp.up_proj.weight\" is missing"), std::string::npos);

  const std::string shape = CopyOf("llama", "wrong_shape");
  std::string config = ReadFile(shape + "/config.json");
  config.replace(config.find("\"intermediate_size\": 40"), 23, "\"intermediate_size\": 44");
  WriteFileAtomic(shape + "/config.json", config);
  const std::string error = OpenError(shape);
  EXPECT_NE(error.find("has shape (40, 36), but the configuration asks for (44, 36)"), std::string::npos) << error;
}

TEST(ModelFiles, ExtraTensorsOfAFolderAreListed) {
  const std::string folder = CopyOf("llama", "extra");
  RewriteWeights(folder, [](const std::string& name) {
    return name == "model.norm.weight" ? std::vector<std::string>{name, "model.layers.0.self_attn.rotary_emb.inv_freq"}
                                       : std::vector{name};
  });
  EXPECT_EQ(ModelFiles::Open(folder).ignored_tensors(),
            std::vector<std::string>{"model.layers.0.self_attn.rotary_emb.inv_freq"});
}

TEST(ModelFiles, LooksInTheHuggingFaceCache) {
  const std::string hub = testing::TempDir() + "/hub";
  std::filesystem::remove_all(hub);
  const std::string repository = hub + "/models--org--tiny";
  MakeDirectories(repository + "/refs");
  MakeDirectories(repository + "/snapshots");
  std::filesystem::copy(kData + "/models/llama", repository + "/snapshots/abc123");
  WriteFileAtomic(repository + "/refs/main", "abc123\n");
  ::setenv("HF_HUB_CACHE", hub.c_str(), 1);
  const ModelFiles model = ModelFiles::Open("org/tiny");
  EXPECT_EQ(model.base_name(), "org/tiny");
  EXPECT_EQ(model.path(), repository + "/snapshots/abc123");
  const std::string error = OpenError("org/absent");
  EXPECT_NE(error.find("hf download org/absent"), std::string::npos) << error;
  WriteFileAtomic(repository + "/refs/main", "../../../x");
  EXPECT_NE(OpenError("org/tiny").find("no such"), std::string::npos);
  EXPECT_NE(OpenError("../no-such-folder").find("no such"), std::string::npos);
  ::unsetenv("HF_HUB_CACHE");
}

TEST(ModelFiles, SaysWhatAFolderIsInstead) {
  EXPECT_NE(OpenError(kData + "/lora/llama_all7_r16").find("is an adapter"), std::string::npos);
  EXPECT_NE(OpenError(kData + "/gguf").find("no config.json"), std::string::npos);
  EXPECT_NE(OpenError(kData + "/models/llama/config.json").find("not a GGUF file"), std::string::npos);
}

}  // namespace attune::model_files_test
