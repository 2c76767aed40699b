#include "curate/record_reader.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::record_reader_test {

// "LINE:TEXT", "LINE!PROBLEM" for a broken one; cut with blocks of one byte and of a megabyte, which must not
// differ.
std::vector<std::string> Cut(Container container, const std::string& text, size_t longest = kLongestRecord) {
  std::vector<std::string> first;
  for (const size_t bytes : {size_t{1}, size_t{1} << 20}) {
    RecordReader reader(ByteSource("a", text), container, longest);
    std::vector<std::string> found;
    RecordBlock block;
    while (reader.Next(&block, bytes)) {
      for (const Record& record : block.records) {
        found.push_back(std::to_string(record.line) +
                        (record.broken ? "!" + std::string(record.broken) : ":" + std::string(block.text(record))));
      }
    }
    if (bytes == 1) first = found;
    EXPECT_EQ(found, first);
  }
  return first;
}

using List = std::vector<std::string>;

TEST(RecordReader, Lines) {
  EXPECT_EQ(Cut(Container::kJsonl, "\xEF\xBB\xBFone\r\n\n  \t\ntwo\n\nthree"), (List{"1:one", "4:two", "6:three"}));
  EXPECT_EQ(Cut(Container::kText, ""), List{});
  EXPECT_EQ(Cut(Container::kText, "\n\n"), List{});
}

TEST(RecordReader, BlanksOfAnyLengthLieBetween) {
  const std::string blanks(5 << 20, '\n');
  EXPECT_EQ(Cut(Container::kText, "a\n" + blanks + "b\n" + blanks), (List{"1:a", "5242882:b"}));
  EXPECT_EQ(Cut(Container::kJson, blanks + "[{}," + blanks + "{}]" + blanks), (List{"1:{}", "2:{}"}));
}

TEST(RecordReader, LinesOverManyPieces) {
  std::string text;
  for (int i = 1; i <= 100'000; ++i) text += "line " + std::to_string(i) + "\n";
  const List found = Cut(Container::kText, text);
  ASSERT_EQ(found.size(), 100'000u);
  EXPECT_EQ(found[79'999], "80000:line 80000");
}

TEST(RecordReader, TooLongLinesAreKeptApart) {
  const std::string text =
      "a\n" + std::string(5000, 'x') + "\nb\n" + std::string((3 << 20), 'y') + "\nc\n" + std::string(3 << 20, 'z');
  EXPECT_EQ(Cut(Container::kText, text, 2000),
            (List{"1:a", "2!longer than 16 MiB", "3:b", "4!longer than 16 MiB", "5:c", "6!longer than 16 MiB"}));
}

TEST(RecordReader, JsonListsAndSequences) {
  EXPECT_EQ(Cut(Container::kJson, " [\n{\"a\": \"]}\\\"\"},\n\n{\"b\":\n[1]}\n]\n"),
            (List{"1:{\"a\": \"]}\\\"\"}", "2:{\"b\":\n[1]}"}));
  EXPECT_EQ(Cut(Container::kJson, "{\"a\": 1}\n{\"b\":\n 2}"), (List{"1:{\"a\": 1}", "2:{\"b\":\n 2}"}));
  EXPECT_EQ(Cut(Container::kJson, "[]"), List{});
  EXPECT_EQ(Cut(Container::kJson, "[1, null, {\"a\": 1}]"), (List{"1:1", "2:null", "3:{\"a\": 1}"}));
  EXPECT_EQ(Cut(Container::kJson, ","), List{"1:,"});
  EXPECT_EQ(Cut(Container::kJson, "\xEF\xBB\xBF[{}]"), List{"1:{}"});
}

TEST(RecordReader, JsonThatIsCutShort) {
  EXPECT_EQ(Cut(Container::kJson, "[{\"a\": 1},\n{\"b\": "),
            (List{"1:{\"a\": 1}", "2!the file ends within this row; it may be cut short"}));
  EXPECT_EQ(Cut(Container::kJson, "[{\"a\": 1}"),
            (List{"1:{\"a\": 1}", "2!the file ends within its list; it may be cut short"}));
  EXPECT_EQ(Cut(Container::kJson, "[{\"a\": 1}] tail"), (List{"1:{\"a\": 1}", "2!text follows the end of the list"}));
}

TEST(RecordReader, CsvRecordsSpanLines) {
  EXPECT_EQ(Cut(Container::kCsv, "a,b\r\n\"x\n\"\"y\",2\n\nfive\" is no quote,3\n"),
            (List{"1:a,b", "2:\"x\n\"\"y\",2", "5:five\" is no quote,3"}));
  EXPECT_EQ(Cut(Container::kTsv, "a\tb\n\"1\n2\"\t3"), (List{"1:a\tb", "2:\"1\n2\"\t3"}));
  EXPECT_EQ(Cut(Container::kCsv, "a\n\"open\nand so on"),
            (List{"1:a", "2!a quote is opened and not closed before the file ends"}));
}

TEST(RecordReader, Utf16IsRefused) {
  RecordReader reader(ByteSource("a.txt", std::string_view("\xFF\xFE"
                                                           "a\0",
                                                           4)),
                      Container::kText);
  RecordBlock block;
  try {
    reader.Next(&block);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "a.txt: is UTF-16; write it anew as UTF-8");
  }
}

TEST(RecordReader, ContainersByName) {
  EXPECT_EQ(ContainerOf("x/a.jsonl.gz"), Container::kJsonl);
  EXPECT_EQ(ContainerOf("a.tsv.zst"), Container::kTsv);
  EXPECT_EQ(ContainerOf("a.parquet"), Container::kJsonl);
  EXPECT_EQ(ContainerOf("a.xlsx"), std::nullopt);
}

}  // namespace attune::record_reader_test
