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
  // No rate of learning helps, so the tensor is named and not the rate; nothing is left of a run that never began.
  WriteFileAtomic(Path("rows.jsonl"), "{\"text\": \"some words\"}\n{\"text\": \"others\"}\n");
  for (const char* method : {"lora", "qlora", "full"}) {
    ExpectRefused({"train", "--model", "model", "--data", "rows.jsonl", "--method", method, "--output_dir", "out",
                   "--skip_nonfinite", "3"},
                  "\"model.layers");
    ExpectNothing();
  }
  EXPECT_EQ(Attune({"runs", "list", "--json"}).out.find(Path("out")), std::string::npos);
  ExpectRefused({"eval", "--model", "model", "--data", "rows.jsonl"}, "model: the loss is not finite");
  ExpectRefused({"advise", "--model", "model", "--data", "rows.jsonl", "--output", "out"}, "the loss is not finite");
  for (const char* by : {"loss", "diverse"}) {
    ExpectRefused({"data", "select", "rows.jsonl", "--model", "model", "--rows", "1", "--by", by, "--output", "out"},
                  "is not finite: the weights of the model");
  }
  ExpectNothing();
}

// The weights are finite, and no update has been made that a lower rate would have made smaller.
TEST_F(HostileModel, ALossThatIsNotFiniteBeforeAnyUpdateIsNotPutDownToTheRate) {
  WriteFileAtomic(Path("rows.jsonl"), "{\"text\": \"some words\"}\n{\"text\": \"others\"}\n");
  const Outcome outcome = Attune({"train", "--model", "model", "--data", "rows.jsonl", "--lora_alpha", "1e30",
                                  "--init_lora_weights", "false", "--output_dir", "run"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("learning_rate is not why"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("lora_alpha"), std::string::npos) << outcome.err;
  EXPECT_EQ(Json::parse(ReadFile(Path("run/run.json")))["status"], "failed");
}

TEST_F(HostileModel, WhatStaysAsItIsIsLookedAtToo) {
  std::string weights = ReadFile(Path("model/model.safetensors"));
  uint64_t size;
  std::memcpy(&size, weights.data(), sizeof size);
  const Json header = Json::parse(weights.substr(8, size));
  const size_t head = 8 + size + header["lm_head.weight"]["data_offsets"][0].get<size_t>();
  weights.replace(head, 2, "\x80\x7f");  // infinity
  Write("model.safetensors", weights);
  ExpectRefused({"quantize", "--model", "model", "--output", "out"}, "\"lm_head.weight\" holds a value that is not");
  ExpectNothing();
}

TEST_F(HostileModel, EndTokensThatAreNone) {
  const auto generate = [&](const Json& id) {
    Write("generation_config.json", Json{{"eos_token_id", id}}.dump());
    return std::vector<std::string>{"generate", "--model", "model", "--prompt", "hi", "--max_new_tokens", "1"};
  };
  for (const Json& id : {Json("</s>"), Json(2.5), Json::array({Json::array({2})}), Json::object()})
    ExpectRefused(generate(id), "model/generation_config.json: eos_token_id must be");
  for (const Json& id : {Json(-1), Json((int64_t{1} << 32) + 2), Json(nullptr)}) {
    const Outcome outcome = Attune(generate(id));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  }
}

TEST_F(HostileModel, OutputsThatAreNoFiles) {
  Write("ids.json", "[[1, 2]]");  // in the model's folder
  const std::vector<std::string> logits = {"logits", "--model", "model", "--input_ids", "model/ids.json", "--output"};
  for (const auto& [output, piece] : {std::pair<std::string, const char*>{"", "the name of the output is empty"},
                                      {"model", "model: is a folder"},
                                      {std::string(300, 'x'), "is too long for a name"},
                                      {"nowhere/x", "its folder does not exist"}}) {
    std::vector<std::string> arguments = logits;
    arguments.push_back(output);
    ExpectRefused(arguments, piece);
  }
  for (const std::string& output : {std::string("model/config.json/x"), std::string(300, 'x')}) {
    ExpectRefused({"synth", "--shape", "tiny", "--output", output}, output);
    ExpectRefused({"export", "--model", "model", "--format", "safetensors", "--output", output}, output);
  }
  WriteFileAtomic(Path("rows.jsonl"), "{\"text\": \"some words\"}\n");
  ExpectRefused({"data", "preview", "rows.jsonl", "--model", "model", "--html", "nowhere/x"}, "its folder does not");
  ExpectRefused({"data", "select", "rows.jsonl", "--model", "model", "--rows", "1", "--by", "loss", "--scores",
                 "nowhere/x", "--output", "out"},
                "its folder does not");
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
                                                            {"rope_theta", 1e-300},
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
