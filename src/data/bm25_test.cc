#include "data/bm25.h"

#include <gtest/gtest.h>

namespace attune::bm25_test {

TEST(Bm25, FindsTheTextsThatShareRareWords) {
  const Bm25Index index({"the cat sat on the mat", "the dog sat", "a treatise on banks and money", "Money, the root"});
  EXPECT_EQ(index.Nearest("what is MONEY?", 2), (std::vector<int64_t>{3, 2}));  // the shorter one first
  EXPECT_EQ(index.Nearest("the cat", 1), (std::vector<int64_t>{0}));
  EXPECT_EQ(index.Nearest("the cat", 1, 0), (std::vector<int64_t>{1}));  // "the", in the shorter of the others
}

TEST(Bm25, TiesKeepTheirOrderAndThereAreAsManyAsAskedFor) {
  const Bm25Index index({"x", "y", "y", "z"});
  EXPECT_EQ(index.Nearest("y", 9), (std::vector<int64_t>{1, 2, 0, 3}));
  EXPECT_EQ(index.Nearest("", 2), (std::vector<int64_t>{0, 1}));
  EXPECT_TRUE(Bm25Index({}).Nearest("y", 3).empty());
  EXPECT_EQ(Bm25Index({"caf\xC3\xA9 noir", "cafe"}).Nearest("Caf\xC3\xA9", 1), (std::vector<int64_t>{0}));
}

}  // namespace attune::bm25_test
