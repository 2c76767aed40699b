// attune data clean, dedupe, split, decontaminate, select: the stages that write.
#include <fmt/format.h>

#include <memory>

#include "app/data_job.h"
#include "cli/data_flags.h"
#include "cli/progress_line.h"

namespace attune {
namespace {

// Flags of the input with --output, into a stage's settings once they are parsed.
struct StageFlags : DataFlags {
  std::string output;

  void Fill(StageInput* stage) const {
    stage->input = input;
    stage->columns = Names();
    stage->strict = strict;
    stage->shard = Part();
    stage->output = output;
  }
};

// `rows`: the files of rows that the stage writes.
void AddStage(CLI::App* command, StageFlags* flags, const char* rows, CommandContext& context) {
  AddInput(command, flags, context);
  command
      ->add_option("--output", flags->output,
                   fmt::format("NAME: writes {}, NAME.removed.jsonl and NAME.manifest.json", rows))
      ->required();
}

void SayCounts(const CommandContext& context, const nlohmann::ordered_json& manifest, const char* part) {
  if (!manifest.contains(part)) return;
  for (const auto& [rule, rows] : manifest[part].items())
    Say(context, fmt::format("  {:>8} {}: {}", rows.get<int64_t>(), part, rule));
}

void SayStage(const CommandContext& context, const nlohmann::ordered_json& manifest) {
  Say(context,
      fmt::format("{} rows in, {} out", manifest["rows_in"].get<int64_t>(), manifest["rows_out"].get<int64_t>()));
  SayCounts(context, manifest, "removed");
  SayCounts(context, manifest, "changed");
  for (const auto& output : manifest["outputs"])
    Say(context, fmt::format("wrote {}", output["path"].get<std::string>()));
  if (context.json) PrintJson(manifest);
}

// Runs a job while its model shows how far it is.
template <class Run>
auto WithProgress(RowModel model, const Run& run) {
  ProgressLine line;
  model.on_progress = line.Reporter();
  return run(model);
}

void AddClean(CLI::App* data, CommandContext& context) {
  auto* command =
      data->add_subcommand("clean", "Mend texts, redact personal data, take out rows that cannot be trained on");
  std::string rules;
  for (const RuleInfo& info : RuleTable()) {
    if (info.actions != 0) rules += fmt::format("  {:<22} {:<7} {}\n", info.id, ActionName(info.usual), info.what);
  }
  command->footer("Rules, and what is done where --rules does not say otherwise:\n" + rules +
                  "\nExample: attune data clean raw.jsonl --output clean --rules email=keep,refusal=drop");
  struct Flags {
    StageFlags stage;
    std::vector<std::string> rules;
  };
  auto flags = std::make_shared<Flags>();
  AddStage(command, &flags->stage, "NAME.jsonl", context);
  AddShard(command, &flags->stage);
  command->add_option("--rules", flags->rules, "What to do about a finding: RULE=keep, mend, redact or drop")
      ->delimiter(',');
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      CleanSettings settings;
      flags->stage.Fill(&settings.stage);
      for (const std::string& rule : flags->rules) SetAction(rule, &settings.actions);
      SayStage(context, RunDataClean(settings));
    };
  });
}

// How rows are compared.
struct CompareFlags {
  std::string by = "both";
  bool semantic = false;
  DuplicateSettings settings;
  RowModel model;

  DuplicateSettings Settings() const {
    if (semantic && model.model.empty()) BadInput("--semantic: needs a model that reads the rows: --model M");
    if (!semantic && !model.model.empty()) BadInput("--model {}: is for --semantic; set it too", model.model);
    DuplicateSettings made = settings;
    made.by = CompareByNamed(by);
    return made;
  }
};

void AddCompare(CLI::App* command, CompareFlags* flags) {
  command->add_option("--by", flags->by, "What is compared: prompt, answer or both");
  command->add_option("--near", flags->settings.near, "false: only rows that are exactly the same");
  command
      ->add_option("--threshold", flags->settings.threshold, "Jaccard similarity from which rows are near duplicates")
      ->check(Between(0.3, 1.0));
  command
      ->add_option("--memory", flags->settings.memory,
                   "Bytes (64MB, 8GB) that the index may take before it goes to a file beside the output")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(int64_t{1} << 20, int64_t{1} << 50));
  command->add_flag("--semantic", flags->semantic, "Also rows that say the same in other words, as a model reads them");
  command->add_option("--model", flags->model.model, "Model folder, .gguf file or org/name, for --semantic");
  command
      ->add_option("--semantic_threshold", flags->settings.semantic_threshold,
                   "Cosine of two rows' hidden states from which they are semantic duplicates")
      ->check(Between(0.5, 1.0));
}

