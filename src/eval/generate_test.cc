// Draws of the next token.
#include "eval/generate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace attune::generate_test {

// By sorting everything.
int32_t PlainPick(const std::vector<float>& logits, const SamplingOptions& options, double uniform) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  if (options.top_k > 0 && options.top_k < std::ssize(order)) order.resize(static_cast<size_t>(options.top_k));
  const auto weight = [&](int32_t id) {
    return std::exp((static_cast<double>(logits[static_cast<size_t>(id)]) - logits[static_cast<size_t>(order[0])]) /
                    options.temperature);
  };
  double total = 0, kept = 0;
  for (const int32_t id : order) total += weight(id);
  size_t count = 0;
  while (count < order.size() && (count == 0 || kept < options.top_p * total)) kept += weight(order[count++]);
  double left = uniform * kept;
  for (size_t i = 0; i < count; ++i) {
    left -= weight(order[i]);
    if (left < 0) return order[i];
  }
  return order[count - 1];
}

TEST(PickToken, IsADrawFromTheSortedTokens) {
  std::mt19937 random(3);
  std::uniform_int_distribution<int> level(0, 40);  // with many equals
  std::uniform_real_distribution<double> uniform;
  for (int i = 0; i < 2000; ++i) {
    std::vector<float> logits(static_cast<size_t>(1 + i % 300));
    for (float& logit : logits) logit = 0.25f * static_cast<float>(level(random));
    SamplingOptions options;
    options.temperature = 0.3 + uniform(random);
    options.top_k = i % 3 == 0 ? 1 + i % 50 : 0;
    options.top_p = i % 2 == 0 ? uniform(random) : 1;
    const double draw = i % 7 == 0 ? 1 - 1e-9 : uniform(random);
    ASSERT_EQ(PickToken(logits, options, draw), PlainPick(logits, options, draw)) << i;
  }
}

TEST(PickToken, GreedyTakesTheFirstOfTheLargest) {
  const std::vector<float> logits = {1, 5, 5, -2};
  EXPECT_EQ(PickToken(logits, {}, 0.9), 1);
}

}  // namespace attune::generate_test
