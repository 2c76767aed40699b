// Scores of rows against evaluation of the same tokens, and vectors of texts, with a made-up model whose
// tokenizer has a token a byte.
#include "app/row_scores.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "app/synth_job.h"
#include "app/text_embedder.h"
#include "app/use_job.h"
#include "base/error.h"
#include "base/file.h"

namespace attune::row_scores_test {

class RowScoresTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/row-scores-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    RunSynth({"tiny", folder_ + "/m"});
    job_.model = folder_ + "/m";
    job_.stage.input = {folder_ + "/rows.jsonl"};
    job_.stage.threads = 2;
  }
  void Write(const std::string& rows) const { WriteFileAtomic(job_.stage.input[0], rows); }
  RowScores Scores() {
    reports_ = 0;
    return ScoreRows(job_, [&](const char*, int64_t, int64_t) { ++reports_; });
  }
  // The loss by token of rows in a file of their own.
  double LossOf(const std::string& rows) const {
    const std::string path = folder_ + "/eval.jsonl";
    WriteFileAtomic(path, rows);
    EvalJob job;
    job.model = job_.model;
    job.data = path;
    return RunEval(job, {}).loss;
  }
  std::string folder_;
  RowScoreJob job_;
  int reports_ = 0;
};

std::string RowOf(const std::string& prompt, const std::string& completion) {
  return nlohmann::json{{"prompt", prompt}, {"completion", completion}}.dump() + "\n";
}

TEST_F(RowScoresTest, AreThoseOfEvaluation) {
  const std::string a = RowOf("What is it?", " A thing."), b = RowOf("Say", " more of it"),
                    text = "{\"text\": \"no prompt\"}\n";
  Write(a + "broken\n" + b + text + a + "{\"prompt\": \"p\", \"completion\": \"\"}\n");
  const RowScores scores = Scores();
  ASSERT_EQ(scores.rows.size(), 6u);
  EXPECT_NEAR(scores.rows[0].loss, LossOf(a), 1e-5);
  EXPECT_NEAR(scores.rows[2].loss, LossOf(b), 1e-5);
  EXPECT_NEAR(scores.rows[3].loss, LossOf(text), 1e-5);
  EXPECT_FALSE(scores.rows[1].scored());
  EXPECT_EQ(scores.refused, 2) << "the broken row and the empty answer";
  EXPECT_FALSE(scores.rows[3].Ifd().has_value()) << "a document has no prompt";
  EXPECT_EQ(scores.rows[4].loss, scores.rows[0].loss);
  EXPECT_GT(reports_, 0);

  // The answer alone: its own tokens behind the one that a text begins with.
  const ModelBundle bundle = OpenModel(job_.model);
  const Tokenizer& tokenizer = bundle.RequireTokenizer();
  const std::string first =
      bundle.special_tokens.contains("bos_token") ? bundle.special_tokens.at("bos_token") : bundle.eos_token();
  std::vector<int32_t> ids = {*tokenizer.TokenToId(first)}, labels = {-100};
  for (const int32_t id : tokenizer.Encode(" A thing." + bundle.eos_token(), false)) {
    ids.push_back(id);
    labels.push_back(id);
  }
  EXPECT_EQ(scores.rows[0].tokens, std::ssize(ids) - 1);
  const double alone = LossOf(nlohmann::json{{"input_ids", ids}, {"labels", labels}}.dump() + "\n");
  EXPECT_NEAR(scores.rows[0].loss_alone, alone, 1e-5);
  EXPECT_NEAR(*scores.rows[0].Ifd(), scores.rows[0].loss / alone, 1e-5);
}

// In a conversation each answer alone stands behind what the chat template opens it with.
TEST_F(RowScoresTest, AnswersOfAConversationStandBehindTheirMark) {
  WriteFileAtomic(job_.model + "/chat_template.jinja",
                  "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}{% if "
                  "add_generation_prompt %}a:{% endif %}");
  const auto turn = [](const char* role, const char* text) {
    return nlohmann::json{{"role", role}, {"content", text}};
  };
  const nlohmann::json messages = {turn("user", "one"), turn("assistant", "two"), turn("user", "more"),
                                   turn("assistant", "three")};
  Write(nlohmann::json{{"messages", messages}}.dump() + "\n");
  const RowScore score = Scores().rows.at(0);
  const ModelBundle bundle = OpenModel(job_.model);
  std::string rows;
  int64_t tokens = 0;
  for (const char* answer : {"two", "three"}) {
    const std::vector<int32_t> mark = bundle.tokenizer->Encode("a:", false),
                               said = bundle.tokenizer->Encode(std::string(answer) + "</s>", false);
    std::vector<int32_t> ids = mark, labels(mark.size(), -100);
    ids.insert(ids.end(), said.begin(), said.end());
    labels.insert(labels.end(), said.begin(), said.end());
    rows += nlohmann::json{{"input_ids", ids}, {"labels", labels}}.dump() + "\n";
    tokens += std::ssize(said);
  }
  EXPECT_EQ(score.tokens, tokens);
  EXPECT_NEAR(score.loss_alone, LossOf(rows), 1e-5);
}

