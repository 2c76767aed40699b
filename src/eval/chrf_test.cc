#include "eval/chrf.h"

#include <gtest/gtest.h>

namespace attune::chrf_test {

double Sentence(const std::string& answer, const std::vector<std::string>& references) {
  return ChrfScore(CountChrf(answer, references));
}

const std::vector<std::pair<std::string, std::string>>& Pairs() {
  static const std::vector<std::pair<std::string, std::string>> pairs = {
      {"The cat sat on the mat.", "the cat was sitting on a mat"},
      {"police killed the gunman", "police kill the gunman"},
      {"A state of being that is not a state of mind.",
       "An agreeable sensation arising from contemplating the misery of another."},
      {"", "something"},
      {"abc", "abc"},
      {"Größe ist naïve, 42 Mäuse", "Die Größe der naiven 42 Mäuse"},
      {"hi", "hello there"}};
  return pairs;
}

// Values of sacreBLEU 2.6: CHRF().sentence_score and corpus_score.
TEST(Chrf, AgreesWithSacrebleu) {
  const double expected[] = {24.748356717624258, 81.62392219120139, 15.85797894506927, 0.0, 100.0,
                             37.418018716339354, 5.952380952380952};
  ChrfCounts all{};
  for (size_t i = 0; i < Pairs().size(); ++i) {
    EXPECT_NEAR(Sentence(Pairs()[i].first, {Pairs()[i].second}), expected[i], 1e-9) << i;
    const ChrfCounts counts = CountChrf(Pairs()[i].first, {Pairs()[i].second});
    for (size_t c = 0; c < all.size(); ++c) all[c] += counts[c];
  }
  EXPECT_NEAR(ChrfScore(all), 28.72261660557983, 1e-9);
  EXPECT_NEAR(Sentence("The cat sat", {"the dog sat", "The cat is here"}), 38.429890599612555, 1e-9);
}

}  // namespace attune::chrf_test
