// Preview against the trainer: for every format of rows and every setting that moves masks, the tokens that are shown
// as trained are those whose labels training learns from.
#include "app/data_preview.h"

#include <gtest/gtest.h>

#include "app/train_session.h"
#include "base/error.h"
#include "base/file.h"
#include "train/chunks.h"

namespace attune::data_preview_test {

using Json = nlohmann::ordered_json;

const std::string kData = ATTUNE_TEST_DATA;

// A row of each format that training reads, conversations of several turns among them.
const std::vector<std::string>& Conversations() {
  static const std::vector<std::string> rows = {
      R"({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Blue."}, {"role": "user", "content": "Another?"}, {"role": "assistant", "content": "Red, or green."}]})",
      R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "In "}, {"type": "text", "text": "parts"}]}, {"role": "assistant", "content": "Whole."}]})",
      R"({"messages": [{"role": "user", "content": "Nobody answers"}]})",
      R"({"conversations": [{"from": "human", "value": "Grüße?"}, {"from": "gpt", "value": "Größe 😀."}, {"from": "human", "value": "No."}, {"from": "gpt", "value": "Yes."}]})",
      R"({"prompt": [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}, {"role": "user", "content": "Three"}], "completion": [{"role": "assistant", "content": "Four"}]})",
      R"({"instruction": "Add", "input": "1 and 2", "output": "3, of course", "system": "You count."})",
      R"({"instruction": "Say hello", "input": "", "output": "Hello"})",
      R"({"input_ids": [5, 6, 7, 8, 9, 10], "labels": [-100, -100, 7, -100, 9, 10]})",
      R"({"input_ids": [5, 6, 7]})",
      R"({"input_ids": [5, 6], "labels": [5, -100]})",
  };
  return rows;
}

std::vector<std::string> AllRows() {
  std::vector<std::string> rows = Conversations();
  for (const char* row :
       {R"({"prompt": "What is it?", "completion": " A thing, and no other."})",
        R"({"prompt": "", "completion": "Without a question"})", R"({"text": "A document of some words."})",
        R"({"text": "<|im_end|>"})", R"({"input_ids": [5], "labels": [5]})"})
    rows.emplace_back(row);
  return rows;
}

class DataPreviewTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "data-preview-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    RemoveTree(folder_);
    MakeDirectories(folder_ + "/tokenizer");
    WriteFileAtomic(folder_ + "/tokenizer/tokenizer.json", ReadFile(kData + "/tokenizers/qwen2/tokenizer.json"));
    WriteFileAtomic(folder_ + "/tokenizer/tokenizer_config.json", R"({"eos_token": "<|im_end|>"})");
    Json model = Json::parse(ReadFile(kData + "/models/llama/config.json"));
    model["vocab_size"] = 512;
    model["bos_token_id"] = model["eos_token_id"] = model["pad_token_id"] = 2;
    WriteFileAtomic(folder_ + "/config.json", model.dump());
  }

  std::string Write(const std::string& name, const std::vector<std::string>& rows) const {
    std::string text;
    for (const std::string& row : rows) text += row + "\n";
    WriteFileAtomic(folder_ + "/" + name, text);
    return folder_ + "/" + name;
  }

  RunConfig Config(const std::string& rows, const std::string& chat_template, const std::vector<Setting>& more) const {
    std::vector<Setting> settings = {{"model.init_from_config", folder_ + "/config.json"},
                                     {"model.tokenizer", folder_ + "/tokenizer"},
                                     {"data.train", rows}};
    if (!chat_template.empty())
      settings.emplace_back("model.chat_template", kData + "/chat/" + chat_template + "/template.jinja");
    settings.insert(settings.end(), more.begin(), more.end());
    return LoadConfig("", settings, ConfigUse::kPlan);
  }

  static DataPreview Preview(const RunConfig& config) {
    DataPreviewJob job;
    job.stage.input = {config.train_data};
    job.config = config;
    job.rows = 1000;
    return RunDataPreview(job);
  }

  // What is shown is what training holds, token by token, and rows without anything to learn are those it drops.
  static void ExpectSameAsTraining(const RunConfig& config) {
    const DataPreview preview = Preview(config);
    TrainEvents silent;
    const TrainSession session(config, silent, TrainSession::Use::kPlan);
    const std::vector<Example>& examples = session.inputs().train;
    size_t next = 0;
    int64_t trained_in_all = 0;
    for (const PreviewRow& row : preview.rows) {
      std::vector<int32_t> ids;
      std::vector<bool> trained;
      for (const PreviewToken& token : row.tokens) {
        if (token.cut) continue;
        ids.push_back(token.id);
        trained.push_back(token.trained);
      }
      if (std::count(trained.begin(), trained.end(), true) == 0) continue;
      ASSERT_LT(next, examples.size()) << row.where;
      const Example& example = examples[next++];
      ASSERT_TRUE(row.where.ends_with(":" + std::to_string(example.row_line))) << row.where << " " << example.row_line;
      EXPECT_EQ(ids, example.input_ids) << row.where;
      for (size_t i = 0; i < std::min(ids.size(), example.labels.size()); ++i) {
        const bool learned = i > 0 && example.labels[i] != kIgnoredLabel;
        EXPECT_EQ(trained[i], learned) << row.where << " token " << i;
        if (learned) {
          EXPECT_EQ(example.labels[i], ids[i]);
        }
      }
      EXPECT_EQ(row.trained - row.cut_trained, ShapeOf(example).labelled) << row.where;
      trained_in_all += ShapeOf(example).labelled;
    }
    EXPECT_EQ(next, examples.size()) << "training has rows that preview does not show";
    EXPECT_EQ(preview.counts.rows - preview.counts.nothing, std::ssize(examples));
    EXPECT_EQ(preview.counts.refused, 0);
    EXPECT_EQ(preview.counts.trained_tokens - preview.counts.cut_trained, trained_in_all);
    EXPECT_EQ(session.train_stats().trained_tokens, trained_in_all);
  }

  std::string folder_;
};

