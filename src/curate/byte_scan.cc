#include "curate/byte_scan.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace attune {
namespace {

constexpr size_t kSets = 8, kFirstBytes = PhraseFilter::kFirstBytes;

// Halves of bytes that may stand at each of its places, a bit each.
struct Halves {
  std::array<uint16_t, kFirstBytes> low{}, high{};
};

// How often a byte has this upper half, of a thousand in prose: what is lower case or blank counts most.
constexpr std::array<uint16_t, 16> kUpperHalves = {10, 2, 190, 10, 15, 10, 470, 270, 3, 3, 3, 3, 3, 3, 3, 3};

// How often a place of prose passes, but for a constant.
double Passes(const Halves& set) {
  double product = 1;
  for (size_t i = 0; i < kFirstBytes; ++i) {
    int upper = 0, lower = 0;
    for (size_t h = 0; h < 16; ++h) upper += (set.high[i] >> h & 1) * kUpperHalves[h], lower += set.low[i] >> h & 1;
    product *= upper * lower;
  }
  return product;
}

Halves Joined(const Halves& a, const Halves& b) {
  Halves both = a;
  for (size_t i = 0; i < kFirstBytes; ++i) both.low[i] |= b.low[i], both.high[i] |= b.high[i];
  return both;
}

char Capital(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; }

Halves HalvesOf(const PhraseFilter::Phrase& phrase) {
  Halves halves;
  for (size_t i = 0; i < kFirstBytes; ++i) {
    if (i >= phrase.text.size()) {
      halves.low[i] = halves.high[i] = 0xFFFF;  // a shorter phrase: any byte
      continue;
    }
    for (const char c : {phrase.text[i], phrase.any_case ? Capital(phrase.text[i]) : phrase.text[i]}) {
      halves.low[i] |= static_cast<uint16_t>(1u << (c & 15));
      halves.high[i] |= static_cast<uint16_t>(1u << (c >> 4 & 15));
    }
  }
  return halves;
}

uint64_t WindowOf(std::string_view text) {
  uint64_t window = 0;
  std::memcpy(&window, text.data(), std::min(PhraseFilter::kWindow, text.size()));
  return window;
}

bool operator==(const Halves& a, const Halves& b) { return a.low == b.low && a.high == b.high; }

// Of several sets the two that cost least together become one, until there are few enough.
std::vector<Halves> FewSets(std::vector<Halves> sets) {
  std::vector<double> passes;  // of each
  for (const Halves& set : sets) passes.push_back(Passes(set));
  const auto cost = [&](size_t a, size_t b) { return Passes(Joined(sets[a], sets[b])) - passes[a] - passes[b]; };
  std::vector<std::vector<double>> costs(sets.size());  // of each with each before it
  for (size_t a = 0; a < sets.size(); ++a) {
    for (size_t b = 0; b < a; ++b) costs[a].push_back(cost(a, b));
  }
  while (sets.size() > kSets) {
    size_t first = 0, second = 1;
    for (size_t a = 0; a < sets.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        if (costs[a][b] < costs[second][first]) first = b, second = a;
      }
    }
    const auto place = static_cast<std::ptrdiff_t>(second);
    sets[first] = Joined(sets[first], sets[second]);
    passes[first] = Passes(sets[first]);
    sets.erase(sets.begin() + place);
    passes.erase(passes.begin() + place);
    costs.erase(costs.begin() + place);
    for (size_t a = second; a < sets.size(); ++a) costs[a].erase(costs[a].begin() + place);
    for (size_t b = 0; b < first; ++b) costs[first][b] = cost(first, b);
    for (size_t a = first + 1; a < sets.size(); ++a) costs[a][first] = cost(a, first);
  }
  return sets;
}

}  // namespace

PhraseFilter::PhraseFilter(std::span<const Phrase> phrases) {
  std::vector<Halves> sets;
  for (const Phrase& phrase : phrases) {
    const Halves halves = HalvesOf(phrase);
    if (std::none_of(sets.begin(), sets.end(), [&](const Halves& set) { return set == halves; }))
      sets.push_back(halves);
    if (phrase.by_eight) {
      tables_.eight.Add(EightSlot(WindowOf(phrase.text)));
      continue;
    }
    std::string capitals(phrase.text);
    std::transform(capitals.begin(), capitals.end(), capitals.begin(), Capital);
    tables_.three.Add(ThreeSlot(WindowOf(phrase.text)));
    if (phrase.any_case) tables_.three.Add(ThreeSlot(WindowOf(capitals)));
  }
  sets = FewSets(std::move(sets));
  for (size_t set = 0; set < sets.size(); ++set) {
    const auto bit = static_cast<uint8_t>(1u << set);
    for (size_t i = 0; i < kFirstBytes; ++i) {
      for (size_t half = 0; half < 16; ++half) {
        if ((sets[set].low[i] >> half & 1) != 0) tables_.sets.low[i][half] |= bit;
        if ((sets[set].high[i] >> half & 1) != 0) tables_.sets.high[i][half] |= bit;
      }
    }
  }
}

}  // namespace attune
