#include "app/eval_metrics.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"
#include "base/nearest.h"
#include "eval/chrf.h"
#include "eval/sandbox.h"
#include "eval/text_metrics.h"
#include "formats/json.h"

namespace attune {
namespace {

bool IsAnswerMetric(const std::string& metric) { return metric != "loss" && metric != "multiple_choice"; }

std::vector<std::string> WordsOf(const std::string& command) {
  std::istringstream stream(command);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

std::string SandboxNote(const SandboxResult& result) {
  if (result.has_no_network && result.writes_only_inside) return "";
  return fmt::format("the code could {}{}{}: this system lets no program give that up",
                     result.has_no_network ? "" : "reach the network",
                     result.has_no_network || result.writes_only_inside ? "" : " and ",
                     result.writes_only_inside ? "" : "write wherever its user can");
}

// The best of all references.
template <class Score>
double Best(const Score& score, const std::string& answer, const std::vector<std::string>& references) {
  double best = 0;
  for (const std::string& reference : references) best = std::max(best, score(answer, reference));
  return best;
}

RowSums ChrfTable(const std::vector<EvalRow>& rows, const std::vector<std::string>& answers) {
  RowSums table{kChrfCounts, ChrfScore, {}};
  for (size_t i = 0; i < rows.size(); ++i) {
    const ChrfCounts counts = CountChrf(answers[i], rows[i].references);
    table.values.insert(table.values.end(), counts.begin(), counts.end());
  }
  return table;
}

// 1 where the right choice is the likeliest, of all tokens or, so that short ones are not preferred, by token.
std::vector<double> ChoiceHits(const std::vector<EvalRow>& rows, const std::vector<std::vector<RowLoss>>& choices,
                               bool by_token) {
  std::vector<double> hits;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto loss = [&](const RowLoss& c) {
      return by_token ? c.sum / static_cast<double>(std::max<int64_t>(1, c.tokens)) : c.sum;
    };
    const auto best = std::min_element(choices[i].begin(), choices[i].end(),
                                       [&](const RowLoss& a, const RowLoss& b) { return loss(a) < loss(b); });
    hits.push_back(static_cast<size_t>(best - choices[i].begin()) == rows[i].right_choice ? 1 : 0);
  }
  return hits;
}

}  // namespace

RowSums LossSums(std::span<const RowLoss> losses) {
  std::vector<double> sums, tokens;
  for (const RowLoss& row : losses) {
    sums.push_back(row.sum);
    tokens.push_back(static_cast<double>(row.tokens));
  }
  return RatioOf(sums, tokens);
}

const std::vector<std::string>& EvalMetricNames() {
  static const std::vector<std::string> names = {"loss",  "exact_match", "token_f1", "rouge_l",         "chrf",
                                                 "regex", "json",        "numeric",  "multiple_choice", "code"};
  return names;
}

EvalMetricSet::EvalMetricSet(const MetricOptions& options, const std::vector<EvalRow>& rows)
    : options_(options), rows_(rows) {
  for (const std::string& metric : options.metrics) {
    const std::vector<std::string>& names = EvalMetricNames();
    if (std::find(names.begin(), names.end(), metric) != names.end()) continue;
    const std::string nearest = NearestName(metric, names);
    BadInput("--metrics {}: use {}{}", metric, fmt::join(names, ", "),
             nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
  }
  if (Has("code") && !options.allow_code_execution) {
    BadInput(
        "--metrics code: runs programs that the model writes on this machine; --allow_code_execution says that it may");
  }
  if (!Has("regex") && !options.pattern.empty()) BadInput("--pattern: belongs to --metrics regex");
  if (!Has("json") && !options.schema.empty()) BadInput("--schema: belongs to --metrics json");
  if (Has("code") && WordsOf(options.interpreter).empty()) BadInput("--interpreter: is empty");
  if (!(options.tolerance >= 0)) BadInput("--tolerance: must be 0 or more, not {}", options.tolerance);
  if (!(options.code_seconds > 0)) BadInput("--code_seconds: must be above 0, not {}", options.code_seconds);
  CheckRows();
  if (Has("regex") && !options.pattern.empty()) patterns_.emplace_back(options.pattern, "--pattern");
  if (Has("json") && !options.schema.empty()) schemas_.emplace_back(ParseJsonFile(options.schema), options.schema);
  for (const EvalRow& row : rows_) {
    if (Has("regex") && options.pattern.empty()) patterns_.emplace_back(row.pattern, row.row.where + ": pattern");
    if (Has("json") && options.schema.empty() && !row.schema.is_null())
      schemas_.emplace_back(row.schema, row.row.where + ": schema");
  }
}

bool EvalMetricSet::Has(const std::string& metric) const {
  return std::find(options_.metrics.begin(), options_.metrics.end(), metric) != options_.metrics.end();
}

bool EvalMetricSet::needs_answers() const {
  return std::any_of(options_.metrics.begin(), options_.metrics.end(), IsAnswerMetric);
}

void EvalMetricSet::CheckRows() const {
  size_t with_schema = 0;
  for (const EvalRow& row : rows_) {
    const auto lacks = [&](const char* metric, const std::string& what) {
      if (Has(metric)) BadInput("{}: the metric {} needs {}", row.row.where, metric, what);
    };
    if (row.references.empty()) {
      for (const char* metric : {"exact_match", "token_f1", "rouge_l", "chrf", "numeric"}) {
        lacks(metric, "a reference, which this row lacks (an answer at its end, \"answer\" or \"references\")");
      }
    } else if (Has("numeric") && std::none_of(row.references.begin(), row.references.end(), LastNumber)) {
      lacks("numeric", "a number in the reference");
    }
    if (row.choices.empty()) lacks("multiple_choice", "\"choices\" and \"answer\", which this row lacks");
    if (row.pattern.empty() && options_.pattern.empty()) lacks("regex", "\"pattern\" in the row, or --pattern");
    if (row.test.empty()) lacks("code", "\"test\", code that checks the answer, which this row lacks");
    if (needs_answers() && row.question.empty()) {
      BadInput("{}: has no question, so there is no answer to judge; of text and tokens only the loss can be had",
               row.row.where);
    }
    with_schema += row.schema.is_null() ? 0 : 1;
  }
  if (with_schema > 0 && with_schema < rows_.size() && options_.schema.empty() && Has("json")) {
    BadInput("{}: the metric json needs \"schema\" in every row where one has it, or --schema",
             rows_.front().row.where);
  }
}

std::vector<double> EvalMetricSet::OfTexts(const std::string& metric, const std::vector<std::string>& answers) const {
  std::vector<double> values;
  for (size_t i = 0; i < rows_.size(); ++i) {
    const std::vector<std::string>& references = rows_[i].references;
    const std::string& answer = answers[i];
    if (metric == "exact_match") values.push_back(Best(ExactMatch, answer, references));
    if (metric == "token_f1") values.push_back(Best(TokenF1, answer, references));
    if (metric == "rouge_l") values.push_back(Best(RougeL, answer, references));
    if (metric == "regex") values.push_back(PatternOf(i).Search(answer) ? 1 : 0);
    if (metric == "json") values.push_back(JsonOf(answer) ? 1 : 0);
    if (metric == "json_schema") {
      const auto document = JsonOf(answer);
      values.push_back(document && schemas_[schemas_.size() == 1 ? 0 : i].Accepts(*document) ? 1 : 0);
    }
    if (metric == "numeric") {
      values.push_back(
          Best([&](const std::string& a, const std::string& r) { return NumericMatch(a, r, options_.tolerance); },
               answer, references));
    }
  }
  return values;
}

std::vector<double> EvalMetricSet::RunCode(SystemOutput& output, const OnEvaluated& on_row) {
  SandboxLimits limits;
  limits.seconds = options_.code_seconds;
  std::vector<double> passed;
  for (size_t i = 0; i < rows_.size(); ++i) {
    const SandboxResult result = RunInSandbox(WordsOf(options_.interpreter),
                                              FencedOrWhole(output.answers[i]) + "\n" + rows_[i].test + "\n", limits);
    passed.push_back(result.passed ? 1 : 0);
    output.code_failures.push_back(result.why);
    sandbox_note_ = SandboxNote(result);
    if (on_row) on_row(static_cast<int64_t>(i) + 1);
  }
  return passed;
}

std::vector<MetricColumn> EvalMetricSet::Columns(SystemOutput& output, const OnEvaluated& on_row) {
  std::vector<MetricColumn> columns;
  for (const std::string& metric : options_.metrics) {
    if (metric == "loss") {
      columns.push_back({metric, true, LossSums(output.losses)});
    } else if (metric == "chrf") {
      columns.push_back({metric, false, ChrfTable(rows_, output.answers)});
    } else if (metric == "multiple_choice") {
      columns.push_back({metric, false, MeanOf(ChoiceHits(rows_, output.choices, false))});
      columns.push_back({metric + "_by_token", false, MeanOf(ChoiceHits(rows_, output.choices, true))});
    } else if (metric == "code") {
      columns.push_back({metric, false, MeanOf(RunCode(output, on_row))});
    } else {
      columns.push_back({metric, false, MeanOf(OfTexts(metric, output.answers))});
      if (metric == "json" && !schemas_.empty())
        columns.push_back({"json_schema", false, MeanOf(OfTexts("json_schema", output.answers))});
    }
  }
  return columns;
}

}  // namespace attune
