// attune data: looking at data sets and making better ones of them.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "app/data_job.h"
#include "app/data_preview.h"
#include "app/data_report_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/data_flags.h"
#include "cli/progress_line.h"
#include "cli/settings.h"

namespace attune {
namespace {

// ---------------------------------------------------------------- check

struct CheckFlags {
  DataFlags data;
  DataCheckJob job;
  std::string fail_on = "error";
};

void SayCheck(const CheckResult& r, const CommandContext& context) {
  Say(context, fmt::format("{} rows in {} {}, {:.1f} MB", r.rows, r.files, r.files == 1 ? "file" : "files",
                           static_cast<double>(r.bytes) / 1e6));
  for (const RuleInfo& info : RuleTable()) {
    const RuleCount& count = r.rules[static_cast<size_t>(info.rule)];
    if (count.rows == 0) continue;
    Say(context, fmt::format("{:<8} {:>8}  {}: {}", SeverityName(info.severity), count.rows, info.id, info.what));
    for (const FindingExample& example : count.examples) {
      Say(context, fmt::format("                     {}{}{}", example.where, example.detail.empty() ? "" : ": ",
                               example.detail));
    }
  }
  if (r.Errors() + r.Warnings() == 0) Say(context, "nothing is wrong");
}

void RunCheck(CheckFlags& flags, const CommandContext& context) {
  if (flags.fail_on != "error" && flags.fail_on != "warning" && flags.fail_on != "never")
    BadInput("--fail_on {}: use error, warning or never", flags.fail_on);
  flags.job.settings.input = flags.data.input;
  flags.job.settings.columns = flags.data.Names();
  flags.job.settings.strict = flags.data.strict;
  flags.job.settings.shard = flags.data.Part();
  const CheckResult result = RunDataCheck(flags.job);
  SayCheck(result, context);
  if (context.json) PrintJson(ToJson(result));
  const bool fails =
      (result.Errors() > 0 && flags.fail_on != "never") || (result.Warnings() > 0 && flags.fail_on == "warning");
  if (fails)
    Failed("data check: {} errors and {} warnings in {} rows", result.Errors(), result.Warnings(), result.rows);
}

void AddCheck(CLI::App* data, CommandContext& context) {
  auto* command = data->add_subcommand("check", "Say what is wrong with a data set; exit code 1 when something is");
  command->footer("Example: attune data check train.jsonl --max_length 1024 --model M.gguf");
  auto flags = std::make_shared<CheckFlags>();
  AddInput(command, &flags->data, context);
  AddShard(command, &flags->data);
  command->add_option("--max_length", flags->job.settings.max_length, "Report rows with more tokens than this")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command->add_option("--model", flags->job.model, "Whose tokenizer counts them; without it four bytes are a token");
  command->add_option("--examples", flags->job.settings.examples, "Shown of each finding")
      ->check(CLI::Range(size_t{0}, size_t{10000}));
  command->add_option("--fail_on", flags->fail_on, "What makes the exit code 1: error, warning or never");
  command->callback([flags, &context] { context.run = [flags, &context] { RunCheck(*flags, context); }; });
}

// ---------------------------------------------------------------- preview

struct PreviewFlags {
  DataFlags data;
  DataPreviewJob job;
  std::string config, model;
  std::vector<std::string> set;
  std::optional<int64_t> max_length;

