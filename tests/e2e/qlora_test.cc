// LoRA on quantised bases from outside: packed while it is read, packed already, the blocks of a GGUF file; what cannot
// be is refused; a merged result is compared before it counts.
#include "training.h"

namespace attune::qlora_test {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;
using Json = nlohmann::json;

const std::string kData = ATTUNE_TEST_DATA;

class QloraTest : public TrainingTest {
 protected:
  Arguments On(const std::string& model, const std::string& output, const Arguments& more) const {
    Arguments arguments = {"train",
                           "--model",
                           model,
                           "--data",
                           Path("rows.jsonl"),
                           "--output_dir",
                           Path(output),
                           "--logging_steps",
                           "1",
                           "--max_steps",
                           "4",
                           "--target_modules",
                           "all-linear",
                           "--lora_dropout",
                           "0.1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::vector<double> Losses(const std::string& output) const {
    std::vector<double> losses;
    for (const Json& line : Metrics(output)) {
      if (line.contains("loss")) losses.push_back(line["loss"]);
    }
    return losses;
  }
};

// Quantising while reading is what quantising to a folder and training on that is.
TEST_F(QloraTest, PackedWhileReadIsThePackedFolder) {
  const Arguments settings = {
      "--load_in_4bit", "true", "--bnb_4bit_quant_type", "nf4", "--bnb_4bit_use_double_quant", "true"};
  const Outcome read = Run(On(Llama(), "read", settings));
  ASSERT_EQ(read.exit_code, 0) << read.err;
  EXPECT_EQ(ReadJson("read/run.json")["method"], "qlora");
  const Outcome quantize =
      Run({"quantize", "--model", Llama(), "--output", Path("packed"), "--bnb_4bit_use_double_quant", "true"});
  ASSERT_EQ(quantize.exit_code, 0) << quantize.err;
  const Outcome packed = Run(On(Path("packed"), "on_packed", {"--method", "qlora"}));
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  const Outcome chosen = Run(On(Llama(), "chosen", {"--method", "qlora"}));  // nf4 with double quantisation
  ASSERT_EQ(chosen.exit_code, 0) << chosen.err;
  const Outcome plain = Run(On(Llama(), "plain", {}));
  ASSERT_EQ(plain.exit_code, 0) << plain.err;
  EXPECT_EQ(Losses("read"), Losses("on_packed"));
  EXPECT_EQ(Losses("read"), Losses("chosen"));
  EXPECT_NE(Losses("read"), Losses("plain"));
  EXPECT_TRUE(SameFile("read/adapter_model.safetensors", "on_packed/adapter_model.safetensors"));
}

TEST_F(QloraTest, EightBitsAreCloserThanFour) {
  for (const std::string bits : {"4", "8"}) {
    const Outcome outcome = Run(On(Llama(), bits, {"--load_in_" + bits + "bit", "true"}));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  ASSERT_EQ(Run(On(Llama(), "plain", {})).exit_code, 0);
  const double plain = Losses("plain")[0];
  EXPECT_LT(std::abs(Losses("8")[0] - plain), std::abs(Losses("4")[0] - plain));
  EXPECT_NE(Losses("8")[0], plain);
}

TEST_F(QloraTest, ResumesToTheSameBits) {
  const Arguments settings = {"--method", "qlora", "--save_steps", "2", "--optim", "paged_adamw_8bit"};
  ASSERT_EQ(Run(On(Llama(), "straight", settings)).exit_code, 0);
  fs::remove_all(Path("straight/checkpoint-4"));
  fs::copy(Path("straight"), Path("again"), fs::copy_options::recursive);
  fs::remove(Path("again/adapter_model.safetensors"));
  Json record = ReadJson("again/run.json");
  record["status"] = "failed";
  WriteFileAtomic(Path("again/run.json"), record.dump());
  const Outcome resumed = Run({"resume", Path("again")});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_TRUE(SameFile("straight/adapter_model.safetensors", "again/adapter_model.safetensors"));
}

TEST_F(QloraTest, TrainsOnTheBlocksOfAGgufFile) {
  const std::string gguf = kData + "/gguf/tiny_llama_mixed.gguf";
  WriteFileAtomic(Path("rows.jsonl"), "{\"input_ids\": [1, 5, 9, 13, 2]}\n{\"input_ids\": [4, 8, 15, 16, 23, 42]}\n");
  ASSERT_EQ(Run({"export", "--model", gguf, "--format", "safetensors", "--output", Path("plain")}).exit_code, 0);
  ASSERT_EQ(Run(On(gguf, "blocks", {"--bf16", "false"})).exit_code, 0);
  ASSERT_EQ(Run(On(Path("plain"), "values", {"--bf16", "false"})).exit_code, 0);
  EXPECT_EQ(Losses("blocks"), Losses("values"));
  const auto planned = [&](const std::string& run) {
    return ReadJson(run + "/run.json")["planned_bytes"].get<int64_t>();
  };
  EXPECT_LT(planned("blocks"), planned("values"));
}

// The same bits, with the base in its file.
TEST_F(QloraTest, OffloadedBasesGiveTheSameBits) {
  ASSERT_EQ(
      Run({"export", "--model", Llama(), "--format", "safetensors", "--output", Path("half"), "--dtype", "bfloat16"})
          .exit_code,
      0);
  const Arguments settings = {"--bf16", "false", "--gradient_checkpointing", "true"};
  ASSERT_EQ(Run(On(Path("half"), "held", settings)).exit_code, 0);
  Arguments offloaded = settings;
  offloaded.insert(offloaded.end(), {"--offload", "true"});
  const Outcome outcome = Run(On(Path("half"), "mapped", offloaded));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE((outcome.out + outcome.err).find("offload: "), std::string::npos);
  EXPECT_TRUE(SameFile("held/adapter_model.safetensors", "mapped/adapter_model.safetensors"));
  const auto weights = [&](const std::string& run) {
    return ReadJson(run + "/run.json")["planned_bytes"].get<int64_t>();
  };
  EXPECT_LT(weights("mapped"), weights("held"));
}

TEST_F(QloraTest, PackedBasesThatStayInTheirFilesGiveTheSameBits) {
  const std::vector<std::pair<std::string, Arguments>> formats = {{"nf4", {"--bnb_4bit_use_double_quant", "true"}},
                                                                  {"fp4", {"--bnb_4bit_quant_type", "fp4"}},
                                                                  {"int8", {"--load_in_8bit", "true"}}};
  for (const auto& [name, format] : formats) {
    Arguments quantize = {"quantize", "--model", Llama(), "--output", Path(name)};
    quantize.insert(quantize.end(), format.begin(), format.end());
    ASSERT_EQ(Run(quantize).exit_code, 0) << name;
    ASSERT_EQ(Run(On(Path(name), name + "-held", {"--method", "qlora"})).exit_code, 0) << name;
    const Outcome mapped = Run(On(Path(name), name + "-mapped", {"--method", "qlora", "--offload", "true"}));
    ASSERT_EQ(mapped.exit_code, 0) << mapped.err;
    EXPECT_TRUE(SameFile(name + "-held/adapter_model.safetensors", name + "-mapped/adapter_model.safetensors")) << name;
    const auto planned = [&](const std::string& run) {
      return ReadJson(name + run + "/run.json")["planned_bytes"].get<int64_t>();
    };
    EXPECT_LT(planned("-mapped"), planned("-held")) << name;
  }
}

// The plan of a run is that of `attune plan`, and says in which type the base is held.
TEST_F(QloraTest, TorchDtypeIsPlanned) {
  std::map<std::string, int64_t> planned;
  for (const std::string dtype : {"auto", "float32", "bfloat16", "float16"}) {
    const Outcome outcome = Run(On(Llama(), dtype, {"--bf16", "false", "--torch_dtype", dtype}));
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    planned[dtype] = ReadJson(dtype + "/run.json")["planned_bytes"].get<int64_t>();
    EXPECT_NEAR(Losses(dtype)[0], Losses("auto")[0], 0.01);
  }
  EXPECT_EQ(planned["float32"], planned["auto"]);  // as it is stored
  EXPECT_LT(planned["bfloat16"], planned["float32"]);
  EXPECT_EQ(planned["bfloat16"], planned["float16"]);
  EXPECT_NE(Losses("float16"), Losses("bfloat16"));
}

TEST_F(QloraTest, WhatCannotBeIsRefused) {
  const auto refused = [&](const Arguments& arguments, const std::vector<std::string>& pieces) {
    ExpectRefused(Run(arguments), pieces);
    EXPECT_FALSE(fs::exists(Path("out")));
  };
  refused(On(kData + "/gguf/tiny_llama_mixed.gguf", "out", {"--load_in_4bit", "true"}),
          {"quantised already", "load_in_4bit"});
  refused(On(kData + "/nf4/llama_nf4_dq", "out", {"--load_in_8bit", "true"}), {"quantised already", "load_in_8bit"});
  refused(On(Llama(), "out", {"--load_in_4bit", "true", "--load_in_8bit", "true"}), {"load_in_4bit", "load_in_8bit"});
  refused(On(Llama(), "out", {"--method", "lora", "--load_in_4bit", "true"}), {"method: qlora"});
  refused(On(Llama(), "out", {"--method", "qlora", "--load_in_4bit", "false"}), {"load_in_4bit"});
  refused(On(Llama(), "out", {"--load_in_4bit", "true", "--bnb_4bit_quant_type", "nf5"}),
          {"bnb_4bit_quant_type", "nf4"});
  refused(On(Llama(), "out", {"--load_in_4bits", "true"}), {"load_in_4bit"});
  refused(On(Llama(), "out", {"--torch_dtype", "float8"}), {"torch_dtype", "bfloat16"});
  refused(On(Llama(), "out", {"--load_in_8bit", "true", "--llm_int8_has_fp16_weight", "true"}),
          {"llm_int8_has_fp16_weight"});
  refused({"train", "--model", Llama(), "--data", Path("rows.jsonl"), "--output_dir", Path("out"), "--method", "full",
           "--torch_dtype", "bfloat16"},
          {"torch_dtype bfloat16", "float32"});
}

TEST_F(QloraTest, MergesAreComparedAndOnlyOntoTheirBase) {
  ASSERT_EQ(Run(On(Llama(), "run", {"--method", "qlora"})).exit_code, 0);
  const Arguments merge = {"merge", "--model", Llama(), "--adapter", Path("run"), "--json", "--output"};
  const auto with = [&](const Arguments& more) {
    Arguments arguments = merge;
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  };
  const Outcome merged = with({Path("merged"), "--dtype", "float32", "--data", Path("held-out.jsonl")});
  ASSERT_EQ(merged.exit_code, 0) << merged.err;
  const Json difference = Json::parse(merged.out)["difference"];
  EXPECT_GT(difference["tokens"], 10);
  EXPECT_LT(difference["largest_logit_difference"], 1e-3);
  EXPECT_LT(difference["mean_kl"], 1e-6);
  EXPECT_EQ(difference["same_best_token"], 1.0);

  // Into 4 bits: with the loss said, and the same as merging to a folder and quantising that.
  const Outcome packed =
      Run({"quantize", "--model", Llama(), "--adapter", Path("run"), "--output", Path("packed"), "--json"});
  ASSERT_EQ(packed.exit_code, 0) << packed.err;
  EXPECT_GT(Json::parse(packed.out)["difference"]["mean_kl"], difference["mean_kl"]);
  ASSERT_EQ(Run({"quantize", "--model", Path("merged"), "--output", Path("twice")}).exit_code, 0);
  EXPECT_TRUE(SameFile("packed/model.safetensors", "twice/model.safetensors"));

  ExpectRefused(Run({"merge", "--model", kData + "/nf4/llama_nf4_dq_blocks_cross_rows", "--adapter", Path("run"),
                     "--output", Path("no")}),
                {"another base", "--any_base"});
  EXPECT_FALSE(fs::exists(Path("no")));
}

}  // namespace attune::qlora_test
