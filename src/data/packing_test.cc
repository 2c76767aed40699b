#include "data/packing.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace attune::packing_test {

using Json = nlohmann::json;

// The fixture numbers the tokens 0, 1, 2, ... over all examples.
Json Bins(const std::vector<PackedSequence>& sequences, const std::vector<int64_t>& lengths, bool wrapped) {
  std::vector<int64_t> first_token = {0};
  for (int64_t length : lengths) first_token.push_back(first_token.back() + length);
  Json bins = Json::array();
  for (const PackedSequence& sequence : sequences) {
    Json bin = Json::array();
    int64_t total = 0;
    for (const PackedPiece& piece : sequence) {
      bin.push_back({first_token[piece.example] + piece.start, piece.length});
      total += piece.length;
    }
    bins.push_back(wrapped ? Json{bin[0][0], total} : bin);
  }
  return bins;
}

TEST(Packing, SameBinsAsTrl) {
  const Json rows = Json::parse(ReadFile(std::string(ATTUNE_TEST_DATA) + "/packing.json"));
  ASSERT_EQ(rows.size(), 84u);
  for (const Json& row : rows) {
    const std::string strategy = row["strategy"];
    const std::vector<int64_t> lengths = row["lengths"];
    const auto got = Pack(lengths, row["seq_length"], ParsePackingStrategy(strategy));
    EXPECT_EQ(Bins(got, lengths, strategy == "wrapped"), row["bins"]) << row["lengths"].size() << strategy;
  }
}

TEST(Packing, SplitKeepsEveryToken) {
  const std::vector<int64_t> lengths = {11, 0, 3, 7};
  int64_t total = 0;
  for (const auto& sequence : Pack(lengths, 5, PackingStrategy::kBfdSplit)) {
    int64_t used = 0;
    for (const PackedPiece& piece : sequence) used += piece.length;
    EXPECT_LE(used, 5);
    total += used;
  }
  EXPECT_EQ(total, 21);
  EXPECT_TRUE(Pack({}, 5, PackingStrategy::kBfd).empty());
}

TEST(Packing, UnknownStrategy) { EXPECT_THROW(ParsePackingStrategy("ffd"), Error); }

}  // namespace attune::packing_test
