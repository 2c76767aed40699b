// Parquet files as rows: every type of column, nulls, nested messages, damage. tests/data/make_parquet.py made the
// files.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "curate/byte_source.h"
#include "curate/check.h"
#include "curate/clean.h"

namespace attune::parquet_test {

std::string FilePath(const std::string& name) { return std::string(ATTUNE_TEST_DATA) + "/parquet/" + name; }

std::string TextOf(ByteSource source) {
  std::string text;
  for (std::string_view piece = source.Next(); !piece.empty(); piece = source.Next()) text += piece;
  return text;
}

TEST(Parquet, NestedMessagesAcrossRowGroups) {
  std::string expected;
  for (int i = 0; i < 6; ++i) {
    const std::string number = std::to_string(i);
    expected += R"({"messages": [{"role": "user", "content": "Say the number )" + number +
                R"(."}, {"role": "assistant", "content": "It is )" + number + R"(, \"as you say\".\n"}]})" + "\n";
  }
  EXPECT_EQ(TextOf(ByteSource(FilePath("chats_snappy.parquet"))), expected);
}

TEST(Parquet, EveryTypeAndNulls) {
  EXPECT_EQ(
      TextOf(ByteSource(FilePath("types_zstd.parquet"))),
      R"({"prompt": "Where?", "completion": "Here.", "small": 1, "whole": 9007199254740993, "unsigned": 18446744073709551615, )"
      R"("half": 0.5, "number": 1e+300, "yes": true, "ids": [1, 2], "meta": {"a": {"b": [null, "x"]}}, "kind": "one", )"
      R"("price": "1.50", "day": "1970-01-01", "tags": [{"key": "k", "value": 1}]})"
      "\n"
      R"({"prompt": null, "completion": "There.", "small": -128, "whole": null, "unsigned": 0, "half": 3.0, "number": null, )"
      R"("yes": false, "ids": [], "meta": null, "kind": "two", "price": null, "day": "1970-01-02", "tags": []})"
      "\n"
      R"({"prompt": "Why é?", "completion": "So.", "small": null, "whole": -1, "unsigned": null, "half": null, "number": -0.1, )"
      R"("yes": null, "ids": null, "meta": {"a": null}, "kind": "one", "price": "-2.00", "day": null, "tags": null})"
      "\n");
  EXPECT_EQ(TextOf(ByteSource(FilePath("empty.parquet"))), "");
}

TEST(Parquet, RowsAreCountedFromOneAndColumnsRenamed) {
  CheckSettings settings;
  settings.input = {FilePath("types_zstd.parquet")};
  settings.columns = {{"completion", "kind"}, {"answer", "completion"}};
  const CheckResult result = CheckData(settings);
  EXPECT_EQ(result.rows, 3);
  EXPECT_EQ(result.rules[static_cast<size_t>(Rule::kUnknownFormat)].rows, 1);  // no prompt in the second
  EXPECT_EQ(result.rules[static_cast<size_t>(Rule::kUnknownFormat)].examples.at(0).where, settings.input[0] + ":2");
}

TEST(Parquet, AStageWritesJsonl) {
  CleanSettings settings;
  settings.stage.input = {FilePath("chats_snappy.parquet")};
  settings.stage.output = testing::TempDir() + "parquet-clean";
  for (const char* suffix : {".jsonl", ".removed.jsonl", ".manifest.json"}) RemoveTree(settings.stage.output + suffix);
  EXPECT_EQ(CleanData(settings)["rows_out"], 6);
  EXPECT_NE(ReadFile(settings.stage.output + ".jsonl").find("Say the number 5."), std::string::npos);
}

TEST(Parquet, DamageIsOneLine) {
  const std::string whole = ReadFile(FilePath("chats_snappy.parquet"));
  std::string bent = whole;
  for (size_t i = 4; i < 400 && i < bent.size(); ++i) bent[i] = static_cast<char>(0xEE);
  for (const std::string& bytes : {whole.substr(0, whole.size() - 700), whole.substr(0, 3), std::string(), bent}) {
    try {
      TextOf(ByteSource("rows.parquet", bytes));
      ADD_FAILURE() << bytes.size();
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(message.find("rows.parquet: the Parquet file cannot be read"), 0u) << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
  EXPECT_THROW(ByteSource{FilePath("cut_short.parquet")}, Error);
}

}  // namespace attune::parquet_test
