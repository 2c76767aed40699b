// The rules of attune data select: which of the rows each would choose.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "curate/diversity.h"
#include "curate/row_score.h"

namespace attune {

enum class SelectRule {
  kLongest,  // the longest answers: a baseline that is hard to beat (Zhao et al. 2024, arXiv:2402.04833)
  kIfd,      // the highest instruction-following difficulty below 1 (Li et al. 2023, arXiv:2308.12032)
  kLoss,     // the loss of the answer, by LossBand
  kDiverse,  // by DiversityRule
  kRandom,
};

// Which part of the rows in the order of their losses (Marion et al. 2023, arXiv:2309.04564, find the middle best).
enum class LossBand { kLowest, kMiddle, kHighest };

enum class DiversityRule { kKCentre, kFacilityLocation };

struct WeightedRule {
  SelectRule rule = SelectRule::kLongest;
  double weight = 1;
};

struct SelectionSettings {
  std::vector<WeightedRule> by = {{}};  // of several each row's ranks are added up by weight
  LossBand loss_band = LossBand::kMiddle;
  DiversityRule diversity = DiversityRule::kKCentre;
  uint64_t seed = 42;

  bool Uses(SelectRule rule) const;
};

// "longest", or "ifd=0.5,diverse=0.5"; "lowest" ...; "k-centre" or "facility-location". Errors: Error{kBadInput} naming
// the flag.
std::vector<WeightedRule> SelectRulesNamed(const std::string& text);
LossBand LossBandNamed(const std::string& name);
DiversityRule DiversityRuleNamed(const std::string& name);
nlohmann::ordered_json ToJson(const SelectionSettings& settings);

// What the rules know of the rows, by place.
struct SelectionRows {
  std::vector<int64_t> answer_bytes;
  std::vector<uint64_t> content;  // a hash of what the row says
  std::vector<RowScore> scores;   // empty without a model
  Embeddings vectors;
};

// Rows that the rules may choose: with kIfd those whose IFD is below 1, with kLoss those with a score.
Places Eligible(const SelectionRows& rows, const SelectionSettings& settings);

// The first `count` in the order of the rules, of `eligible` rows; at least so many there must be. A rank of kDiverse
// is a row's turn in its order, so that a mix orders all rows by it.
Places Choose(const SelectionRows& rows, const Places& eligible, const SelectionSettings& settings, size_t count,
              int64_t threads);

// By a draw that depends on the seed and on what the rows say.
Places DrawRandom(const SelectionRows& rows, Places places, size_t count, uint64_t seed);

}  // namespace attune
