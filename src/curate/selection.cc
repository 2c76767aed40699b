#include "curate/selection.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "curate/named_choice.h"

namespace attune {
namespace {

constexpr const char* kSelectRuleNames[] = {"longest", "ifd", "loss", "diverse", "random"};
constexpr const char* kLossBandNames[] = {"lowest", "middle", "highest"};
constexpr const char* kDiversityRuleNames[] = {"k-centre", "facility-location"};

// In the order of `key`, the least first; of equals the first.
template <class Key>
Places OrderedBy(Places places, const Key& key) {
  std::stable_sort(places.begin(), places.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  return places;
}

Places OrderByLoss(const SelectionRows& rows, const Places& eligible, LossBand band) {
  const Places rising = OrderedBy(eligible, [&](size_t i) { return rows.scores[i].loss; });
  if (band == LossBand::kLowest) return rising;
  if (band == LossBand::kHighest) return {rising.rbegin(), rising.rend()};
  // From the median outwards.
  Places order;
  for (size_t below = rising.size() / 2, above = below; order.size() < rising.size();) {
    if (above < rising.size()) order.push_back(rising[above++]);
    if (below > 0) order.push_back(rising[--below]);
  }
  return order;
}

Places OrderByRule(const SelectionRows& rows, const Places& eligible, const SelectionSettings& settings,
                   SelectRule rule, size_t count, int64_t threads) {
  switch (rule) {
    case SelectRule::kLongest:
      return OrderedBy(eligible, [&](size_t i) { return -rows.answer_bytes[i]; });
    case SelectRule::kIfd:
      return OrderedBy(eligible, [&](size_t i) { return -*rows.scores[i].Ifd(); });
    case SelectRule::kLoss:
      return OrderByLoss(rows, eligible, settings.loss_band);
    case SelectRule::kDiverse: {
      if (settings.diversity == DiversityRule::kFacilityLocation)
        return FacilityLocation(rows.vectors, eligible, count, threads);
      const size_t first = DrawRandom(rows, eligible, 1, settings.seed)[0];
      const auto at = std::lower_bound(eligible.begin(), eligible.end(), first) - eligible.begin();
      return KCentre(rows.vectors, eligible, static_cast<size_t>(at), count, threads);
    }
    case SelectRule::kRandom:
      break;
  }
  return DrawRandom(rows, eligible, count, settings.seed);
}

double WeightNamed(const std::string& text, const std::string& rule) {
  double weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  if (error != std::errc() || end != text.data() + text.size() || !(weight > 0) || !std::isfinite(weight))
    BadInput("--by {}={}: a weight is a number above 0, as in ifd=0.5,diverse=0.5", rule, text);
  return weight;
}

}  // namespace

bool SelectionSettings::Uses(SelectRule rule) const {
  return std::any_of(by.begin(), by.end(), [&](const WeightedRule& weighted) { return weighted.rule == rule; });
}

std::vector<WeightedRule> SelectRulesNamed(const std::string& text) {
  if (text == "mix") BadInput("--by mix: name the rules and their weights, as in --by ifd=0.5,diverse=0.5");
  std::vector<WeightedRule> rules;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const size_t sign = part.find('=');
    const std::string name = part.substr(0, sign);
    const auto rule = static_cast<SelectRule>(PlaceOfName(name, kSelectRuleNames, "--by"));
    for (const WeightedRule& before : rules) {
      if (before.rule == rule) BadInput("--by {}: names {} twice", text, name);
    }
    rules.push_back({rule, sign == part.npos ? 1 : WeightNamed(part.substr(sign + 1), name)});
    begin = end + 1;
  }
  return rules;
}

LossBand LossBandNamed(const std::string& name) {
  return static_cast<LossBand>(PlaceOfName(name, kLossBandNames, "--loss_band"));
}
DiversityRule DiversityRuleNamed(const std::string& name) {
  return static_cast<DiversityRule>(PlaceOfName(name, kDiversityRuleNames, "--diversity"));
}

nlohmann::ordered_json ToJson(const SelectionSettings& settings) {
  nlohmann::ordered_json by = nlohmann::ordered_json::object();
  for (const WeightedRule& weighted : settings.by)
    by[kSelectRuleNames[static_cast<size_t>(weighted.rule)]] = weighted.weight;
  nlohmann::ordered_json json = {{"by", by}};
  if (settings.by.size() == 1) json["by"] = by.begin().key();
  if (settings.Uses(SelectRule::kLoss)) json["loss_band"] = kLossBandNames[static_cast<size_t>(settings.loss_band)];
  if (settings.Uses(SelectRule::kDiverse))
    json["diversity"] = kDiversityRuleNames[static_cast<size_t>(settings.diversity)];
  json["seed"] = settings.seed;
  return json;
}

Places Eligible(const SelectionRows& rows, const SelectionSettings& settings) {
  Places eligible;
  for (size_t i = 0; i < rows.content.size(); ++i) {
    if (settings.Uses(SelectRule::kIfd) && rows.scores[i].Ifd().value_or(1) >= 1) continue;
    if (settings.Uses(SelectRule::kLoss) && !rows.scores[i].scored()) continue;
    eligible.push_back(i);
  }
  return eligible;
}

Places Choose(const SelectionRows& rows, const Places& eligible, const SelectionSettings& settings, size_t count,
              int64_t threads) {
  Places chosen;
  if (settings.by.size() == 1) {
    chosen = OrderByRule(rows, eligible, settings, settings.by[0].rule, count, threads);
  } else {
    std::vector<double> ranks(rows.content.size());
    for (const auto& [rule, weight] : settings.by) {
      const Places order = OrderByRule(rows, eligible, settings, rule, eligible.size(), threads);
      for (size_t rank = 0; rank < order.size(); ++rank) ranks[order[rank]] += weight * static_cast<double>(rank);
    }
    chosen = OrderedBy(eligible, [&](size_t i) { return ranks[i]; });
  }
  chosen.resize(count);
  return chosen;
}

Places DrawRandom(const SelectionRows& rows, Places places, size_t count, uint64_t seed) {
  const auto key = [&](size_t i) {
    return std::pair(XXH3_64bits_withSeed(&rows.content[i], sizeof(uint64_t), seed), i);
  };
  std::sort(places.begin(), places.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  places.resize(count);
  return places;
}

}  // namespace attune
