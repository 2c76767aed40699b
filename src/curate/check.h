// What is wrong with a data set: every rule of curate/rules.h counted, with examples that name file and line.
// Nothing is written.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "curate/row_source.h"
#include "curate/rules.h"

namespace attune {

struct CheckSettings {
  std::vector<std::string> input;
  ColumnMap columns;
  Shard shard;
  bool strict = false;     // the first row that cannot be read is an error
  size_t examples = 3;     // of each rule
  int64_t max_length = 0;  // tokens of the context; 0: not asked
  // Tokens of a row given as one line of JSON, called from several threads; null: about four bytes a token.
  // It may throw Error for a row that cannot be encoded, which then counts as broken.
  std::function<int64_t(const std::string& row, const std::string& where)> count_tokens;
  int64_t threads = 1;
};

struct FindingExample {
  std::string where;   // "train.jsonl:12"
  std::string detail;  // what is there, on one line; may be empty
};

struct RuleCount {
  int64_t rows = 0;
  std::vector<FindingExample> examples;
};

struct CheckResult {
  int64_t rows = 0, files = 0, bytes = 0;  // of records, unpacked
  std::array<RuleCount, kRules> rules;
  std::map<std::string, int64_t> formats;         // rows by format, and template marks where there are some
  std::map<std::string, int64_t> languages;       // rows by language, "unknown" where there was too little text
  int64_t shortest = 0, median = 0, longest = 0;  // answers, in bytes (the median within 3 %)

  int64_t Errors() const;  // rows counted under rules that are errors; a row with two of them counts twice
  int64_t Warnings() const;
};

// Errors: Error{kBadInput} for the input as RowSource; with `strict` "PATH:LINE: ..." for the first broken
// row. The result does not depend on the number of threads.
CheckResult CheckData(const CheckSettings& settings);

// The same for what is left of a source, be it nothing; settings.input is not looked at.
CheckResult CheckRows(RowSource& source, const CheckSettings& settings);

}  // namespace attune
