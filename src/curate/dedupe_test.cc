#include "curate/dedupe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "curate/minhash.h"
#include "curate/shingles.h"

namespace attune::dedupe_test {

using List = std::vector<std::string>;

List WordsOf(const std::string& text) {
  NormalWords words;
  words.Read(text);
  List list;
  for (size_t i = 0; i < words.count(); ++i) list.emplace_back(words.word(i));
  return list;
}

TEST(Shingles, Words) {
  EXPECT_EQ(WordsOf("  The CAT's 2nd-best, «Über» "), (List{"the", "cat", "s", "2nd", "best", "über"}));
  EXPECT_EQ(WordsOf("...!"), List{});
  EXPECT_EQ(WordsOf("高い山は、何メートルですか？abcの国ｱ"),
            (List{"高", "い", "山", "は", "何", "メートル", "ですか", "abc", "の", "国", "ｱ"}));
  NormalWords words;
  words.Read("A, b!");
  EXPECT_EQ(words.joined(), "a b");
  words.Read("日本、の A b");
  EXPECT_EQ(words.joined(), "日本のa b");
}

double Similarity(const std::string& a, const std::string& b,
                  void (*make)(const NormalWords&, std::vector<uint32_t>*)) {
  NormalWords words;
  std::vector<uint32_t> x, y;
  words.Read(a);
  make(words, &x);
  words.Read(b);
  make(words, &y);
  MakeShingleSet(&x);
  MakeShingleSet(&y);
  return Jaccard(x.data(), x.size(), y.data(), y.size());
}

TEST(Shingles, Similarity) {
  EXPECT_EQ(Similarity("a b c d e f", "a b c d e g", WordShingles), 1.0 / 3);  // 2 each, 1 in common
  EXPECT_EQ(Similarity("abcdef", "abcdeg", CharacterShingles), 1.0 / 3);
  EXPECT_EQ(Similarity("日本語のテキス", "日本語のテキト", CharacterShingles),
            2.0 / 4);  // characters, not bytes
  EXPECT_EQ(Similarity("ab", "AB", CharacterShingles), 1);
  EXPECT_EQ(Similarity("", "", CharacterShingles), 0);
}

// Agreement of bands follows 1 - (1 - s^8)^32.
TEST(MinHash, BandsAgreeAsOftenAsTheyShould) {
  std::mt19937 random(7);
  for (const double s : {0.5, 0.7, 0.8, 0.9}) {
    int agreed = 0;
    constexpr int kPairs = 600;
    for (int pair = 0; pair < kPairs; ++pair) {
      const int common = static_cast<int>(200 * s), own = (200 - common) / 2;
      std::vector<uint32_t> a, b;
      for (int i = 0; i < common; ++i) a.push_back(random());
      b = a;
      for (int i = 0; i < own; ++i) a.push_back(random()), b.push_back(random());
      const BandKeys x = MinHashBands(a), y = MinHashBands(b);
      bool any = false;
      for (size_t band = 0; band < kBands; ++band) any |= x[band] == y[band];
      agreed += any;
    }
    EXPECT_NEAR(static_cast<double>(agreed) / kPairs, 1 - std::pow(1 - std::pow(s, 8), 32), 0.06) << s;
  }
}

class Dedupe : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/dedupe-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    settings_.stage.input = {Path("in.jsonl")};
    settings_.stage.output = Path("out");
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  // Lines that stay and lines that go, by number.
  std::set<int> RemovedLines(const std::string& rows) {
    WriteFileAtomic(Path("in.jsonl"), rows);
    for (const char* end : {".jsonl", ".removed.jsonl", ".manifest.json"}) std::filesystem::remove(Path("out") + end);
    manifest_ = DedupeData(settings_);
    std::set<int> removed;
    removed_.clear();
    std::istringstream lines(ReadFile(Path("out.removed.jsonl")));
    for (std::string line; std::getline(lines, line);) {
      removed_.push_back(nlohmann::ordered_json::parse(line));
      removed.insert(removed_.back()["line"].get<int>());
    }
    return removed;
  }
  std::string folder_;
  DedupeSettings settings_;
  nlohmann::ordered_json manifest_;
  std::vector<nlohmann::ordered_json> removed_;
};

