// attune tokenizer train from outside: what it writes and prints, and the one line and exit code 2 for what
// is wrong.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"

namespace attune::tokenizer_train_test {

class TokenizerTrain : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/tokenizer-train-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/corpus");
    std::string lines;
    for (int i = 0; i < 200; ++i) lines += "the cat sat on mat number " + std::to_string(i) + "\n";
    Write("corpus/a.txt", lines);
    Write("corpus/b.jsonl", "{\"text\": \"a dog, a bird\\nand a fish\"}\n");
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& content) const {
    WriteFileAtomic(Path(name), content);
    return Path(name);
  }
  // Standard output and error are left in files of these names.
  int Run(const std::string& arguments) const {
    const std::string command = std::string(ATTUNE_BINARY_DIR) + "/attune tokenizer train " + arguments + " >" +
                                Path("stdout") + " 2>" + Path("stderr") + " </dev/null";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void ExpectRefused(const std::string& arguments, const std::string& piece) const {
    EXPECT_EQ(Run(arguments), 2) << arguments;
    const std::string error = ReadFile(Path("stderr"));
    EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 1) << error;
    EXPECT_NE(error.find(piece), std::string::npos) << error;
    EXPECT_EQ(ReadFile(Path("stdout")), "");
    EXPECT_FALSE(std::filesystem::exists(Path("out")));
    EXPECT_FALSE(std::filesystem::exists(Path("out.partial")));
  }

  std::string folder_;
};

TEST_F(TokenizerTrain, WritesAFolderAndTellsOfIt) {
  for (const std::string type : {"bpe", "unigram"}) {
    const std::string out = Path(type), size = type == "bpe" ? "310" : "298";  // what so little text can give
    ASSERT_EQ(Run("--input " + Path("corpus") + " --vocab_size " + size + " --model_type " + type +
                  " --special_tokens '<tool>,<think>' --chat_template chatml --json --output " + out),
              0)
        << ReadFile(Path("stderr"));
    const auto result = nlohmann::json::parse(ReadFile(Path("stdout")));
    EXPECT_EQ(result["vocab_size"], std::stoi(size));
    EXPECT_EQ(result["files"], 2);
    EXPECT_EQ(result["texts"], 201);
    EXPECT_GT(result["bytes_per_token"].get<double>(), type == "bpe" ? 2 : 0.5);
    for (const char* file : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model"}) {
      EXPECT_TRUE(FileExists(out + "/" + file)) << file;
    }
    const auto config = nlohmann::json::parse(ReadFile(out + "/tokenizer_config.json"));
    EXPECT_EQ(config["eos_token"], "<|im_end|>");
    EXPECT_TRUE(config["chat_template"].is_string());
    // The same again gives the same bytes; into the same folder it is refused.
    ASSERT_EQ(Run("--input " + Path("corpus") + " --vocab_size " + size + " --model_type " + type +
                  " --special_tokens '<tool>,<think>' --chat_template chatml --output " + out + "2"),
              0);
    for (const char* file : {"tokenizer.json", "tokenizer.model"}) {
      EXPECT_EQ(ReadFile(out + "/" + file), ReadFile(out + "2/" + file));
    }
    EXPECT_EQ(Run("--input " + Path("corpus") + " --vocab_size 310 --output " + out), 2);
    EXPECT_NE(ReadFile(Path("stderr")).find("exists already"), std::string::npos);
  }
}

TEST_F(TokenizerTrain, WhatIsWrongIsOneLine) {
  const std::string out = " --output " + Path("out"), corpus = "--input " + Path("corpus");
  ExpectRefused(corpus + " --vocab_size 100000" + out, "use at most ");
  ExpectRefused(corpus + " --vocab_size 12" + out, "vocab_size is 12");
  ExpectRefused(corpus + " --vocab_size 310 --model_type words" + out, "--model_type words");
  ExpectRefused(corpus + " --vocab_size 310 --chat_template mine" + out, "--chat_template mine");
  ExpectRefused(corpus + out, "vocab_size");
  ExpectRefused("--input " + Path("none.txt") + " --vocab_size 310" + out, "none.txt");
  ExpectRefused("--input " + Write("bad.txt", "fine\n\xFF\n") + " --vocab_size 310" + out, "bad.txt:2: ");
  ExpectRefused("--input " + Write("empty.txt", "\n") + " --vocab_size 310" + out, "no text");
}

}  // namespace attune::tokenizer_train_test
