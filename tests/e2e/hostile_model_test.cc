// Models made to do harm, or broken on the way: each is one short line and exit code 2, with nothing left behind.
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "program.h"

namespace attune::hostile_model_test {

using Json = nlohmann::json;

class HostileModel : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    ASSERT_EQ(Attune({"synth", "--shape", "tiny", "--output", "model"}).exit_code, 0);
  }
  Json Read(const std::string& name) const { return Json::parse(ReadFile(Path("model/" + name))); }
  void Write(const std::string& name, const std::string& text) const { WriteFileAtomic(Path("model/" + name), text); }
  void ExpectNothing() const {
    EXPECT_FALSE(std::filesystem::exists(Path("out")));
    EXPECT_FALSE(std::filesystem::exists(Path("out.partial")));
  }

  // The weights' header with one change, the data as they are.
  void ChangeHeader(const std::function<void(Json&)>& change) const {
    const std::string file = ReadFile(Path("model/model.safetensors"));
    uint64_t size;
    std::memcpy(&size, file.data(), sizeof size);
    Json header = Json::parse(file.substr(8, size));
    change(header);
    const std::string text = header.dump();
    const uint64_t length = text.size();
    Write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + text + file.substr(8 + size));
  }
};

TEST_F(HostileModel, WeightsThatAreNotFiniteAreSaid) {
  std::string weights = ReadFile(Path("model/model.safetensors"));
  weights.replace(weights.size() / 2, weights.size() - weights.size() / 2, weights.size() - weights.size() / 2, '\xff');
  Write("model.safetensors", weights);
  ExpectRefused({"generate", "--model", "model", "--prompt", "hi", "--max_new_tokens", "2"}, "damaged");
  ExpectRefused({"export", "--model", "model", "--format", "safetensors", "--output", "out"}, "not finite");
  ExpectRefused({"quantize", "--model", "model", "--output", "out"}, "not finite");
  ExpectNothing();
  // No rate of learning helps, so the tensor is named and not the rate.
  WriteFileAtomic(Path("rows.jsonl"), "{\"text\": \"some words\"}\n{\"text\": \"others\"}\n");
  for (const char* method : {"lora", "full"}) {
    ExpectRefused({"train", "--model", "model", "--data", "rows.jsonl", "--method", method, "--output_dir",
                   std::string("run-") + method, "--skip_nonfinite", "3"},
                  "model: \"model.layers");
  }
}

TEST_F(HostileModel, WhatAFileSaysStaysOneShortLine) {
  Json config = Read("config.json");
  std::string type = "yarn";
  for (int i = 0; i < 5000; ++i) type += "\n\x1b[2J";
  config["rope_parameters"] = {{"rope_theta", 10000.0}, {"rope_type", type}};
  Write("config.json", config.dump());
  ExpectRefused({"info", "model"}, "yarn \xEF\xBF\xBD[2J");
  EXPECT_LT(Attune({"info", "model"}).err.size(), 10000u);
}

TEST_F(HostileModel, ATokenizerCannotMakeEveryTextEndless) {
  Json tokenizer = Read("tokenizer.json");
  const Json piece = {{"SpecialToken", {{"id", "s"}, {"type_id", 0}}}};
  tokenizer["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", std::vector<Json>(5000, piece)},
      {"pair", Json::array()},
      {"special_tokens", {{"s", {{"id", "s"}, {"ids", std::vector<int>(1000, 1)}, {"tokens", {"a"}}}}}}};
  Write("tokenizer.json", tokenizer.dump());
  ExpectRefused({"tokenize", "--model", "model", "--text", "hi"}, "1024");
}

TEST_F(HostileModel, SizesThatCannotBe) {
  const std::string config = ReadFile(Path("model/config.json"));
  const std::vector<std::pair<std::string, Json>> values = {{"hidden_size", int64_t{1} << 62},
                                                            {"num_attention_heads", 0},
                                                            {"num_attention_heads", 5},
                                                            {"num_key_value_heads", 3},
                                                            {"vocab_size", 1},
                                                            {"num_hidden_layers", int64_t{1} << 40},
                                                            {"rms_norm_eps", -1},
                                                            {"intermediate_size", nullptr}};
  for (const auto& [key, value] : values) {
    Json changed = Json::parse(config);
    changed[key] = value;
    Write("config.json", changed.dump());
    SCOPED_TRACE(key + " " + value.dump());
    ExpectRefused({"info", "model"}, "");
    ExpectRefused({"export", "--model", "model", "--format", "safetensors", "--output", "out"}, "");
    ExpectNothing();
  }
}

TEST_F(HostileModel, TensorsThatCannotBe) {
  const std::string weights = ReadFile(Path("model/model.safetensors"));
  const std::string name = "model.norm.weight";
  const std::vector<std::pair<std::string, Json>> values = {{"data_offsets", {0, int64_t{1} << 62}},
                                                            {"data_offsets", {8, 0}},
                                                            {"data_offsets", {-8, 8}},
                                                            {"shape", {int64_t{1} << 62, 4}},
                                                            {"shape", {int64_t{1} << 32, int64_t{1} << 32}},
                                                            {"dtype", "F8_E4M3"}};
  for (const auto& [key, value] : values) {
    Write("model.safetensors", weights);
    ChangeHeader([&](Json& header) { header[name][key] = value; });
    SCOPED_TRACE(key + " " + value.dump());
    ExpectRefused({"info", "model"}, name);
    ExpectRefused({"quantize", "--model", "model", "--output", "out"}, name);
    ExpectNothing();
  }
}

TEST_F(HostileModel, AnIndexThatLeavesItsFolder) {
  std::filesystem::rename(Path("model/model.safetensors"), Path("outside.safetensors"));
  Write("model.safetensors.index.json", Json{{"weight_map", {{"model.norm.weight", "../outside.safetensors"}}}}.dump());
  ExpectRefused({"info", "model"}, "../outside.safetensors");
}

TEST_F(HostileModel, RandomWeightsOfNoWidth) {
  WriteFileAtomic(Path("rows.jsonl"), "{\"text\": \"some words\"}\n");
  Json config = Read("config.json");
  for (const Json& range : {Json("x"), Json(-1), Json(0), Json(1e308), Json::array()}) {
    config["initializer_range"] = range;
    Write("config.json", config.dump());
    SCOPED_TRACE(range.dump());
    ExpectRefused({"train", "--init_from_config", "model/config.json", "--tokenizer", "model", "--method", "full",
                   "--data", "rows.jsonl", "--output_dir", "out"},
                  "\"initializer_range\" must be a number above 0");
    ExpectNothing();
  }
}

TEST_F(HostileModel, AnAdapterWhoseRunIsNoRecord) {
  WriteFileAtomic(Path("rows.jsonl"), "{\"text\": \"some words\"}\n");
  ASSERT_EQ(Attune({"train", "--model", "model", "--data", "rows.jsonl", "--output_dir", "run", "--max_steps", "1"})
                .exit_code,
            0);
  for (const char* record : {"null", "[]", "3", "\"x\""}) {
    WriteFileAtomic(Path("run/run.json"), record);
    ExpectRefused({"merge", "--model", "model", "--adapter", "run", "--output", "out"}, "is no record of a run");
    ExpectRefused({"resume", "run"}, "is no record of a run");
    ExpectNothing();
  }
}

}  // namespace attune::hostile_model_test
