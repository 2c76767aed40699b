#include "curate/byte_source.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "curate/packed_for_test.h"

namespace attune::byte_source_test {

std::string All(ByteSource source) {
  std::string all;
  for (std::string_view piece = source.Next(); !piece.empty(); piece = source.Next()) all += piece;
  EXPECT_TRUE(source.Next().empty());
  return all;
}

std::string ErrorOf(const std::string& name, const std::string& bytes) {
  try {
    All(ByteSource(name, bytes));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "";
}

std::string Long() {
  std::string text;
  for (int i = 0; i < 150'000; ++i) text += std::to_string(i * 7919) + "\n";
  return text;
}

TEST(ByteSource, GivesTheBytesHoweverTheyArePacked) {
  const std::string text = Long();
  EXPECT_EQ(All(ByteSource("a.jsonl", text)), text);
  EXPECT_EQ(All(ByteSource("a.jsonl.gz", Gzip(text))), text);
  EXPECT_EQ(All(ByteSource("a.jsonl.zst", Zstd(text))), text);
  EXPECT_EQ(All(ByteSource("a", Gzip(text))), text) << "the name does not matter";
  EXPECT_EQ(All(ByteSource("a", "")), "");
}

TEST(ByteSource, JoinedFilesAreOne) {
  EXPECT_EQ(All(ByteSource("a", Gzip("one ") + Gzip("") + Gzip("two") + std::string(9, '\0'))), "one two");
  EXPECT_EQ(All(ByteSource("a", Zstd("one ") + Zstd("") + Zstd("two"))), "one two");
}

TEST(ByteSource, CutShortIsSaid) {
  const std::string text = Long();
  for (const std::string& packed : {Gzip(text), Zstd(text)}) {
    for (const size_t size : {size_t{4}, size_t{12}, packed.size() / 2, packed.size() - 1}) {
      EXPECT_NE(ErrorOf("a.x", packed.substr(0, size)).find("cut short"), std::string::npos) << size;
    }
  }
}

TEST(ByteSource, DamageIsSaid) {
  std::string gzip = Gzip(Long()), zstd = Zstd(Long());
  gzip[gzip.size() / 2] = static_cast<char>(gzip[gzip.size() / 2] ^ 0x55);
  EXPECT_NE(ErrorOf("a.gz", gzip), "");
  for (size_t i = 100; i < zstd.size(); i += 97) zstd[i] = static_cast<char>(zstd[i] ^ 0x55);
  EXPECT_TRUE(ErrorOf("a.zst", zstd).starts_with("a.zst: the zstd data is damaged")) << ErrorOf("a.zst", zstd);
  EXPECT_EQ(ErrorOf("a.gz", "plain text"), "a.gz: is named .gz and holds no gzip data");
  EXPECT_EQ(ErrorOf("a.gz", Gzip("x") + "more"), "a.gz: other bytes follow the gzip data");
  EXPECT_NE(ErrorOf("a.zst", ""), "");
}

}  // namespace attune::byte_source_test
