// What check counts: of a block of rows, then of all, and what can be found only when all have been seen.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "curate/check.h"
#include "curate/length_histogram.h"
#include "curate/phrases.h"
#include "curate/row.h"

namespace attune {

inline constexpr size_t kKeptLengths = 8;  // of the shortest and longest answers

// What of a row is compared with the others.
struct PromptHash {
  uint64_t prompt = 0, answer = 0;
  uint32_t file = 0;
  int64_t line = 0;
};

struct LengthAt {
  int64_t length = 0;
  uint32_t file = 0;
  int64_t line = 0;
};

// A block's findings, and then those of all.
struct CheckTally {
  int64_t rows = 0, bytes = 0;
  std::array<RuleCount, kRules> rules;
  std::array<int64_t, kRowFormats> formats{};
  std::array<std::array<int64_t, kTemplateFamilies>, kRowFormats> templates{};
  std::array<std::array<std::string, kTemplateFamilies>, kRowFormats> first_with;  // where such a row was seen first
  std::map<std::string_view, int64_t> languages;
  std::map<std::string_view, std::vector<std::string>> language_rows;
  std::vector<PromptHash> prompts;
  LengthHistogram lengths;
  std::vector<LengthAt> shortest, longest;
  std::optional<std::string> broken;             // the first, for strict
  std::map<std::string, int64_t> formats_found;  // by name, set by CheckWhole
};

// Leaves the first few of the shortest or longest.
void KeepLengths(std::vector<LengthAt>& kept, bool shortest);

// Adds a block's tally, which comes in the order of the rows; `examples`: to keep of each rule.
void MergeTally(CheckTally& all, CheckTally& part, size_t examples);

// Doubles, conflicts, mixed formats and languages, unusual lengths. Sorts tally->prompts.
void CheckWhole(const CheckSettings& settings, const std::vector<DataFile>& files, CheckTally* tally);

}  // namespace attune
