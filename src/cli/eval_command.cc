// attune eval: the loss of one system, or several systems by several metrics.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "app/eval_bench.h"
#include "app/use_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/progress_line.h"
#include "store/run_summary.h"

namespace attune {
namespace {

struct EvalFlags {
  EvalBenchJob bench;
  int64_t max_length = 1024;
  std::vector<CLI::Option*> of_bench;  // each of them asks for the bench
};

void SayLoss(const EvalFlags& flags, const CommandContext& context) {
  const EvalBenchJob& bench = flags.bench;
  const auto only = [](const std::vector<std::string>& list) { return list.empty() ? "" : list.front(); };
  const EvalJob job{bench.model, only(bench.adapters), bench.data, only(bench.prompts), flags.max_length, 1024,
                    bench.bf16};
  EvalMetrics m;
  {
    ProgressLine progress;
    m = RunEval(job, progress.Reporter());
  }
  if (context.json) {
    PrintJson({{"eval_loss", m.loss},
               {"eval_perplexity", std::exp(m.loss)},
               {"eval_token_accuracy", m.token_accuracy},
               {"eval_tokens", m.tokens},
               {"eval_runtime", m.seconds}});
  } else {
    Say(context, fmt::format("loss {:.4f} by token over {} tokens, perplexity {:.2f}, token accuracy {:.3f} ({:.1f}s)",
                             m.loss, m.tokens, std::exp(m.loss), m.token_accuracy, m.seconds));
  }
}

void SayFigures(const EvalBenchResult& r, const CommandContext& context) {
  size_t width = 6;
  for (const BenchSystem& s : r.systems) width = std::max(width, s.name.size());
  std::string head = fmt::format("{:<{}}", "system", width);
  for (const BenchFigure& f : r.systems.front().figures) head += fmt::format("  {:>24}", f.metric);
  const bool has_general = r.systems.front().general_loss.has_value();
  Say(context, head + (has_general ? "  loss of general text" : ""));
  for (const BenchSystem& s : r.systems) {
    std::string line = fmt::format("{:<{}}", s.name, width);
    for (const BenchFigure& f : s.figures) {
      line += fmt::format(
          "  {:>24}", fmt::format("{} ({} to {})", FigureText(f.metric, f.value), FigureText(f.metric, f.interval.low),
                                  FigureText(f.metric, f.interval.high)));
    }
    if (has_general)
      line += fmt::format("  {:>20}", s.general_loss ? fmt::format("{:.3f}", *s.general_loss) : "as base");
    Say(context, line);
  }
}

void SayDifferences(const EvalBenchResult& r, const CommandContext& context) {
  if (!r.differences.empty()) Say(context, "\ndifferences, with the middle 95 % of draws of the rows:");
  for (const BenchDifference& d : r.differences) {
    const BenchFigure& f = r.systems[d.a].figures[d.figure];
    const Interval& i = d.difference.interval;
    Say(context, fmt::format("  {:<24} {}{} ({} to {})  {}: {} against {}", f.metric, d.value > 0 ? "+" : "",
                             FigureText(f.metric, d.value), FigureText(f.metric, i.low), FigureText(f.metric, i.high),
                             VerdictText(r, d), r.systems[d.a].name, r.systems[d.b].name));
  }
}

void SayBench(EvalFlags& flags, const CommandContext& context) {
  EvalBenchJob& job = flags.bench;
  if (job.metrics.metrics.empty()) job.metrics.metrics = {"loss"};
  EvalBenchResult result;
  {
    ProgressLine progress;
    result = RunEvalBench(job, progress.Reporter());
  }
  if (context.json) return PrintJson(ToJson(result));
  Say(context, fmt::format("{} rows of {}\n", result.rows.size(), result.data));
  SayFigures(result, context);
  SayDifferences(result, context);
  for (const std::string& note : result.notes) Say(context, "note: " + note);
  if (!job.output.empty()) Say(context, fmt::format("\nwrote {}: the answers side by side", job.output));
}

void AddBenchFlags(CLI::App* command, EvalFlags* flags) {
  EvalBenchJob& job = flags->bench;
  MetricOptions& m = job.metrics;
  const auto before = static_cast<std::ptrdiff_t>(command->get_options().size());
  command->add_option("--metrics", m.metrics, "Several of " + fmt::format("{}", fmt::join(EvalMetricNames(), ", ")))
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--pattern", m.pattern, "For regex: what answers must hold; else \"pattern\" of the rows");
  command->add_option("--schema", m.schema, "For json: a JSON schema; else \"schema\" of the rows");
  command->add_option("--tolerance", m.tolerance, "For numeric: how far off, of the reference or of 1 (default 1e-6)");
  command->add_flag("--allow_code_execution", m.allow_code_execution,
                    "For code: programs that the model writes may run here, in a sandbox");
  command->add_option("--interpreter", m.interpreter,
                      "For code: the command that programs are given to (default python3)");
  command->add_option("--code_seconds", m.code_seconds, "For code: how long a program may take (default 10)");
  command->add_option("--general", job.general,
                      "Also the loss of a text file, or of \"built-in\" text: what was forgotten");
  command->add_option("--max_rows", job.max_rows, "Rows to judge, evenly from all; 0: all (default)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command->add_option("--output", job.output, "Write a new .html page with the answers side by side");
  AddSampling(command, &job.sampling);
  const std::vector<CLI::Option*> all = command->get_options();
  flags->of_bench.assign(all.begin() + before, all.end());
}

}  // namespace

void AddEvalCommand(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("eval", "Loss of answers, or several systems by several metrics");
  command->footer(
      "Example: attune eval --model SmolLM2-135M-Instruct.Q4_1.gguf --adapter results --data eval.jsonl\n"
      "         attune eval --model M.gguf --data eval.jsonl --prompt_file prompt.json --adapter results --metrics "
      "loss,rouge_l,chrf \\\n"
      "           --general built-in --output eval.html\n"
      "With --metrics, --general and the like, or several adapters or prompts: the model alone, each prompt and each "
      "adapter on the same rows.");
  auto flags = std::make_shared<EvalFlags>();
  EvalBenchJob& job = flags->bench;
  command->add_option("--model", job.model, "Model folder, .gguf file or org/name")->required();
  command->add_option("--adapter", job.adapters, "Adapter folder; may be given several times")->allow_extra_args(false);
  command->add_option("--data", job.data, "JSONL or .txt file, or a folder of them")->required();
  command->add_option("--prompt_file", job.prompts, "A prompt.json of attune prompt; may be given several times")
      ->allow_extra_args(false);
  auto* max_length = command->add_option("--max_length", flags->max_length,
                                         "Of the loss alone: tokens a row may have; longer ones are cut");
  max_length->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  AddBenchFlags(command, flags.get());
  command->add_flag("--bf16", job.bf16, "Compute in bf16");
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->callback([flags, max_length, &context] {
    context.run = [flags, max_length, &context] {
      const std::vector<CLI::Option*>& options = flags->of_bench;
      const bool is_bench =
          flags->bench.adapters.size() > 1 || flags->bench.prompts.size() > 1 ||
          std::any_of(options.begin(), options.end(), [](const CLI::Option* o) { return o->count() > 0; });
      if (is_bench && max_length->count() > 0)
        BadInput("--max_length: beside the flags of the bench rows are never cut; leave it out");
      is_bench ? SayBench(*flags, context) : SayLoss(*flags, context);
    };
  });
}

}  // namespace attune