void SaySignatures(const CommandContext& context, const nlohmann::ordered_json& result) {
  Say(context, fmt::format("{} rows; wrote {}, one of those for --merge", result["rows"].get<int64_t>(),
                           result["signatures"].get<std::string>()));
  if (context.json) PrintJson(result);
}

void AddDedupe(CLI::App* data, CommandContext& context) {
  auto* command = data->add_subcommand("dedupe", "Take out rows that say the same as another");
  command->footer("Example: attune data dedupe clean.jsonl --output unique --by prompt --keep longest");
  struct Flags {
    StageFlags stage;
    CompareFlags compare;
    std::string keep = "first";
  };
  auto flags = std::make_shared<Flags>();
  AddStage(command, &flags->stage, "NAME.jsonl", context);
  AddCompare(command, &flags->compare);
  command->add_option("--keep", flags->keep, "Which row of a cluster stays: first, longest or score");
  command->add_option("--score", flags->compare.settings.score, "The column of scores, for --keep score");
  AddShard(command, &flags->stage);
  command
      ->add_option("--merge", flags->compare.settings.signatures,
                   "NAME.signatures of all shards: the same result without looking for candidates again")
      ->delimiter(',')
      ->excludes("--shard");
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      DedupeSettings settings;
      flags->stage.Fill(&settings.stage);
      settings.duplicates = flags->compare.Settings();
      settings.keep = KeepRowNamed(flags->keep);
      const auto manifest =
          WithProgress(flags->compare.model, [&](const RowModel& model) { return RunDataDedupe(settings, model); });
      if (settings.stage.shard.is_part()) return SaySignatures(context, manifest);
      Say(context, fmt::format("{} clusters of rows that say the same", manifest["clusters"].get<int64_t>()));
      SayStage(context, manifest);
    };
  });
}

void AddSplit(CLI::App* data, CommandContext& context) {
  auto* command = data->add_subcommand("split", "Hold rows out for evaluation; near duplicates stay on one side");
  command->footer("Example: attune data split unique.jsonl --output split --eval_fraction 0.05 --stratify category");
  struct Flags {
    StageFlags stage;
    CompareFlags compare;
    SplitSettings settings;
  };
  auto flags = std::make_shared<Flags>();
  AddStage(command, &flags->stage, "NAME.train.jsonl, NAME.eval.jsonl", context);
  AddCompare(command, &flags->compare);
  auto* fraction = command->add_option("--eval_fraction", flags->settings.fraction, "Share of the rows to hold out")
                       ->check(Between(0.0, 0.9));
  command->add_option("--eval_rows", flags->settings.rows, "How many rows to hold out")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->excludes(fraction);
  command->add_option("--stratify", flags->compare.settings.label,
                      "A column; each of its values is held out in the same share");
  command->add_option("--seed", flags->settings.seed, "Another seed holds out other rows")->check(IsSeed());
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      SplitSettings settings = flags->settings;
      flags->stage.Fill(&settings.stage);
      settings.duplicates = flags->compare.Settings();
      const auto manifest =
          WithProgress(flags->compare.model, [&](const RowModel& model) { return RunDataSplit(settings, model); });
      Say(context, fmt::format("{} rows to train on, {} held out, {} clusters", manifest["train"].get<int64_t>(),
                               manifest["eval"].get<int64_t>(), manifest["clusters"].get<int64_t>()));
      SayStage(context, manifest);
    };
  });
}

void AddDecontaminate(CLI::App* data, CommandContext& context) {
  auto* command =
      data->add_subcommand("decontaminate", "Take out rows that share a run of words with evaluation files");
  command->footer(
      "Example: attune data decontaminate split.train.jsonl --against eval.jsonl,benchmarks --output train");
  struct Flags {
    StageFlags stage;
    DecontaminateSettings settings;
  };
  auto flags = std::make_shared<Flags>();
  AddStage(command, &flags->stage, "NAME.jsonl", context);
  command->add_option("--against", flags->settings.against, "Evaluation files and folders")->delimiter(',')->required();
  command->add_option("--words", flags->settings.words, "In a row, from which a row is taken out")
      ->check(CLI::Range(size_t{8}, size_t{1000}));
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      DecontaminateSettings settings = flags->settings;
      flags->stage.Fill(&settings.stage);
      const auto manifest = RunDataDecontaminate(settings);
      Say(context, fmt::format("{} rows share 8 words in a row or more with the evaluation, {} of them 12",
                               manifest["rows_sharing_8_words"].get<int64_t>(),
                               manifest["rows_sharing_12_words"].get<int64_t>()));
      for (const auto& example : manifest.value("examples", nlohmann::ordered_json::array())) {
        Say(context, fmt::format("  {} and {}: {}", example["where"].get<std::string>(),
                                 example["eval"].get<std::string>(), example["text"].get<std::string>()));
      }
      SayStage(context, manifest);
    };
  });
}

