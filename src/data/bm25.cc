#include "data/bm25.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>

namespace attune {
namespace {

constexpr double kSaturation = 1.2, kLengthWeight = 0.75;  // k1, b

std::vector<std::string> WordsOf(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || byte >= 0x80) {
      word += static_cast<char>(std::tolower(byte));
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

}  // namespace

Bm25Index::Bm25Index(const std::vector<std::string>& texts) {
  for (size_t i = 0; i < texts.size(); ++i) {
    std::map<std::string, int32_t> counts;
    const std::vector<std::string> words = WordsOf(texts[i]);
    for (const std::string& word : words) ++counts[word];
    for (const auto& [word, count] : counts) postings_[word].push_back({static_cast<int32_t>(i), count});
    lengths_.push_back(static_cast<int32_t>(words.size()));
    mean_length_ += static_cast<double>(words.size());
  }
  mean_length_ /= std::max<double>(1, static_cast<double>(texts.size()));
}

std::vector<int64_t> Bm25Index::Nearest(std::string_view query, int64_t count, int64_t except) const {
  const auto texts = static_cast<double>(lengths_.size());
  std::vector<double> scores(lengths_.size(), 0);
  for (const std::string& word : WordsOf(query)) {
    const auto found = postings_.find(word);
    if (found == postings_.end()) continue;
    const auto with = static_cast<double>(found->second.size());
    const double rarity = std::log(1 + (texts - with + 0.5) / (with + 0.5));
    for (const Posting& p : found->second) {
      const auto times = static_cast<double>(p.count),
                 length = static_cast<double>(lengths_[static_cast<size_t>(p.text)]);
      const double norm = kSaturation * (1 - kLengthWeight + kLengthWeight * length / mean_length_);
      scores[static_cast<size_t>(p.text)] += rarity * times * (kSaturation + 1) / (times + norm);
    }
  }
  std::vector<int64_t> order;
  for (int64_t i = 0; i < std::ssize(scores); ++i) {
    if (i != except) order.push_back(i);
  }
  const auto end = order.begin() + std::min<int64_t>(count, std::ssize(order));
  std::partial_sort(order.begin(), end, order.end(), [&](int64_t a, int64_t b) {
    const double x = scores[static_cast<size_t>(a)], y = scores[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  });
  order.erase(end, order.end());
  return order;
}

}  // namespace attune
