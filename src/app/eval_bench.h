// `attune eval --metrics`: a model alone, behind prompts and with adapters on the same rows, by several metrics, with
// how sure each figure and each difference is, the answers side by side, and what was forgotten of general text.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/eval_metrics.h"
#include "base/progress.h"
#include "eval/generate.h"

namespace attune {

struct EvalBenchJob {
  std::string model, data;
  std::vector<std::string> adapters, prompts;  // each is a system beside the model alone
  MetricOptions metrics;
  std::string general;   // a text whose loss is measured too, or kBuiltInText; empty: none
  int64_t max_rows = 0;  // evenly from all; 0: all
  bool bf16 = false;
  SamplingOptions sampling;
  std::string output;  // a new .html file; empty: none
};

struct BenchFigure {
  std::string metric;
  bool lower_is_better = false;
  double value = 0;
  Interval interval;
};

struct BenchSystem {
  std::string name, adapter, prompt;
  std::vector<BenchFigure> figures;
  std::vector<std::string> answers;  // by row; empty where no metric needs them
  std::vector<std::string> code_failures;
  std::optional<double> general_loss;
  double seconds = 0;
};

// a - b of one metric.
struct BenchDifference {
  size_t a = 0, b = 0, figure = 0;
  double value = 0;
  Difference difference;
};

struct BenchRow {
  std::string where, question, reference;
};

struct EvalBenchResult {
  std::string model, data;
  std::vector<BenchRow> rows;
  std::vector<BenchSystem> systems;
  std::vector<BenchDifference> differences;  // every pair of systems, a behind b
  std::vector<std::string> notes;
};

// Errors: Error{kBadInput} as EvalMetricSet and ReadEvalRows, an output that exists, a prompt for a model without a
// chat template.
EvalBenchResult RunEvalBench(const EvalBenchJob& job, const OnProgress& on_progress);

nlohmann::ordered_json ToJson(const EvalBenchResult& result);

// "0.123", or "45.6" of chrF; "better", "worse" or "not told apart" of a against b.
std::string FigureText(const std::string& metric, double value);
std::string VerdictText(const EvalBenchResult& result, const BenchDifference& difference);

// One page, everything escaped, nothing fetched.
std::string BenchPage(const EvalBenchResult& result);

}  // namespace attune
