#include "eval/text_metrics.h"

#include <gtest/gtest.h>

namespace attune::text_metrics_test {

TEST(ExactMatch, NormalisesAsSquadDoes) {
  EXPECT_EQ(NormalizedAnswer("  The  Eiffel-Tower, in an U.S.A. park! "), "eiffeltower in usa park");
  EXPECT_EQ(NormalizedAnswer("theory of a—the"), "theory of —");
  EXPECT_EQ(ExactMatch("The Cat.", "cat"), 1);
  EXPECT_EQ(ExactMatch("cats", "cat"), 0);
  EXPECT_EQ(ExactMatch("", "the"), 1);
}

TEST(TokenF1, CountsSharedWords) {
  EXPECT_DOUBLE_EQ(TokenF1("the cat sat", "a cat sat down"), 2 * 1.0 * (2.0 / 3) / (1 + 2.0 / 3));
  EXPECT_DOUBLE_EQ(TokenF1("b b b", "b"), 0.5);  // one of three is shared
  EXPECT_EQ(TokenF1("x", "y"), 0);
  EXPECT_EQ(TokenF1("", ""), 1);
  EXPECT_EQ(TokenF1("", "y"), 0);
}

// Values of the package rouge-score 0.1.2, rougeL, use_stemmer=False.
TEST(RougeL, AgreesWithThePackage) {
  EXPECT_NEAR(RougeL("The cat sat on the mat.", "the cat was sitting on a mat"), 0.6153846153846153, 1e-12);
  EXPECT_NEAR(RougeL("police killed the gunman", "police kill the gunman"), 0.75, 1e-12);
  EXPECT_NEAR(RougeL("A state of being that is not a state of mind.",
                     "An agreeable sensation arising from contemplating the misery of another."),
              0.09523809523809525, 1e-12);
  EXPECT_EQ(RougeL("", "something"), 0);
  EXPECT_EQ(RougeL("abc", "ABC!"), 1);
}

// The package cuts words at letters beyond a to z (it says 0.625 here).
TEST(RougeL, TakesLettersOfEveryScript) {
  EXPECT_NEAR(RougeL("Größe ist naïve, 42 Mäuse", "Die Größe der naiven 42 Mäuse"),
              2 * (3.0 / 5) * (3.0 / 6) / (3.0 / 5 + 3.0 / 6), 1e-12);
}

TEST(Numeric, TakesTheLastNumber) {
  EXPECT_EQ(LastNumber("no number"), std::nullopt);
  EXPECT_EQ(LastNumber("from 3 to 1,250.50."), 1250.5);
  EXPECT_EQ(LastNumber("10-5"), 5);
  EXPECT_EQ(LastNumber("it is -5e-1 degrees"), -0.5);
  EXPECT_EQ(LastNumber("2e"), 2);
  EXPECT_EQ(LastNumber("1.2.3"), 3);
  EXPECT_EQ(NumericMatch("so 99.9", "100", 0.001), 1);
  EXPECT_EQ(NumericMatch("so 99.8", "100", 0.001), 0);
  EXPECT_EQ(NumericMatch("none", "100", 1), 0);
}

TEST(Fences, HoldTheCode) {
  EXPECT_EQ(FencedOrWhole("Here:\n```python\nx = 1\n```\nand ```no```"), "x = 1\n");
  EXPECT_EQ(FencedOrWhole("```\nx = 1"), "x = 1");
  EXPECT_EQ(FencedOrWhole("x = 1"), "x = 1");
}

}  // namespace attune::text_metrics_test
