#include "app/eval_bench.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "app/forward_model.h"
#include "app/general_loss.h"
#include "app/output_dir.h"
#include "app/prompt_file.h"
#include "app/use_job.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "data/evenly.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kTokensInFlight = 1024;
constexpr uint64_t kBootstrapSeed = 42;

class EvalBench {
 public:
  EvalBench(const EvalBenchJob& job, const OnProgress& on_progress)
      : job_(job),
        on_progress_(on_progress),
        bundle_(OpenModel(job.model)),
        rows_(EvenlyFrom(ReadEvalRows(job.data, bundle_.chat_template != nullptr), job.max_rows)),
        metrics_(job.metrics, rows_) {
    for (const EvalRow& row : rows_) {
      if (bundle_.chat_template == nullptr && (!job.prompts.empty() || !row.messages.is_null())) {
        BadInput("{}: has no chat template, which prompts and conversations need ({})", job.model, row.row.where);
      }
      if (!job.prompts.empty() && row.messages.is_null())
        BadInput("{}: is no conversation, so no prompt can stand before it", row.row.where);
    }
    if (!job.general.empty()) general_ = GeneralText(bundle_, job.general);
  }

  EvalBenchResult Run() {
    EvalBenchResult result{job_.model, job_.data, {}, {}, {}, {}};
    result.systems.push_back({"base", "", "", {}, {}, {}, {}, 0});
    for (const std::string& prompt : job_.prompts)
      result.systems.push_back({"prompt " + prompt, "", prompt, {}, {}, {}, {}, 0});
    for (const std::string& adapter : job_.adapters)
      result.systems.push_back({"adapter " + adapter, adapter, "", {}, {}, {}, {}, 0});
    for (BenchSystem& system : result.systems) RunSystem(system);
    for (const EvalRow& row : rows_) {
      result.rows.push_back({row.row.where, row.question, row.references.empty() ? "" : row.references.front()});
    }
    Compare(result);
    if (!metrics_.sandbox_note().empty()) result.notes.push_back(metrics_.sandbox_note());
    return result;
  }

 private:
  OnEvaluated Progress(const BenchSystem& system, const char* what, size_t total) const {
    return [this, title = system.name + ": " + what, total](int64_t done) {
      if (on_progress_) on_progress_(title.c_str(), done, static_cast<int64_t>(total));
    };
  }

  void RunSystem(BenchSystem& system) {
    const double begin = Now();
    const std::unique_ptr<Prompter> prompter =
        system.prompt.empty() ? nullptr : std::make_unique<Prompter>(ReadPromptFile(system.prompt), bundle_);
    SystemOutput output;
    ScoreLosses(system, prompter.get(), output);
    if (metrics_.needs_answers()) output.answers = Answers(system, prompter.get());
    std::vector<MetricColumn> columns = metrics_.Columns(output, Progress(system, "code", rows_.size()));
    for (const MetricColumn& column : columns) {
      system.figures.push_back({column.name, column.lower_is_better, column.table.Figure(), {}});
    }
    columns_.push_back(std::move(columns));
    system.answers = std::move(output.answers);
    system.code_failures = std::move(output.code_failures);
    system.seconds = Now() - begin;
  }

  Example Encoded(const RowEncoder& encoder, const Prompter* prompter, const DataRow& row) const {
    Example example = encoder.Encode(prompter == nullptr ? row : prompter->Prompted(row));
    if (TrainedTokens(example) == 0) BadInput("{}: has no answer whose loss could be had", row.where);
    const int64_t positions = bundle_.files.spec().max_position_embeddings;
    if (std::ssize(example.input_ids) > positions) {
      BadInput("{}: {} tokens are more than the model's {} positions", row.where, example.input_ids.size(), positions);
    }
    return example;
  }

  // Rows, choices and general text in one forward model.
  void ScoreLosses(BenchSystem& system, const Prompter* prompter, SystemOutput& output) const {
    std::vector<Example> examples;
    const NoTokenizer none(bundle_.files.path());
    const RowEncoder encoder = WholeRowEncoder(bundle_, none);
    if (metrics_.Has("loss")) {
      for (const EvalRow& row : rows_) examples.push_back(Encoded(encoder, prompter, row.row));
    }
    const size_t choices_begin = examples.size();
    if (metrics_.Has("multiple_choice")) {
      for (const EvalRow& row : rows_) {
        for (const std::string& choice : row.choices)
          examples.push_back(Encoded(encoder, prompter, WithAnswer(row, choice)));
      }
    }
    const size_t general_begin = examples.size();
    if (system.prompt.empty()) examples.insert(examples.end(), general_.begin(), general_.end());
    if (examples.empty()) return;
    std::vector<RowLoss> losses;
    EvaluateExamples(bundle_, {system.adapter, kTokensInFlight, job_.bf16}, examples, &losses,
                     Progress(system, "losses", examples.size()));
    size_t at = choices_begin;
    if (metrics_.Has("loss"))
      output.losses.assign(losses.begin(), losses.begin() + static_cast<std::ptrdiff_t>(choices_begin));
    for (size_t i = 0; at < general_begin; ++i) {
      output.choices.emplace_back();
      for (size_t c = 0; c < rows_[i].choices.size(); ++c, ++at) output.choices.back().push_back(losses[at]);
    }
    if (at < losses.size()) system.general_loss = LossSums(std::span(losses).subspan(at)).Figure();
  }