  DataPreviewJob Job() const {
    std::vector<Setting> settings = ParseSettings(set, {}).settings;
    if (!model.empty()) settings.emplace_back("model.name_or_path", model);
    if (max_length)
      settings.emplace_back("training.max_length", *max_length == 0 ? "null" : fmt::to_string(*max_length));
    DataPreviewJob made = job;
    made.config = LoadConfig(config, settings, ConfigUse::kPlan);
    made.stage.input = data.input;
    if (data.input.empty() && !made.config.train_data.empty()) made.stage.input = {made.config.train_data};
    if (made.stage.input.empty()) BadInput("data preview: name files of rows, or a --config with data.train");
    made.stage.columns = data.Names();
    made.stage.strict = data.strict;
    return made;
  }
};

void RunPreview(const DataPreviewJob& job, const CommandContext& context) {
  const DataPreview preview = RunDataPreview(job);
  const bool colour = !context.json && ::isatty(STDOUT_FILENO) == 1;
  for (const PreviewRow& row : preview.rows) {
    Say(context, fmt::format("--- {}: {} tokens, {} trained on, {} cut off", row.where, row.tokens.size(), row.trained,
                             row.cut));
    SayColoured(context, PreviewText(row, colour));
  }
  Say(context, "---");
  for (const std::string& line : TokenLines(preview.counts, preview.truncation)) Say(context, line);
  if (!job.html.empty()) Say(context, fmt::format("wrote {}", job.html));
  if (context.json) PrintJson(ToJson(preview));
}

void AddPreview(CLI::App* data, CommandContext& context) {
  auto* command =
      data->add_subcommand("preview", "Show rows as the model will see them, and which tokens are trained on");
  command->footer(
      "Example: attune data preview train.jsonl --model M.gguf --rows 5 --max_length 512 --html "
      "preview.html");
  auto flags = std::make_shared<PreviewFlags>();
  AddInput(command, &flags->data, context);
  command->get_option("input")->required(false);
  command->add_option("--model", flags->model, "Model folder, .gguf file or org/name: its tokenizer and chat template");
  command->add_option(
      "--config", flags->config,
      "A run's configuration: its masks and max_length, its model, and its data.train where no files are named");
  command
      ->add_option("--set", flags->set,
                   "key=value, on top of the file: assistant_only_loss=true, truncation_mode=keep_end")
      ->allow_extra_args(false);
  command->add_option("--rows", flags->job.rows, "How many to show")->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command->add_option("--from", flags->job.from, "The first row to show, by its number")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  command->add_option("--max_length", flags->max_length, "Tokens a row may have (1024); 0: any number")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  command->add_option("--html", flags->job.html, "Also write them as a page");
  command->callback([flags, &context] { context.run = [flags, &context] { RunPreview(flags->Job(), context); }; });
}

// ---------------------------------------------------------------- report

void AddReport(CLI::App* data, CommandContext& context) {
  auto* command = data->add_subcommand("report", "One page on what the stages did and what the data is like now");
  command->footer(
      "Example: attune data report clean.manifest.json unique.manifest.json --data unique.jsonl --model "
      "M.gguf --output data.html");
  struct Flags {
    DataFlags data;
    DataReportJob job;
  };
  auto flags = std::make_shared<Flags>();
  command->add_option("manifests", flags->job.manifests, "What the stages left, in their order");
  command->add_option("--data", flags->job.data.input, "Files and folders to check as they are now")->delimiter(',');
  command->add_option("--columns", flags->data.columns, "As for the other commands, for --data")->delimiter(',');
  command->add_option("--model", flags->job.model, "Whose tokens are counted");
  command->add_option(
      "--scores", flags->job.scores,
      "A file that keeps the model's scores of rows, as for data select; the page then shows the oddest rows");
  command->add_option("--output", flags->job.output, "NAME.html; NAME.json is written too")->required();
  command->add_flag("--json", context.json, "The report as one JSON document on standard output");
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      flags->job.data.columns = flags->data.Names();
      ProgressLine line;
      flags->job.on_progress = line.Reporter();
      const auto report = RunDataReport(flags->job);
      Say(context, fmt::format("wrote {}", flags->job.output));
      if (context.json) PrintJson(report);
    };
  });
}

}  // namespace

void AddDataCommands(CLI::App& app, CommandContext& context) {
  auto* data = app.add_subcommand("data", "Check, clean, deduplicate, split and look at data sets");
  data->footer("Example: attune data check train.jsonl");
  data->require_subcommand(1);
  AddCheck(data, context);
  AddDataStages(data, context);
  AddPreview(data, context);
  AddReport(data, context);
}

}  // namespace attune
