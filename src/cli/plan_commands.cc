// attune plan and attune advise: will it fit, how long, at what cost; and which method.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "app/advise_job.h"
#include "app/plan_job.h"
#include "app/plan_picture.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/ladder.h"
#include "cli/progress_line.h"
#include "cli/settings.h"
#include "store/run_summary.h"

namespace attune {
namespace {

struct PlanFlags {
  PlanJob job;
  std::vector<std::string> set;
  std::string output;
  bool list = false;
};

// One row of the side-by-side table: a name and a cell for each method.
void SayRow(const CommandContext& context, const PlanReport& report, const std::string& name,
            const std::function<std::string(const MethodPlan&)>& cell) {
  std::string line = fmt::format("{:<26}", name);
  bool any = false;
  for (const MethodPlan& m : report.methods) {
    const std::string text = cell(m);
    any = any || !text.empty();
    line += fmt::format(" {:>12}", text.empty() ? "-" : text);
  }
  if (any) Say(context, line);
}

std::string PartText(const MethodPlan& m, const std::string& part) {
  for (const MemoryRow& row : m.memory) {
    if (row.name == part) return BytesText(row.bytes);
  }
  return "";
}

// Every part that some method has, in the order of the trainer's table.
std::vector<std::string> PartsOf(const PlanReport& report) {
  std::vector<std::string> parts;
  for (const std::vector<MemoryRow>* rows : {&report.methods.back().memory, &report.methods.front().memory}) {
    for (const MemoryRow& row : *rows) {
      if (std::find(parts.begin(), parts.end(), row.name) == parts.end()) parts.push_back(row.name);
    }
  }
  return parts;
}

void SayHead(const CommandContext& context, const PlanReport& r) {
  Say(context, fmt::format("model   {}, {:.2f} billion parameters; {}", r.model.name,
                           static_cast<double>(r.model.parameters()) / 1e9, r.model.source));
  const size_t kinds = r.Chosen().seconds_by_kind.size();
  const std::string time = kinds > 0 ? fmt::format("time from the rates of {} kinds of work", kinds)
                                     : fmt::format("of which a step reaches {:.2f}", r.device.fraction);
  Say(context,
      fmt::format("device  {}{}, {} {}, {:.3g} TFLOP/s {}, {} ({})",
                  r.devices > 1 ? fmt::format("{} x ", r.devices) : "", r.device.name, BytesText(r.device.memory_bytes),
                  r.device.is_this_machine ? "free" : "each", r.device.matmul_flops / 1e12,
                  r.device.compute == DType::kBF16 ? "bf16" : "f32", time, r.device.fraction_source));
  if (r.tokens > 0) {
    Say(context, fmt::format("run     {} tokens an epoch, {:.3g} epochs, {} steps, rows of up to {} tokens", r.tokens,
                             r.epochs, r.steps, r.max_length));
  } else {
    Say(context,
        fmt::format("run     rows of up to {} tokens; --tokens N or --data FILE gives time and price", r.max_length));
  }
}

void SayTable(const CommandContext& context, const PlanReport& r) {
  const bool has_time = r.tokens > 0;
  SayRow(context, r, "", [](const MethodPlan& m) { return m.method; });
  for (const std::string& part : PartsOf(r))
    SayRow(context, r, part, [&](const MethodPlan& m) { return PartText(m, part); });
  SayRow(context, r, "planned peak", [](const MethodPlan& m) { return BytesText(m.bytes); });
  SayRow(context, r, "in " + r.stack,
         [](const MethodPlan& m) { return m.stack_bytes ? BytesText(*m.stack_bytes) : ""; });
  SayRow(context, r, "fits", [](const MethodPlan& m) { return std::string(m.fits ? "yes" : "no"); });
  const auto trained = [](const std::function<std::string(const MethodPlan&)>& cell) {
    return [cell](const MethodPlan& m) { return m.method == "prompt" ? std::string() : cell(m); };
  };
  SayRow(context, r, "trained parameters", trained([](const MethodPlan& m) {
           return fmt::format("{:.1f} M", static_cast<double>(m.trainable_parameters) / 1e6);
         }));
  SayRow(context, r, "rows at once", trained([](const MethodPlan& m) { return fmt::format("{}", m.rows_at_once); }));
  SayRow(context, r, "most that fit", trained([](const MethodPlan& m) { return fmt::format("{}", m.largest_rows); }));
  SayRow(context, r, "longest row that fits",
         trained([](const MethodPlan& m) { return fmt::format("{}", m.largest_context); }));
  if (!has_time) return;
  SayRow(context, r, "time", trained([](const MethodPlan& m) { return DurationText(m.seconds); }));
  SayRow(context, r, "  at best", trained([](const MethodPlan& m) { return DurationText(m.seconds_low); }));
  SayRow(context, r, "  at worst", trained([](const MethodPlan& m) { return DurationText(m.seconds_high); }));
  SayRow(context, r, "energy, kWh", trained([](const MethodPlan& m) {
           return m.kilowatt_hours > 0 ? fmt::format("{:.3g}", m.kilowatt_hours) : "";
         }));
  SayRow(context, r, "electricity, " + r.prices.currency, trained([](const MethodPlan& m) {
           return m.kilowatt_hours > 0 ? fmt::format("{:.2f}", m.electricity_cost) : "";
         }));
  SayRow(context, r, "rent, " + r.prices.currency,
         [](const MethodPlan& m) { return m.rent ? fmt::format("{:.2f}", *m.rent) : ""; });
}

void SayVerdict(const CommandContext& context, const PlanReport& r) {
  const MethodPlan& m = r.Chosen();
  Say(context,
      fmt::format("\n{}{}: needs {} of {}{}", m.method, r.is_recommended ? " (recommended)" : "", BytesText(m.bytes),
                  BytesText(r.device.memory_bytes), m.fits ? ", it fits" : ", it does not fit"));
  if (!m.to_fit.empty()) Say(context, "to make it fit, each on top of those before, the cheapest first:");
  for (const FitStep& s : m.to_fit) {
    Say(context,
        fmt::format("  {:<32} {:>12}{}  (costs {})", s.setting, BytesText(s.bytes), s.fits ? ", fits" : "", s.cost));
  }
  if (!m.to_fit.empty() && !m.to_fit.back().fits)
    Say(context, "  none of them is enough: a smaller model, qlora, or more memory");
  for (const std::string& note : r.notes) Say(context, "note: " + note);
  if (r.tokens > 0) Say(context, fmt::format("prices of {}: {}", r.prices.date, r.prices.source));
}

void SayCatalogue(const CommandContext& context) {
  if (context.json) return PrintJson(CatalogueJson());
  Say(context, fmt::format("{:<42} {:>10}  {}", "model", "billions", "family"));
  for (const CatalogueModel& m : ModelCatalogue()) {
    Say(context,
        fmt::format("{:<42} {:>10.2f}  {}", m.name, static_cast<double>(m.parameters) / 1e9, m.spec.model_type));
  }
  Say(context, fmt::format("\n{:<42} {:>10} {:>10}", "device", "GiB", "TFLOP/s"));
  for (const PlanDevice& d : DeviceCatalogue()) {
    Say(context, fmt::format("{:<42} {:>10} {:>10.1f}", d.name, d.memory_bytes >> 30, d.matmul_flops / 1e12));
  }
}

void SayPlan(PlanFlags& flags, const std::vector<std::string>& rest, const CommandContext& context) {
  if (flags.list) return SayCatalogue(context);
  const SettingArguments arguments = ParseSettings(flags.set, rest);
  flags.job.config = arguments.file;
  flags.job.settings = arguments.settings;
  if (!flags.output.empty()) RequirePictureName(flags.output);
  const PlanReport report = MakePlan(flags.job);
  if (!flags.output.empty()) WritePlanPicture(report, flags.output);
  if (context.json) return PrintJson(ToJson(report));
  SayHead(context, report);
  Say(context, "");
  SayTable(context, report);
  SayVerdict(context, report);
}

void SayAdvice(const CommandContext& context, const AdviseJob& job, const AdviseResult& r) {
  const AdviceFacts& f = r.facts;
  Say(context, fmt::format("data    {} rows ({} of them twice), {} tokens, {} trained; {}", f.rows, f.duplicates,
                           f.tokens, f.trained_tokens, f.has_held_out ? "held-out rows given" : "no held-out rows"));
  if (r.losses) {
    Say(context, fmt::format("losses  {:.3f} a token on the rows, {:.3f} on general text (measured in {:.0f} s: {} "
                             "rows with {} tokens, {} of text)",
                             r.losses->rows, r.losses->general, r.losses->seconds, r.losses->rows_measured,
                             r.losses->row_tokens, r.losses->general_tokens));
  }
  Say(context, fmt::format("device  {}, {}: LoRA {}, QLoRA {}, full {}", r.plan.device.name,
                           BytesText(r.plan.device.memory_bytes), f.lora_fits ? "fits" : "does not fit",
                           f.qlora_fits ? "fits" : "does not fit", f.full_fits ? "fits" : "does not fit"));
  Say(context, fmt::format("goal    {}\n\nrules that apply:", f.goal));
  for (const AdviceRule* rule : r.advice.fired) {
    Say(context, fmt::format("  {}: {}\n    because {} [{}]", rule->id, rule->advice, rule->condition, rule->source));
  }
  const AdviceChoice& c = r.advice.choice;
  const MethodPlan& m = r.plan.Chosen();
  Say(context,
      fmt::format("\n{}; then {}: {} of memory, {} ({} to {})",
                  c.first == "prompt" ? "prompt first, with the rows as examples" : "score a prompted baseline first",
                  c.method, BytesText(m.bytes), DurationText(m.seconds), DurationText(m.seconds_low),
                  DurationText(m.seconds_high)));
  if (job.output.empty()) {
    Say(context, "\na configuration for attune train (--output FILE writes it):\n\n" + r.config);
  } else {
    Say(context, fmt::format("wrote {}: attune train {}", job.output, job.output));
  }
}

void SayRules(const CommandContext& context) {
  if (context.json) return PrintJson(AdviceRulesJson());
  for (const AdviceRule& rule : AdviceRules()) {
    Say(context,
        fmt::format("{}\n  when    {}\n  advice  {}\n  source  {}", rule.id, rule.condition, rule.advice, rule.source));
  }
}

void AddAdviseCommand(CLI::App& app, CommandContext& context) {
  auto* command =
      app.add_subcommand("advise", "Which method for this goal, data and machine, and why; with a configuration");
  command->footer(
      "Example: attune advise --model M.gguf --data train.jsonl --eval_data eval.jsonl --goal style --output run.yaml\n"
      "         attune train run.yaml\n"
      "         attune advise --measure --budget 30m --model M.gguf --data train.jsonl --eval_data eval.jsonl "
      "--output_dir ladder");
  struct AdviseFlags {
    AdviseJob job;
    LadderJob ladder;
    std::string budget = "30m";
    bool rules = false, measure = false;
  };
  auto flags = std::make_shared<AdviseFlags>();
  auto* rules = command->add_flag("--rules", flags->rules, "Show every rule with its source");
  command->add_option("--model", flags->job.model, "Model folder, .gguf file or org/name");
  command->add_option("--data", flags->job.data, "Training rows");
  command->add_option("--eval_data", flags->job.eval_data, "Held-out rows");
  command->add_option("--goal", flags->job.goal, "style, domain, code, knowledge, behaviour or base (default style)");
  command->add_option("--device", flags->job.device, "A name of the catalogue; auto (default): this machine");
  command->add_option("--budget_hours", flags->job.budget_hours, "How long training may take")->check(Between(0, 1e9));
  command->add_option("--loss_seconds", flags->job.loss_seconds,
                      "For measuring the model's loss on the rows; 0: not measured (default 30)");
  command->add_option("--output", flags->job.output, "Write the configuration to this new file");
  command->add_flag("--measure", flags->measure, "Try the methods on these rows, and compare them on held-out ones");
  std::vector<CLI::Option*> of_measure = {
      command->add_option("--budget", flags->budget,
                          "With --measure: the time for all, as in 90s, 30m (default) or 2h"),
      command
          ->add_option("--system", flags->ladder.systems,
                       "With --measure: a system prompt to try; may be given several times")
          ->allow_extra_args(false),
      command->add_option("--output_dir", flags->ladder.output_dir,
                          "With --measure: the folder for its runs; started again, it goes on there")};
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->callback([rules, flags, of_measure, &context] {
    context.run = [rules, flags, of_measure, &context] {
      if (rules->count() > 0) return SayRules(context);
      if (flags->job.model.empty() || flags->job.data.empty()) BadInput("advise: needs --model and --data");
      if (flags->measure) {
        flags->ladder.advise = flags->job;
        flags->ladder.budget_seconds = SecondsOf(flags->budget, "--budget");
        return SayLadder(flags->ladder, context);
      }
      for (const CLI::Option* option : of_measure) {
        if (option->count() > 0) BadInput("{}: belongs to --measure", option->get_name());
      }
      ProgressLine progress;
      const AdviseResult result = RunAdvise(flags->job, progress.Reporter());
      progress.Clear();
      context.json ? PrintJson(ToJson(result)) : SayAdvice(context, flags->job, result);
    };
  });
}

}  // namespace

void AddPlanCommands(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("plan", "Will it fit, how long will it take, what will it cost");
  command->footer(
      "attune plan [CONFIG.yaml] [--KEY value ...]   settings as in attune train; --model takes names of the catalogue "
      "too\n"
      "Example: attune plan run.yaml\n"
      "         attune plan --model llama-2-7b --device \"RTX 4090\" --tokens 2000000\n"
      "         attune plan --model Qwen2.5-7B --method full --device \"H100 SXM\" --devices 4 --output plan.html");
  auto flags = std::make_shared<PlanFlags>();
  command->add_option("--set", flags->set, "key=value, on top of the file")->allow_extra_args(false);
  command->add_option("--method", flags->job.method, "auto, prompt, lora, qlora or full (default auto)");
  command->add_option("--device", flags->job.device, "A name of the catalogue; auto (default): this machine");
  command->add_option("--devices", flags->job.devices, "How many of them share the weights (default 1)");
  command->add_option("--tokens", flags->job.tokens, "Of the training data, where there is none yet")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 50));
  command->add_option("--prices", flags->job.prices, "A YAML file instead of the built-in prices");
  command->add_option("--stack", flags->job.stack,
                      "Also what another stack needs for as many tokens at once, e.g. litgpt");
  command->add_option("--output", flags->output, "Also write the table as a picture: a .svg or .html file");
  command->add_flag("--list", flags->list, "Show the names of the catalogue");
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->allow_extras();
  command->callback([command, flags, &context] {
    context.run = [command, flags, &context] { SayPlan(*flags, command->remaining(), context); };
  });
  AddAdviseCommand(app, context);
}

}  // namespace attune
