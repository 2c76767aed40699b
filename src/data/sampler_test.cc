#include "data/sampler.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"

namespace attune::sampler_test {

TEST(Sampler, OrderIsTorchRandpermOfSeedPlusEpoch) {
  const auto cases = nlohmann::json::parse(ReadFile(std::string(ATTUNE_TEST_DATA) + "/rng.json"));
  const std::vector<int64_t> seed1 = cases[1]["randperm"]["37"];
  ASSERT_EQ(cases[1]["seed"], 1);
  EXPECT_EQ(EpochOrder(37, 1, 0, true), seed1);
  EXPECT_EQ(EpochOrder(37, 0, 1, true), seed1);
  EXPECT_EQ(EpochOrder(4, 1, 3, false), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_TRUE(EpochOrder(0, 1, 0, true).empty());
}

TEST(Sampler, ShortLastBatchAndShortLastGroup) {
  const std::vector<int64_t> order = {4, 3, 2, 1, 0};
  const std::vector<Update> updates = EpochUpdates(order, 2, 2, false);
  EXPECT_EQ(updates, (std::vector<Update>{{{4, 3}, {2, 1}}, {{0}}}));
  EXPECT_EQ(EpochUpdates(order, 2, 2, true), (std::vector<Update>{{{4, 3}, {2, 1}}}));
  EXPECT_EQ(EpochUpdates(order, 8, 4, false), (std::vector<Update>{{{4, 3, 2, 1, 0}}}));
  EXPECT_TRUE(EpochUpdates(order, 8, 4, true).empty());
}

TEST(Sampler, GroupsByLengthAsTransformers) {
  const auto rows = nlohmann::json::parse(ReadFile(std::string(ATTUNE_TEST_DATA) + "/optim/length_groups.json"));
  ASSERT_EQ(rows.size(), 8u);
  for (const auto& row : rows) {
    const std::vector<int64_t> lengths = row["lengths"], permutation = row["permutation"], order = row["order"];
    EXPECT_EQ(GroupByLength(permutation, lengths, row["update_batch"]), order) << row["lengths"].size();
    const uint64_t seed = row["seed"];
    EXPECT_EQ(EpochOrderByLength(lengths, row["update_batch"], seed, 0), order);
    EXPECT_EQ(EpochOrderByLength(lengths, row["update_batch"], seed - 4, 4), order);
  }
  EXPECT_TRUE(EpochOrderByLength({}, 4, 1, 0).empty());
  EXPECT_EQ(EpochOrderByLength(std::vector<int64_t>{5}, INT64_MAX, 1, 0), std::vector<int64_t>{0});
}

}  // namespace attune::sampler_test