  std::vector<std::string> Answers(const BenchSystem& system, const Prompter* prompter) const {
    ChatSession session(job_.model, system.adapter, 0);
    const OnEvaluated progress = Progress(system, "answers", rows_.size());
    std::vector<std::string> answers;
    for (const EvalRow& row : rows_) {
      Generation answer;
      if (row.messages.is_null()) {
        answer = session.Continue(row.question, job_.sampling, {});
      } else if (prompter == nullptr) {
        answer = session.Answer(row.messages, job_.sampling, {});
      } else {
        DataRow asked = row.row;
        asked.messages = row.messages;
        asked.prompt_messages = 0;
        answer = session.Answer(prompter->Prompted(asked).messages, job_.sampling, {});
      }
      answers.push_back(std::move(answer.text));
      progress(std::ssize(answers));
    }
    return answers;
  }

  void Compare(EvalBenchResult& result) const {
    std::vector<const RowSums*> tables;
    for (const std::vector<MetricColumn>& columns : columns_) {
      for (const MetricColumn& column : columns) tables.push_back(&column.table);
    }
    const std::vector<std::vector<double>> draws = Resample(tables, kBootstrapSeed);
    const size_t figures = columns_.front().size();
    for (size_t s = 0; s < result.systems.size(); ++s) {
      for (size_t f = 0; f < figures; ++f) result.systems[s].figures[f].interval = MiddleOf(draws[s * figures + f]);
    }
    for (size_t a = 1; a < result.systems.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        for (size_t f = 0; f < figures; ++f) {
          result.differences.push_back({a, b, f,
                                        result.systems[a].figures[f].value - result.systems[b].figures[f].value,
                                        DifferenceOf(draws[a * figures + f], draws[b * figures + f])});
        }
      }
    }
  }

  const EvalBenchJob& job_;
  const OnProgress& on_progress_;
  ModelBundle bundle_;
  std::vector<EvalRow> rows_;
  EvalMetricSet metrics_;
  std::vector<Example> general_;
  std::vector<std::vector<MetricColumn>> columns_;  // by system
};

}  // namespace

EvalBenchResult RunEvalBench(const EvalBenchJob& job, const OnProgress& on_progress) {
  if (!job.output.empty()) RequireNewFile(job.output);
  if (!job.output.empty() && !job.output.ends_with(".html"))
    BadInput("--output {}: the name must end in .html", job.output);
  EvalBenchResult result = EvalBench(job, on_progress).Run();
  if (!job.output.empty()) WriteFileAtomic(job.output, BenchPage(result));
  return result;
}

std::string FigureText(const std::string& metric, double value) {
  return fmt::format("{:.{}f}", value, metric == "chrf" ? 1 : 3);
}

std::string VerdictText(const EvalBenchResult& result, const BenchDifference& d) {
  const Interval& interval = d.difference.interval;
  if (interval.low <= 0 && interval.high >= 0) return "not told apart";
  return (d.value < 0) == result.systems[d.a].figures[d.figure].lower_is_better ? "better" : "worse";
}

Json ToJson(const EvalBenchResult& result) {
  Json systems = Json::array(), differences = Json::array(), rows = Json::array();
  for (const BenchSystem& s : result.systems) {
    Json figures = Json::object();
    for (const BenchFigure& f : s.figures) {
      figures[f.metric] = {{"value", f.value}, {"low", f.interval.low}, {"high", f.interval.high}};
      if (f.metric == "loss")
        figures["perplexity"] = {
            {"value", std::exp(f.value)}, {"low", std::exp(f.interval.low)}, {"high", std::exp(f.interval.high)}};
    }
    Json system = {{"name", s.name},
                   {"adapter", s.adapter},
                   {"prompt_file", s.prompt},
                   {"metrics", figures},
                   {"runtime", s.seconds}};
    if (s.general_loss) system["general_loss"] = *s.general_loss;
    systems.push_back(system);
  }
  for (const BenchDifference& d : result.differences) {
    differences.push_back({{"a", result.systems[d.a].name},
                           {"b", result.systems[d.b].name},
                           {"metric", result.systems[d.a].figures[d.figure].metric},
                           {"a_minus_b", d.value},
                           {"low", d.difference.interval.low},
                           {"high", d.difference.interval.high},
                           {"share_a_larger", d.difference.share_above}});
  }
  for (size_t i = 0; i < result.rows.size(); ++i) {
    Json row = {{"where", result.rows[i].where},
                {"question", result.rows[i].question},
                {"reference", result.rows[i].reference}};
    for (const BenchSystem& s : result.systems) {
      if (!s.answers.empty()) row["answers"].push_back(s.answers[i]);
      if (!s.code_failures.empty()) row["code"].push_back(s.code_failures[i].empty() ? "passed" : s.code_failures[i]);
    }
    rows.push_back(row);
  }
  return {{"model", result.model},      {"data", result.data}, {"resamples", kResamples}, {"systems", systems},
          {"differences", differences}, {"rows", rows},        {"notes", result.notes}};
}

}  // namespace attune