struct SelectFlags {
  StageFlags stage;
  SelectSettings settings;
  RowModel model;
  std::string by = "longest", loss_band, diversity;  // empty: as the settings have them
};

void SayPart(const CommandContext& context, const char* name, const nlohmann::ordered_json& part) {
  std::string line = fmt::format("{}: {} rows, answers of {:.0f} bytes, {:.3f} to the nearest other row", name,
                                 part["rows"].get<int64_t>(), part["mean_answer_bytes"].get<double>(),
                                 part["mean_nearest_distance"].get<double>());
  if (part.contains("mean_loss")) line += fmt::format(", loss {:.3f}", part["mean_loss"].get<double>());
  if (part.contains("mean_ifd")) line += fmt::format(", IFD {:.3f}", part["mean_ifd"].get<double>());
  Say(context, line);
}

void RunSelect(const SelectFlags& flags, const CommandContext& context) {
  SelectSettings settings = flags.settings;
  flags.stage.Fill(&settings.stage);
  settings.rules.by = SelectRulesNamed(flags.by);
  if (!flags.loss_band.empty()) settings.rules.loss_band = LossBandNamed(flags.loss_band);
  if (!flags.diversity.empty()) settings.rules.diversity = DiversityRuleNamed(flags.diversity);
  const auto need = [&](const std::string& flag, SelectRule rule, const char* name) {
    if (!flag.empty() && !settings.rules.Uses(rule))
      BadInput("--{}: says how {} chooses, which is not among --by {}", flag, name, flags.by);
  };
  need(flags.loss_band.empty() ? "" : "loss_band", SelectRule::kLoss, "loss");
  need(flags.diversity.empty() ? "" : "diversity", SelectRule::kDiverse, "diverse");
  const auto manifest =
      WithProgress(flags.model, [&](const RowModel& model) { return RunDataSelect(settings, model); });
  for (const char* part : {"selected", "control"}) SayPart(context, part, manifest[part]);
  SayStage(context, manifest);
}

void AddSelect(CLI::App* data, CommandContext& context) {
  auto* command =
      data->add_subcommand("select", "Choose a part of the rows, with a random part of the same size as control");
  command->footer(
      "Example: attune data select unique.jsonl --output best --rows 1000 --by ifd=0.5,diverse=0.5 --model M.gguf "
      "--scores scores.jsonl");
  auto flags = std::make_shared<SelectFlags>();
  AddStage(command, &flags->stage, "NAME.jsonl, NAME.control.jsonl", context);
  command->add_option("--rows", flags->settings.rows, "How many to choose")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 31))
      ->required();
  command->add_option(
      "--by", flags->by,
      "longest (answers), ifd or loss (of a model), diverse (each far from the others), random; several with "
      "weights: ifd=0.5,diverse=0.5");
  command->add_option("--loss_band", flags->loss_band, "For loss: lowest, middle (default) or highest");
  command->add_option(
      "--diversity", flags->diversity,
      "For diverse: k-centre (default, the far-off ones) or facility-location (those that stand for many)");
  command->add_option("--model", flags->model.model,
                      "Model folder, .gguf file or org/name: scores rows for ifd and loss, places them for diverse");
  command->add_option("--scores", flags->model.scores,
                      "A file that keeps the model's scores; rows in it are not scored again");
  command->add_option("--max_length", flags->model.max_length, "Tokens of a row that are scored")
      ->check(CLI::Range(int64_t{2}, int64_t{1} << 20));
  command
      ->add_option("--seed", flags->settings.rules.seed, "Of random, of the first row of diverse, and of the control")
      ->check(IsSeed());
  command->callback([flags, &context] { context.run = [flags, &context] { RunSelect(*flags, context); }; });
}

}  // namespace

void AddInput(CLI::App* command, DataFlags* flags, CommandContext& context) {
  command
      ->add_option("input", flags->input,
                   "Files (.jsonl, .json, .csv, .tsv, .txt, also .gz and .zst, .parquet) and folders of them")
      ->required();
  command
      ->add_option("--columns", flags->columns,
                   "What the files call the keys of a format: prompt=question,completion=reply")
      ->delimiter(',');
  command->add_flag("--strict", flags->strict, "Stop at the first row that cannot be read");
  command->add_flag("--json", context.json, "One JSON document on standard output");
}

void AddShard(CLI::App* command, DataFlags* flags) {
  command->add_option("--shard", flags->shard,
                      "I/N: only the I-th of N parts of the input; of dedupe: its signatures, for --merge");
}

void AddDataStages(CLI::App* data, CommandContext& context) {
  AddClean(data, context);
  AddDedupe(data, context);
  AddSplit(data, context);
  AddDecontaminate(data, context);
  AddSelect(data, context);
}

}  // namespace attune