TEST_F(RowScoresTest, AreKeptInAFile) {
  job_.scores = folder_ + "/scores.jsonl";
  Write(RowOf("a", " one") + RowOf("b", " two"));
  const RowScores first = Scores();
  EXPECT_EQ(reports_, 1);
  // Another order, a row more, and a line that a crash cut short.
  AppendFile(job_.scores).Write("{\"row\": \"00");
  Write(RowOf("b", " two") + RowOf("c", " three") + RowOf("a", " one"));
  const RowScores second = Scores();
  EXPECT_EQ(second.rows[2].loss, first.rows[0].loss);
  EXPECT_EQ(second.rows[0].loss_alone, first.rows[1].loss_alone);
  Scores();
  EXPECT_EQ(reports_, 0) << "nothing was left to score";
  const std::string text = ReadFile(job_.scores);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4) << text;

  // Another chat template makes other tokens of a conversation, which are scored anew.
  const auto template_of = [&](const std::string& mark) {
    WriteFileAtomic(job_.model + "/chat_template.jinja",
                    "{% for m in messages %}" + mark +
                        "{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}" + mark +
                        "a:{% endif %}");
  };
  Write(R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})"
        "\n");
  template_of("");
  const double plain = Scores().rows[0].loss;
  template_of("##");
  EXPECT_NE(Scores().rows[0].loss, plain);
  EXPECT_EQ(reports_, 1);
  template_of("");
  EXPECT_EQ(Scores().rows[0].loss, plain);
  EXPECT_EQ(reports_, 0);

  const auto refused = [&](const std::string& piece) {
    try {
      Scores();
      ADD_FAILURE() << "not refused: " << piece;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(piece), std::string::npos) << error.what();
    }
  };
  const std::string whole = ReadFile(job_.scores);
  AppendFile(job_.scores)
      .WriteLine(R"({"row": "0000000000000001", "answer_tokens": 1e300, "loss": 1, "loss_alone": 1})");
  refused("\"answer_tokens\" must be a number of tokens; remove the line");
  WriteFileAtomic(job_.scores, whole);
  job_.max_length = 99;
  refused("max_length 1024, not 99");
  job_.max_length = 1024;
  RunSynth({"tiny", folder_ + "/other", DType::kBF16, 7});
  job_.model = folder_ + "/other";
  refused("head_sha256");
  job_.scores = job_.stage.input[0];
  refused("is no file of scores");
}

TEST_F(RowScoresTest, RowsAsVectors) {
  Write(RowOf("x", " a cat on a mat") + "broken\n" + RowOf("y", " figures of the year") +
        RowOf("x", " a cat on a mat"));
  const Embeddings e = EmbedRows(job_.stage, CompareBy::kBoth, job_.model, {});
  ASSERT_EQ(e.size(), 4u);
  EXPECT_NEAR(Cosine(e.Row(0), e.Row(3)), 1, 1e-5);
  EXPECT_LT(Cosine(e.Row(0), e.Row(2)), 0.5);
  EXPECT_NEAR(Cosine(e.Row(2), e.Row(2)), 1, 1e-5);
  EXPECT_EQ(Cosine(e.Row(1), e.Row(1)), 0);
}

TEST_F(RowScoresTest, ATextHasTheSameVectorInAnyCompany) {
  const ModelBundle bundle = OpenModel(job_.model);
  TextEmbedder embedder(bundle, 28);  // 12 of them are the question's
  std::vector<std::string> texts;
  for (int i = 0; i < 100; ++i)
    texts.push_back("text " + std::to_string(i * i) + std::string(static_cast<size_t>(i % 20), 'x'));
  const Embeddings together = embedder.Embed(texts);
  for (const size_t i : {size_t{0}, size_t{57}, size_t{99}}) {
    EXPECT_NEAR(Cosine(embedder.Embed(std::span(texts).subspan(i, 1)).Row(0), together.Row(i)), 1, 1e-5);
  }
  const std::vector<std::string> long_ones = {"0123456789abcdef and more", "0123456789abcdef or less", ""};
  const Embeddings cut = embedder.Embed(long_ones);
  EXPECT_NEAR(Cosine(cut.Row(0), cut.Row(1)), 1, 1e-5) << "16 tokens of a text are read";
  EXPECT_EQ(Cosine(cut.Row(2), cut.Row(2)), 0);
}

}  // namespace attune::row_scores_test