std::string RowOf(const std::string& prompt, const std::string& answer, double score = 0) {
  return fmt::format("{{\"prompt\": \"{}\", \"completion\": \"{}\", \"score\": {}}}\n", prompt, answer, score);
}

TEST_F(Dedupe, ExactAfterNormalising) {
  const std::string rows = RowOf("What?", "This one.") + RowOf("other", "text") + RowOf(" what? ", "this  ONE.") +
                           RowOf("What?", "That two!");
  EXPECT_EQ(RemovedLines(rows), std::set<int>{3});
  EXPECT_EQ(removed_[0]["rule"], "exact-duplicate");
  EXPECT_EQ(removed_[0]["kept"], Path("in.jsonl") + ":1");
  EXPECT_EQ(manifest_["clusters"], 1);
  settings_.duplicates.by = CompareBy::kPrompt;
  EXPECT_EQ(RemovedLines(rows), (std::set<int>{3, 4}));
}

std::string Sentence(std::mt19937& random, int words) {
  std::string text;
  for (int i = 0; i < words; ++i) text += (i > 0 ? " w" : "w") + std::to_string(random() % 5000);
  return text;
}

TEST_F(Dedupe, NearWithPolicies) {
  std::mt19937 random(1);
  const std::string text = Sentence(random, 60);
  const std::string rows = RowOf("p", text, 1) + RowOf("p", "Now " + text + " and more", 3) +
                           RowOf("p", text + " end", 2) + RowOf("p", Sentence(random, 60), 9);
  EXPECT_EQ(RemovedLines(rows), (std::set<int>{2, 3}));
  EXPECT_EQ(removed_[0]["rule"], "near-duplicate");
  EXPECT_GE(removed_[0]["similarity"].get<double>(), 0.7);
  settings_.keep = KeepRow::kLongest;
  EXPECT_EQ(RemovedLines(rows), (std::set<int>{1, 3}));
  settings_.keep = KeepRow::kBestScore;
  EXPECT_THROW(RemovedLines(rows), Error);
  settings_.duplicates.score = "score";
  EXPECT_EQ(RemovedLines(rows), (std::set<int>{1, 3}));
  settings_.duplicates.near = false;
  EXPECT_EQ(RemovedLines(rows), std::set<int>{});
}

// Rows 2 and 4 mean the same, 5 nearly so; what is the same as another word for word is no semantic duplicate.
TEST_F(Dedupe, InOtherWords) {
  const std::string rows = RowOf("p", "one thing") + RowOf("p", "a kitten sat") + RowOf("p", "A KITTEN sat") +
                           RowOf("p", "the young cat was sitting") + RowOf("p", "dogs") + "broken\n";
  settings_.duplicates.embeddings = [] {
    Embeddings e{2, {1, 0, 0, 1, 0, 1, 0.1f, 1, 0.7f, 1, 0, 0}};
    for (size_t i = 0; i < e.size(); ++i) Normalize(e.Row(i));
    return e;
  };
  EXPECT_EQ(RemovedLines(rows), (std::set<int>{3, 4, 6}));
  EXPECT_EQ(removed_[0]["rule"], "exact-duplicate");
  EXPECT_EQ(removed_[1]["rule"], "semantic-duplicate");
  EXPECT_EQ(removed_[1]["twin"], Path("in.jsonl") + ":2");
  EXPECT_NEAR(removed_[1]["similarity"].get<double>(), 0.995, 0.001);
  EXPECT_EQ(manifest_["settings"]["semantic_threshold"], 0.9);
  settings_.keep = KeepRow::kLongest;  // row 4: 2 goes by meaning, and 3 as what says the same as 2
  EXPECT_EQ(RemovedLines(rows), (std::set<int>{2, 3, 6}));
  EXPECT_EQ(removed_[0]["rule"], "semantic-duplicate");
  EXPECT_EQ(removed_[1]["rule"], "semantic-duplicate");
  settings_.keep = KeepRow::kFirst;
  settings_.duplicates.semantic_threshold = 0.8;
  EXPECT_EQ(RemovedLines(rows), (std::set<int>{3, 4, 5, 6}));
  settings_.keep = KeepRow::kLongest;
  EXPECT_EQ(RemovedLines(rows), (std::set<int>{2, 3, 5, 6}));
}

