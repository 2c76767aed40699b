#include "plan/work_time.h"

#include <algorithm>

namespace attune {
namespace {

// For products by weights of a type that was not measured: those without decoding, slowed down, else the slowest with
// it.
std::optional<double> RateOfOtherProducts(const std::string& kind, const WorkRates& rates) {
  if (!kind.starts_with(kProducts)) return std::nullopt;
  if (const auto plain = rates.find(kProducts); plain != rates.end()) return plain->second / kDecodeFactor;
  std::optional<double> slowest;
  for (const auto& [other, rate] : rates) {
    if (other.starts_with(kProductsBy)) slowest = std::min(rate, slowest.value_or(rate));
  }
  return slowest;
}

}  // namespace

double WorkTime::seconds() const {
  double sum = 0;
  for (const auto& [kind, seconds] : seconds_by_kind) sum += seconds;
  return sum;
}

std::optional<WorkTime> TimeOf(const WorkAmounts& amounts, const WorkRates& rates) {
  WorkTime time;
  for (const auto& [kind, amount] : amounts) {
    if (amount == 0) continue;
    const auto found = rates.find(kind);
    std::optional<double> rate;
    if (found != rates.end()) {
      rate = found->second;
    } else {
      rate = RateOfOtherProducts(kind, rates);
      time.is_guessed = true;
    }
    if (!rate) return std::nullopt;
    time.seconds_by_kind[kind] = amount / *rate;
  }
  return time;
}

}  // namespace attune