TEST_F(DataPreviewTest, MarksWhatTrainingLearnsFrom) {
  const std::string rows = Write("rows.jsonl", AllRows());
  for (const char* name : {"chatml", "chatml_default_system", "generation_chatml", "zephyr"}) {
    SCOPED_TRACE(name);
    ExpectSameAsTraining(Config(rows, name, {}));
    ExpectSameAsTraining(Config(rows, name, {{"completion_only_loss", "false"}}));
  }
}

TEST_F(DataPreviewTest, MarksWhatTrainingLearnsFromWithoutAChatTemplate) {
  std::vector<std::string> rows = AllRows();
  std::erase_if(rows, [](const std::string& row) {
    return row.find("\"role\"") != row.npos || row.find("\"from\"") != row.npos;
  });
  ExpectSameAsTraining(Config(Write("rows.jsonl", rows), "", {}));
  ExpectSameAsTraining(Config(Write("rows.txt", {"A line", "", "  another one  ", "{\"text\": 1}"}), "", {}));
}

TEST_F(DataPreviewTest, MarksOfTheAssistantAlone) {
  const std::string rows = Write("rows.jsonl", Conversations());
  for (const char* name : {"chatml", "generation_chatml"}) {
    SCOPED_TRACE(name);
    ExpectSameAsTraining(Config(rows, name, {{"assistant_only_loss", "true"}}));
    ExpectSameAsTraining(Config(rows, name, {{"assistant_only_loss", "true"}, {"completion_only_loss", "false"}}));
  }
}

TEST_F(DataPreviewTest, MarksOfRowsThatAreCut) {
  const std::string rows = Write("rows.jsonl", AllRows());
  for (const char* length : {"1", "2", "5", "12", "30", "null"}) {
    for (const char* mode : {"keep_start", "keep_end"}) {
      SCOPED_TRACE(fmt::format("{} {}", length, mode));
      const RunConfig config = Config(rows, "chatml", {{"max_length", length}, {"truncation_mode", mode}});
      if (std::string(length) != "1") {
        ExpectSameAsTraining(config);
      } else {  // one token predicts nothing
        EXPECT_THROW(Preview(config), Error);
        TrainEvents silent;
        EXPECT_THROW(TrainSession(config, silent, TrainSession::Use::kPlan), Error);
      }
    }
  }
}

TEST_F(DataPreviewTest, PackingCutsInItsOwnWay) {
  const std::string rows = Write("rows.jsonl", AllRows());
  for (const auto& [strategy, loses] : {std::pair("bfd", true), {"bfd_split", false}, {"wrapped", false}}) {
    const RunConfig config = Config(
        rows, "chatml",
        {{"packing", "true"}, {"packing_strategy", strategy}, {"max_length", "12"}, {"truncation_mode", "keep_end"}});
    const DataPreview preview = Preview(config);
    EXPECT_EQ(preview.counts.cut_rows > 0, loses) << strategy;
    TrainEvents silent;
    const TrainSession session(config, silent, TrainSession::Use::kPlan);
    if (!loses) continue;
    int64_t learned = 0;
    for (const Example& example : session.inputs().train) learned += ShapeOf(example).labelled;
    EXPECT_EQ(preview.counts.trained_tokens - preview.counts.cut_trained, learned);
  }
}

TEST_F(DataPreviewTest, TextShowsWhereTheStartIsCut) {
  const std::string rows = Write("rows.jsonl", {R"({"prompt": "abc", "completion": " def"})"});
  const DataPreview preview = Preview(Config(rows, "", {{"max_length", "4"}, {"truncation_mode", "keep_end"}}));
  ASSERT_EQ(preview.rows.size(), 1u);
  EXPECT_EQ(PreviewText(preview.rows[0], false), "✂ab✂c⟦ def<|im_end|>⟧");
}

}  // namespace attune::data_preview_test