// 19 words against 20: one is compared by characters, the other has enough words.
TEST_F(Dedupe, AcrossTheLimitOfFewWords) {
  std::mt19937 random(2);
  const std::string text = Sentence(random, 19);
  EXPECT_EQ(RemovedLines("{\"text\": \"" + text + "\"}\n{\"text\": \"so " + text + "\"}\n"), std::set<int>{2});
}

TEST_F(Dedupe, BrokenRowsAreApart) {
  EXPECT_EQ(RemovedLines("broken\n{\"text\": \"a b\"}\nbroken\n{\"text\": \"A b\"}\n"), (std::set<int>{1, 3, 4}));
  EXPECT_EQ(manifest_["removed"]["broken-row"], 2);
}

// Every kind of planted pair is found, none below the threshold is reported, and threads do not matter.
TEST_F(Dedupe, RecallOfPlantedPairs) {
  std::mt19937 random(3);
  std::string rows;
  std::vector<std::string> kind_of_line = {""};
  std::map<std::string, int> planted, found;
  const auto add = [&](const std::string& kind, const std::string& text) {
    rows += "{\"text\": \"" + text + "\"}\n";
    kind_of_line.push_back(kind);
    if (!kind.empty()) ++planted[kind];
  };
  for (int i = 0; i < 2500; ++i) {
    const int length = 8 + static_cast<int>(random() % 120);
    const std::string text = Sentence(random, length);
    add("", text);
    switch (i % 5) {
      case 0:
        add("exact", text);
        break;
      case 1: {  // 2 % of the words, where that leaves a similarity of 0.8
        if (length < 60) break;
        std::string changed;
        std::istringstream words(text);
        int at = 0;
        for (std::string word; words >> word; ++at) changed += (at > 0 ? " " : "") + (at % 50 == 20 ? "changed" : word);
        add("words", changed);
        break;
      }
      case 2:
        add("front", "Well " + text);
        break;
      case 3: {
        std::string noisy = text + ".";
        for (size_t c = 0; c < noisy.size(); c += 7) {
          if (noisy[c] == 'w') noisy[c] = 'W';
          if (noisy[c] == ' ') noisy.replace(c, 1, ", ");
        }
        add("noise", noisy);
      }
    }
  }
  settings_.stage.threads = 1;
  const std::set<int> removed = RemovedLines(rows);
  for (const int line : removed) ++found[kind_of_line[static_cast<size_t>(line)]];
  for (const auto& [kind, count] : planted) EXPECT_GE(found[kind], 0.99 * count) << kind << " of " << count;
  EXPECT_EQ(found[""], 0) << "nothing but what was planted";
  for (const auto& row : removed_) EXPECT_GE(row["similarity"].get<double>(), 0.7);
  settings_.stage.threads = 3;
  EXPECT_EQ(RemovedLines(rows), removed);
}

TEST_F(Dedupe, ManyOfTheSame) {
  std::mt19937 random(4);
  const std::string text = Sentence(random, 40);
  std::string rows;
  for (int i = 0; i < 3000; ++i) rows += "{\"text\": \"" + text + " " + std::to_string(i) + "\"}\n";
  EXPECT_EQ(RemovedLines(rows).size(), 2999u);
  EXPECT_EQ(manifest_["clusters"], 1);
  EXPECT_LT(manifest_["compared"].get<int64_t>(), 200'000);
}

}  // namespace attune::dedupe_test
