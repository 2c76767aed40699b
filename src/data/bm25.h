// Which of many texts are like one: BM25 over words (Robertson and Zaragoza 2009, "The Probabilistic Relevance
// Framework", with k1 = 1.2 and b = 0.75), for choosing the examples that a prompt shows.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace attune {

class Bm25Index {
 public:
  // Words are runs of letters and digits of ASCII, in lower case, and of bytes beyond it.
  explicit Bm25Index(const std::vector<std::string>& texts);

  // The `count` texts that are most like `query`, the likest first; those of equal score in their order. Texts that
  // share no word with it come last, in their order, so that there are as many as asked for. `except`: a text that is
  // not to be chosen; -1: none.
  std::vector<int64_t> Nearest(std::string_view query, int64_t count, int64_t except = -1) const;

 private:
  struct Posting {
    int32_t text, count;
  };
  std::unordered_map<std::string, std::vector<Posting>> postings_;
  std::vector<int32_t> lengths_;  // words of each text
  double mean_length_ = 0;
};

}  // namespace attune
