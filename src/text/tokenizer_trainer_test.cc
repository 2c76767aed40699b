// What is trained and written, read back: against SentencePiece's own processor, and against the text.

#include "text/tokenizer_trainer.h"

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "text/chat_renderer.h"
#include "text/tokenizer_json.h"

namespace attune::tokenizer_trainer_test {

using Ids = std::vector<int32_t>;

// Words of several scripts in an order that never repeats, so that there is something to learn.
std::vector<std::string> Corpus(int lines = 400) {
  const std::vector<std::string> words = {
      "the",       "cat",      "sat",    "on",       "a",     "mat,",   "while",  "others", "were",    "running",
      "slowly.",   "It's",     "12",     "2024",     "3.14",  "für",    "größer", "naïve",  "Москва",  "говорит",
      "по-русски", "日本語",   "東京に", "行きます", "مرحبا", "العالم", "שלום",   "नमस्ते",   "दुनिया",   "안녕하세요",
      "세계",      "ελληνικά", "🙂",   "if",       "(x",    "==",     "y)",     "{",      "return;", "}",
      "",          "   ",      "<",      "0",        "x",     "0A>"};
  std::vector<std::string> corpus;
  uint32_t state = 1;
  for (int line = 0; line < lines; ++line) {
    std::string text;
    for (int word = 0; word < 12; ++word) {
      state = state * 1664525 + 1013904223;
      text += (word == 0 ? "" : " ") + words[(state >> 16) % words.size()];
    }
    corpus.push_back(text);
  }
  return corpus;
}

NextText From(const std::vector<std::string>& texts) {
  return [&texts, i = size_t{0}]() mutable -> std::optional<std::string_view> {
    return i < texts.size() ? std::optional<std::string_view>(texts[i++]) : std::nullopt;
  };
}

// Held out: unknown characters, runs of spaces, line ends, what looks like tokens, NUL, decomposed and wide
// forms.
const std::vector<std::string> kTexts = {
    "",
    " ",
    "   ",
    "the cat sat on the mat",
    " leading and trailing  ",
    "two  spaces   and    more     x",
    "line\nbreak\r\n\ttab\n\n\nend\n",
    "unknown: ꙮ 𓀀 ﷽ Ω ½ ǅ \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 é é "
    "ｆｕｌｌ　ｗｉｄｔｈ",
    "日本語と東京に行きます。Москва! مرحبا שלום नमस्ते 안녕하세요",
    "def f(x):\n    return x == 2024 # 3.14159\n",
    "<0x0A> <0x41><0xFF> <0x4 0x41>",
    "12345 9 00 2024",
    std::string("nul\0in", 6),
    "🙂🙂🙂 🏳️‍🌈",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

class TokenizerTrainerTest : public testing::TestWithParam<SubwordModel> {
 protected:
  void SetUp() override {
    std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    std::replace(name.begin(), name.end(), '/', '-');
    folder_ = testing::TempDir() + "/tokenizer-" + name;
    std::filesystem::remove_all(folder_);
    MakeDirectories(folder_);
  }
  // What the corpus can give; unigram finds less in it.
  int64_t vocab_size() const { return GetParam() == SubwordModel::kBpe ? 480 : 400; }
  TokenizerSettings Settings(int64_t vocab_size) const {
    TokenizerSettings settings;
    settings.model = GetParam();
    settings.vocab_size = vocab_size;
    return settings;
  }
  TokenizerSettings Settings() const { return Settings(vocab_size()); }
  std::unique_ptr<Tokenizer> Train(const TokenizerSettings& settings, const std::vector<std::string>& corpus) {
    WriteTrainedTokenizer(TrainTokenizer(settings, From(corpus)), folder_);
    const auto status = processor_.Load(folder_ + "/tokenizer.model");
    EXPECT_TRUE(status.ok()) << status.error_message();
    return TokenizerFromJson(ReadFile(folder_ + "/tokenizer.json"), "tokenizer.json");
  }
  void ExpectSameIds(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      Ids expected;
      ASSERT_TRUE(processor_.Encode(text, &expected).ok());
      EXPECT_EQ(tokenizer.Encode(text, false), expected) << text;
      EXPECT_EQ(tokenizer.Decode(expected, false), text);
    }
  }
  std::string ErrorOf(const TokenizerSettings& settings, const std::vector<std::string>& corpus) const {
    try {
      TrainTokenizer(settings, From(corpus));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      return error.what();
    }
    return "";
  }

  std::string folder_;
  sentencepiece::SentencePieceProcessor processor_;
};

INSTANTIATE_TEST_SUITE_P(Models, TokenizerTrainerTest, testing::Values(SubwordModel::kBpe, SubwordModel::kUnigram),
                         [](const auto& test) { return test.param == SubwordModel::kBpe ? "Bpe" : "Unigram"; });

TEST_P(TokenizerTrainerTest, GivesSentencePiecesIdsAndTheTextBack) {
  const auto tokenizer = Train(Settings(), Corpus());
  EXPECT_EQ(tokenizer->VocabularySize(), vocab_size());
  EXPECT_EQ(processor_.GetPieceSize(), vocab_size());
  ExpectSameIds(*tokenizer, kTexts);
  ExpectSameIds(*tokenizer, Corpus(500));
  for (int32_t id = 0; id < vocab_size(); ++id) EXPECT_EQ(tokenizer->IdToToken(id), processor_.IdToPiece(id));
  // It has learned something.
  EXPECT_EQ(tokenizer->Encode("the the", false).size(), 2u);
  EXPECT_EQ(tokenizer->Encode("2024", false).size(), 5u);  // a space and single digits
  // Runs have many segmentations of one score.
  std::vector<std::string> runs;
  for (size_t length = 1; length < 400; ++length)
    runs.push_back(std::string(length, ' ') + "x" + std::string(length / 3, '='));
  ExpectSameIds(*tokenizer, runs);
}

TEST_P(TokenizerTrainerTest, WithoutADummyPrefixToo) {
  TokenizerSettings settings = Settings();
  settings.add_dummy_prefix = false;
  UseChatMl(&settings);
  const auto tokenizer = Train(settings, Corpus());
  ExpectSameIds(*tokenizer, kTexts);
  const std::string chat = "<s><|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n  on <|im_end|>\n";
  EXPECT_EQ(tokenizer->Decode(tokenizer->Encode(chat, false), false), chat);
}

TEST_P(TokenizerTrainerTest, TheSameTextGivesTheSameBytes) {
  const std::vector<std::string> corpus = Corpus();
  EXPECT_EQ(TrainTokenizer(Settings(), From(corpus)).model_file, TrainTokenizer(Settings(), From(corpus)).model_file);
  TokenizerSettings drawn = Settings(vocab_size() - 20);
  drawn.sample_fraction = 0.5;
  const std::string once = TrainTokenizer(drawn, From(corpus)).model_file;
  EXPECT_EQ(once, TrainTokenizer(drawn, From(corpus)).model_file);
  drawn.seed = 43;
  EXPECT_NE(once, TrainTokenizer(drawn, From(corpus)).model_file);
}

TEST_P(TokenizerTrainerTest, SpecialTokens) {
  TokenizerSettings settings = Settings();
  settings.special_tokens = {"<tool>", "a \"quoted\", token"};
  UseChatMl(&settings);
  const auto tokenizer = Train(settings, Corpus());
  const std::vector<std::string> names = {"<unk>",        "<s>",    "<|im_end|>",         "<pad>",
                                          "<|im_start|>", "<tool>", "a \"quoted\", token"};
  for (size_t id = 0; id < names.size(); ++id) {
    EXPECT_EQ(tokenizer->TokenToId(names[id]), static_cast<int32_t>(id));
    EXPECT_TRUE(tokenizer->IsSpecial(static_cast<int32_t>(id)));
    EXPECT_EQ(tokenizer->Encode(names[id], false), Ids{static_cast<int32_t>(id)});
  }
  EXPECT_EQ(tokenizer->Encode("the", true).front(), 1);  // <s>
  EXPECT_FALSE(tokenizer->IsSpecial(7));
  const FolderChat chat = LoadFolderChat(folder_);
  EXPECT_EQ(chat.special_tokens.at("bos_token"), "<s>");
  EXPECT_EQ(chat.special_tokens.at("eos_token"), "<|im_end|>");
  EXPECT_EQ(chat.special_tokens.at("unk_token"), "<unk>");
  EXPECT_EQ(chat.special_tokens.at("pad_token"), "<pad>");
  ASSERT_TRUE(chat.chat_template);
  ChatOptions options;
  options.add_generation_prompt = true;
  options.special_tokens = chat.special_tokens;
  EXPECT_EQ(RenderChat(*chat.chat_template, {{{"role", "user"}, {"content", "Hi"}}}, options).text,
            "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

// Each of these, learned as a piece, would be a second token of that name, which SentencePiece refuses in the
// end; or makes it skip the line.
TEST_P(TokenizerTrainerTest, TextThatSpellsTokensIsNotLearned) {
  std::vector<std::string> corpus = Corpus();
  for (int i = 0; i < 300; ++i) {
    corpus.push_back("<s>struck</s> <unk><pad> <0x41><0x41> <|im_start|>");
    corpus.push_back("reserved \xE2\x96\x85\xE2\x96\x85 " + std::string(1, '\0') + " \xE2\x96\x81 signs\tand\ttabs");
  }
  TokenizerSettings settings = Settings(vocab_size() + 20);
  settings.special_tokens = {"<|im_start|>"};
  const auto tokenizer = Train(settings, corpus);
  EXPECT_EQ(tokenizer->VocabularySize(), vocab_size() + 20);
  // Unigram counts a word once when it looks for pieces, so these are none for it.
  if (GetParam() == SubwordModel::kBpe) {
    EXPECT_EQ(tokenizer->Encode("struck reserved", false).size(), 2u);
  }
  ExpectSameIds(*tokenizer, {"<0x41>", "\xE2\x96\x85 and\ttabs"});
}

TEST_P(TokenizerTrainerTest, LongLinesAreLearnedFromWhole) {
  // One text without a line end, far beyond what SentencePiece takes as one sentence; its end has words of
  // its own.
  std::string text, chinese;
  for (const std::string& line : Corpus()) text += line + " ";
  for (int i = 0; i < 3000; ++i) text += "zyxwv ", chinese += "語學";
  const auto tokenizer = Train(Settings(), {text, chinese});
  EXPECT_EQ(tokenizer->Encode("zyxwv zyxwv", false).size(), 2u);
  EXPECT_TRUE(tokenizer->TokenToId("學"));
}

TEST_P(TokenizerTrainerTest, WrongSettingsAreOneClearLine) {
  const auto contains = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  contains(ErrorOf(Settings(100), Corpus()), "vocab_size is 100: it must be from 261");
  contains(ErrorOf(Settings(-1), Corpus()), "vocab_size is -1");
  contains(ErrorOf(Settings(270), Corpus()), "vocab_size 270 is too small for the characters of this text");
  contains(ErrorOf(Settings(), {}), "holds no text");
  contains(ErrorOf(Settings(), {"<s>", "\n\n", "\t\t"}), "holds no text");
  TokenizerSettings settings = Settings();
  settings.character_coverage = 0;
  contains(ErrorOf(settings, Corpus()), "character_coverage is 0");
  for (const char* token : {"", "<s>", "<0x41>", "a\nb", "\xFF", "ab\xFF", "\xE2\x96\x81x", "x"}) {
    settings = Settings();
    settings.special_tokens = {token};
    contains(ErrorOf(settings, Corpus()), "special_tokens: ");
  }
}

TEST_P(TokenizerTrainerTest, AVocabularyTooLargeNamesTheLargestThatWorks) {
  const std::string error = ErrorOf(Settings(20000), Corpus());
  const std::string before = "use at most ";
  const size_t at = error.find(before);
  ASSERT_NE(at, std::string::npos) << error;
  const int64_t limit = std::stoll(error.substr(at + before.size()));
  EXPECT_EQ(ErrorOf(Settings(limit), Corpus()), "");
  EXPECT_NE(ErrorOf(Settings(limit + 1), Corpus()), "");
}

TEST_P(TokenizerTrainerTest, AnErrorOfTheReaderComesThrough) {
  int calls = 0;
  const NextText next = [&calls]() -> std::optional<std::string_view> {
    if (++calls == 5) BadInput("corpus.txt:5: broken");
    return "some text";
  };
  try {
    TrainTokenizer(Settings(), next);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "corpus.txt:5: broken");
  }
}

TEST(IsDrawn, DrawsAboutTheFraction) {
  int drawn = 0, both = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    drawn += IsDrawn(7, i, 0.25);
    both += IsDrawn(7, i, 0.25) && IsDrawn(8, i, 0.25);
  }
  EXPECT_NEAR(drawn, 2500, 200);
  EXPECT_NEAR(both, 625, 120);
  EXPECT_TRUE(IsDrawn(7, 0, 1));
}

}  // namespace attune::tokenizer_trainer_test
