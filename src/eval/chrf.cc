#include "eval/chrf.h"

#include <algorithm>
#include <unordered_map>

#include "text/unicode.h"

namespace attune {
namespace {

constexpr size_t kOrders = 6;
constexpr double kRecallWeight = 2 * 2;  // beta squared

std::u32string Characters(std::string_view text) {
  std::u32string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = NextCodePoint(text, &at);
    if (!IsWhitespace(c)) out += c;
  }
  return out;
}

using Grams = std::unordered_map<std::u32string_view, int64_t>;

Grams GramsOf(std::u32string_view text, size_t order) {
  Grams grams;
  for (size_t i = 0; i + order <= text.size(); ++i) ++grams[text.substr(i, order)];
  return grams;
}

ChrfCounts CountAgainst(std::u32string_view answer, std::u32string_view reference) {
  ChrfCounts counts{};
  for (size_t order = 1; order <= kOrders; ++order) {
    if (reference.size() < order) continue;  // the answer's are not held against it then
    const Grams wanted = GramsOf(reference, order);
    double* const at = &counts[3 * (order - 1)];
    at[0] = answer.size() < order ? 0 : static_cast<double>(answer.size() - order + 1);
    at[1] = static_cast<double>(reference.size() - order + 1);
    for (const auto& [gram, count] : GramsOf(answer, order)) {
      const auto found = wanted.find(gram);
      if (found != wanted.end()) at[2] += static_cast<double>(std::min(count, found->second));
    }
  }
  return counts;
}

}  // namespace

ChrfCounts CountChrf(std::string_view answer, const std::vector<std::string>& references) {
  const std::u32string characters = Characters(answer);
  ChrfCounts best{};
  double best_score = -1;
  for (const std::string& reference : references) {
    const ChrfCounts counts = CountAgainst(characters, Characters(reference));
    const double score = ChrfScore(counts);
    if (score <= best_score) continue;
    best = counts;
    best_score = score;
  }
  return best;
}

double ChrfScore(std::span<const double> counts) {
  double precision = 0, recall = 0;
  int orders = 0;
  for (size_t i = 0; i < kChrfCounts; i += 3) {
    if (counts[i] <= 0 || counts[i + 1] <= 0) continue;
    precision += counts[i + 2] / counts[i];
    recall += counts[i + 2] / counts[i + 1];
    ++orders;
  }
  if (precision + recall <= 0) return 0;
  precision /= orders;
  recall /= orders;
  return 100 * (1 + kRecallWeight) * precision * recall / (kRecallWeight * precision + recall);
}

}  // namespace attune
