// What rows and answers must be for each metric, and what each metric makes of them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "adapters/python_regex.h"
#include "app/eval_rows.h"
#include "eval/bootstrap.h"
#include "eval/json_answer.h"
#include "train/evaluation.h"

namespace attune {

struct MetricOptions {
  std::vector<std::string> metrics;  // of EvalMetricNames()
  std::string pattern;               // for regex, where rows have none
  std::string schema;                // a file, for json, where rows have none
  double tolerance = 1e-6;           // of numeric
  bool allow_code_execution = false;
  std::string interpreter = "python3";  // words of the command that code is given to
  double code_seconds = 10;
};

const std::vector<std::string>& EvalMetricNames();

// A figure of a system: "loss", "exact_match", "json_schema".
struct MetricColumn {
  std::string name;
  bool lower_is_better = false;
  RowSums table;
};

// The loss by token of rows, and of draws of them.
RowSums LossSums(std::span<const RowLoss> losses);

// What a system made of the rows; what no metric asks for is empty.
struct SystemOutput {
  std::vector<RowLoss> losses;
  std::vector<std::vector<RowLoss>> choices;  // of a row; the end of the turn counts as a token of each
  std::vector<std::string> answers;
  std::vector<std::string> code_failures;  // by row, "" where it passed; filled by Columns
};

class EvalMetricSet {
 public:
  // Errors: Error{kBadInput}: an unknown metric with the nearest one, a pattern or schema that is none, code without
  // consent; rows that lack what a metric needs, by file and line.
  EvalMetricSet(const MetricOptions& options, const std::vector<EvalRow>& rows);

  bool Has(const std::string& metric) const;
  bool needs_answers() const;

  // In the order of the metrics; json has a second one where there is a schema, multiple_choice one by token. `on_row`
  // is told of rows whose code has been run. Errors: as RunInSandbox.
  std::vector<MetricColumn> Columns(SystemOutput& output, const OnEvaluated& on_row);

  // What the system did not let the code give up; empty: nothing, or no code has run.
  const std::string& sandbox_note() const { return sandbox_note_; }

 private:
  void CheckRows() const;
  std::vector<double> OfTexts(const std::string& metric, const std::vector<std::string>& answers) const;
  std::vector<double> RunCode(SystemOutput& output, const OnEvaluated& on_row);
  const PythonRegex& PatternOf(size_t row) const { return patterns_[patterns_.size() == 1 ? 0 : row]; }

  const MetricOptions& options_;
  const std::vector<EvalRow>& rows_;
  std::vector<PythonRegex> patterns_;  // one for all, or one a row
  std::vector<JsonSchema> schemas_;    // none, one for all, or one a row
  std::string sandbox_note_;
};

}  // namespace attune
