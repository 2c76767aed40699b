// The time of counted work: the sum over its kinds of amount by rate, where a machine's rates have been measured.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "ops/work.h"

namespace attune {

using WorkRates = std::map<std::string, double>;  // amounts a second, by kind of work

// Decoding 4-bit weights on the way to a product, beside the product itself, where it has not been measured. Of eleven
// published pairs of QLoRA and LoRA with 1,024 tokens or more at once on one device, ten take 1.03 to 1.40 times as
// long (docs/planner.md); fewer tokens cost more.
inline constexpr double kDecodeFactor = 1.2;

// By which a time may be off either way where some products go by the rate of others.
inline constexpr double kGuessedErrorFactor = 1.3;

struct WorkTime {
  std::map<std::string, double> seconds_by_kind;
  bool is_guessed = false;  // products by a type of weights that was not measured go by the rate of others

  double seconds() const;
};

// Nothing where a kind has no rate and none to go by.
std::optional<WorkTime> TimeOf(const WorkAmounts& amounts, const WorkRates& rates);

}  // namespace attune
