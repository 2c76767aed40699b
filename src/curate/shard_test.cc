// Parts of a data set for several processes, and the index that leaves memory: together they give what one process
// gives.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <random>

#include "base/error.h"
#include "base/file.h"
#include "curate/check.h"
#include "curate/clean.h"
#include "curate/dedupe.h"
#include "curate/packed_for_test.h"
#include "curate/spill_array.h"

namespace attune::shard_test {

using Json = nlohmann::ordered_json;

class ShardTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "shards-" + testing::UnitTest::GetInstance()->current_test_info()->name();
    RemoveTree(folder_);
    MakeDirectories(folder_);
    // Rows of every kind of file, a part of them nearly the same.
    std::string lines, list = "[", csv = "prompt,completion\r\n", text;
    for (int i = 0; i < 900; ++i) lines += Row(i) + "\n";
    for (int i = 900; i < 1000; ++i) list += Row(i) + (i < 999 ? ",\n " : "]");
    for (int i = 1000; i < 1100; ++i) csv += fmt::format("\"Say {}\nagain\",\"{}\"\r\n", i % 7, Answer(i));
    for (int i = 1100; i < 1200; ++i) text += Answer(i) + "\n\n";
    WriteFileAtomic(Path("a.jsonl"), lines + "{\"broken\": \n");
    WriteFileAtomic(Path("b.json"), list);
    WriteFileAtomic(Path("c.csv"), csv);
    WriteFileAtomic(Path("d.txt"), text);
    WriteFileAtomic(Path("e.jsonl.gz"), Gzip(lines.substr(0, lines.find('\n', 9000) + 1)));
    input_ = {Path("a.jsonl"), Path("b.json"), Path("c.csv"), Path("d.txt"), Path("e.jsonl.gz")};
  }

  std::string Answer(int i) {
    std::mt19937 words(static_cast<unsigned>(i % 3 == 0 ? i % 60 : i));  // a third repeats sixty texts
    std::string text = i % 2 == 0 ? "Well" : "So";
    for (int k = 0; k < (i % 5 == 0 ? 12 : 60); ++k) text += fmt::format(" w{}", words() % 5000);
    return i % 7 == 0 ? text + fmt::format(" t{}", i) : text;
  }
  std::string Row(int i) { return fmt::format(R"({{"prompt": "Say {}", "completion": "{}"}})", i % 7, Answer(i)); }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  StageInput Stage(const std::string& output, Shard shard = {}) const {
    StageInput stage;
    stage.input = input_;
    stage.output = Path(output);
    stage.shard = shard;
    stage.threads = 2;
    return stage;
  }
  DedupeSettings Settings(const std::string& output) const {
    DedupeSettings settings{Stage(output), {}, KeepRow::kLongest};
    settings.duplicates.by = CompareBy::kAnswer;
    return settings;
  }
  void Sketch(int of) const {
    for (int i = 1; i <= of; ++i) SketchData(Stage(fmt::format("part{}-{}", i, of), {i, of}), Settings("").duplicates);
  }
  std::vector<std::string> Signatures(int of) const {
    std::vector<std::string> paths;
    for (int i = of; i >= 1; --i) paths.push_back(Path(fmt::format("part{}-{}.signatures", i, of)));
    return paths;
  }
  // Everything that a stage left, but for the names of its outputs.
  std::string Left(const std::string& output) const {
    Json manifest = Json::parse(ReadFile(Path(output + ".manifest.json")));
    manifest.erase("outputs");
    return ReadFile(Path(output + ".jsonl")) + ReadFile(Path(output + ".removed.jsonl")) + manifest.dump();
  }
  static std::string ErrorOf(const std::function<void()>& job) {
    try {
      job();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  std::string folder_;
  std::vector<std::string> input_;
};

TEST_F(ShardTest, PartsOfCleanAreTheWhole) {
  CleanSettings whole;
  whole.stage = Stage("whole");
  const int64_t rows = CleanData(whole)["rows_in"];
  EXPECT_GT(rows, 1200);
  for (const int of : {1, 2, 5, 64}) {
    std::string kept, removed;
    int64_t sum = 0, checked = 0, filled = 0;
    for (int i = 1; i <= of; ++i) {
      const std::string name = fmt::format("clean{}-{}", i, of);
      CleanSettings part;
      part.stage = Stage(name, {i, of});
      const Json manifest = CleanData(part);
      EXPECT_EQ(manifest["settings"]["shard"], fmt::format("{}/{}", i, of));
      sum += manifest["rows_in"].get<int64_t>();
      filled += manifest["rows_in"] > 0;
      kept += ReadFile(Path(name + ".jsonl"));
      removed += ReadFile(Path(name + ".removed.jsonl"));
      CheckSettings check;
      check.input = input_;
      check.shard = {i, of};
      checked += CheckData(check).rows;
    }
    EXPECT_EQ(sum, rows) << of;
    EXPECT_EQ(checked, rows) << of;
    EXPECT_GE(filled, of / 2) << of;  // they share the work
    EXPECT_EQ(kept, ReadFile(Path("whole.jsonl"))) << of;
    EXPECT_EQ(removed, ReadFile(Path("whole.removed.jsonl"))) << of;
  }
}

TEST_F(ShardTest, MergedSignaturesGiveTheSameBytes) {
  const Json removed = DedupeData(Settings("whole"))["removed"];
  EXPECT_GT(removed.value("near-duplicate", 0), 40) << removed;
  EXPECT_GT(removed.value("exact-duplicate", 0), 10) << removed;
  for (const int of : {1, 3, 40}) {
    Sketch(of);
    DedupeSettings settings = Settings(fmt::format("merged{}", of));
    settings.duplicates.signatures = Signatures(of);
    DedupeData(settings);
    EXPECT_EQ(Left(fmt::format("merged{}", of)), Left("whole")) << of;
  }
}

TEST_F(ShardTest, SignaturesThatDoNotBelongAreRefused) {
  Sketch(2);
  const std::vector<std::string> both = Signatures(2);
  const auto merge = [&](const std::vector<std::string>& signatures, double threshold = 0.7) {
    return ErrorOf([&] {
      DedupeSettings settings = Settings("merged");
      settings.duplicates.signatures = signatures;
      settings.duplicates.threshold = threshold;
      DedupeData(settings);
    });
  };
  EXPECT_NE(merge({both[0]}).find("shard 1/2 are missing"), std::string::npos) << merge({both[0]});
  EXPECT_NE(merge({both[0], both[0]}).find("is shard 2/2"), std::string::npos);
  EXPECT_NE(merge(both, 0.8).find("other settings"), std::string::npos);
  EXPECT_NE(merge({Path("a.jsonl")}).find("holds no signatures"), std::string::npos);
  Sketch(3);
  EXPECT_NE(merge({both[0], both[1], Signatures(3)[0]}).find("3 shards"), std::string::npos);

  const std::string bytes = ReadFile(both[0]);
  for (const size_t size : {bytes.size() - 1, bytes.size() / 2, bytes.find('\n') + 20}) {
    WriteFileAtomic(Path("cut.signatures"), bytes.substr(0, size));
    EXPECT_NE(merge({Path("cut.signatures"), both[1]}).find("damaged or cut short"), std::string::npos) << size;
  }
  std::string bent = bytes;
  bent[bytes.size() / 2] = static_cast<char>(bent[bytes.size() / 2] + 1);
  WriteFileAtomic(Path("bent.signatures"), bent);
  EXPECT_NE(merge({Path("bent.signatures"), both[1]}).find("damaged or cut short"), std::string::npos);

  // As many bytes as before, but another row.
  std::string rows = ReadFile(Path("a.jsonl"));
  rows[rows.find(" w") + 2] = rows[rows.find(" w") + 2] == '1' ? '2' : '1';
  WriteFileAtomic(Path("a.jsonl"), rows);
  EXPECT_NE(merge(both).find("part1-2.signatures: was made from other rows"), std::string::npos) << merge(both);
}

TEST_F(ShardTest, AnIndexOnDiskGivesTheSameBytes) {
  DedupeData(Settings("whole"));
  DedupeSettings settings = Settings("spilled");
  settings.duplicates.memory = 1;  // less than anything takes
  DedupeData(settings);
  EXPECT_EQ(Left("spilled"), Left("whole"));
}

TEST_F(ShardTest, NamesOfShards) {
  EXPECT_EQ(Shard::Named("2/4").index, 2);
  EXPECT_EQ(Shard::Named("2/4").of, 4);
  for (const char* wrong : {"", "2", "0/4", "5/4", "/4", "2/", "a/b", "1/4x", "-1/4", "1/99999999999999999999"})
    EXPECT_NE(ErrorOf([&] { Shard::Named(wrong); }).find("write I/N"), std::string::npos) << wrong;
}

TEST_F(ShardTest, ArraysReadTheSameFromMemoryAndFile) {
  for (const int64_t memory : {0, 1, 300'000}) {
    SpillStore store(folder_, memory);
    SpillArray<uint32_t> a(&store), b(&store);
    std::vector<uint32_t> expected, room;
    for (uint32_t i = 0; expected.size() < 200'000; ++i) {
      const std::vector<uint32_t> values(i % 700, i);
      a.Append(values);
      b.Append(values);
      expected.insert(expected.end(), values.begin(), values.end());
    }
    a.Append(std::vector<uint32_t>(50'000, 7));  // longer than a piece
    expected.insert(expected.end(), 50'000, 7);
    ASSERT_EQ(a.size(), expected.size());
    for (const auto& [first, count] : std::vector<std::pair<size_t, size_t>>{{0, 1}, {3, 40'000}, {150'000, 90'000}}) {
      const auto view = a.View(first, count, &room);
      EXPECT_TRUE(std::equal(view.begin(), view.end(), expected.begin() + static_cast<std::ptrdiff_t>(first)))
          << memory;
    }
    size_t next = 0;
    a.ForEach([&](size_t first, std::span<const uint32_t> values) {
      EXPECT_EQ(first, next);
      EXPECT_TRUE(std::equal(values.begin(), values.end(), expected.begin() + static_cast<std::ptrdiff_t>(first)));
      next += values.size();
    });
    EXPECT_EQ(next, expected.size());
    a.Clear();
    EXPECT_EQ(a.size(), 0u);
  }
}

}  // namespace attune::shard_test
