// chrF (Popovic 2015, W15-3049) as sacreBLEU 2 counts it by default: character n-grams of up to six, white space left
// out, recall weighing twice as much as precision, orders that either text is too short for left out.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

// For each order from 1 to 6: n-grams of the answer, of the reference, and shared. Those of several rows are added for
// the score of all.
inline constexpr size_t kChrfCounts = 18;
using ChrfCounts = std::array<double, kChrfCounts>;

// Against the reference that gives the highest score. Texts must be valid UTF-8, and there must be a reference.
ChrfCounts CountChrf(std::string_view answer, const std::vector<std::string>& references);

// 0 to 100.
double ChrfScore(std::span<const double> counts);

}  // namespace attune
