// Lengths of any number of texts in a fixed room: counts by size, 24 classes to each doubling, so that
// quantiles are right within 3 %.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace attune {

class LengthHistogram {
 public:
  void Add(int64_t length) {
    ++counts_[ClassOf(length)];
    shortest_ = total_ == 0 ? length : std::min(shortest_, length);
    longest_ = std::max(longest_, length);
    ++total_;
  }
  void Merge(const LengthHistogram& other) {
    if (other.total_ == 0) return;
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    shortest_ = total_ == 0 ? other.shortest_ : std::min(shortest_, other.shortest_);
    longest_ = std::max(longest_, other.longest_);
    total_ += other.total_;
  }
  int64_t total() const { return total_; }
  int64_t shortest() const { return shortest_; }
  int64_t longest() const { return longest_; }

  // The length below or at which a share of all lie; 0 of nothing.
  int64_t Quantile(double share) const {
    int64_t below = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      below += counts_[i];
      if (below > 0 && static_cast<double>(below) >= share * static_cast<double>(total_))
        return std::clamp(LengthOf(i), shortest_, longest_);
    }
    return longest_;
  }

  // How many lie below `low` or above `high`, to within a class.
  int64_t Outside(int64_t low, int64_t high) const {
    int64_t outside = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      if (LengthOf(i) < low || LengthOf(i) > high) outside += counts_[i];
    }
    return outside;
  }

 private:
  static constexpr double kAnOctave = 24;
  static size_t ClassOf(int64_t length) {
    return static_cast<size_t>(kAnOctave * std::log2(static_cast<double>(length) + 1));
  }
  static int64_t LengthOf(size_t index) {  // the middle of the class
    return static_cast<int64_t>(std::exp2((static_cast<double>(index) + 0.5) / kAnOctave)) - 1;
  }

  std::array<int64_t, 1024> counts_{};  // up to 2^42
  int64_t shortest_ = 0, longest_ = 0, total_ = 0;
};

}  // namespace attune
