// attune sweep: one training under several settings.
#include <fmt/format.h>

#include <memory>

#include "app/sweep_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/progress_line.h"
#include "cli/settings.h"
#include "store/run_summary.h"

namespace attune {
namespace {

struct SweepFlags {
  std::vector<std::string> grid, set;
  bool halving = false;
};

// "learning_rate=1e-4,2e-4".
std::pair<std::string, std::vector<std::string>> GridOf(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) BadInput("--grid {}: write key=A,B,...", text);
  std::vector<std::string> values;
  for (size_t begin = equals + 1; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    values.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return {text.substr(0, equals), values};
}

std::string TrialText(const SweepTrial& t) {
  std::string text;
  for (const auto& [key, value] : t.settings) text += fmt::format("{}={} ", key, value);
  if (!t.error.empty()) return text + " failed: " + t.error;
  return text +
         fmt::format(" held-out loss {:.4f} after {} steps, {}", t.held_out_loss, t.steps, DurationText(t.seconds));
}

void SaySweep(const SweepFlags& flags, const std::vector<std::string>& rest, const CommandContext& context) {
  const SettingArguments arguments = ParseSettings(flags.set, rest);
  SweepJob job{arguments.file, arguments.settings, {}, flags.halving};
  for (const std::string& text : flags.grid) job.grid.push_back(GridOf(text));
  ProgressLine progress;
  const auto on_trial = [&](const SweepTrial& trial, int64_t done, int64_t total) {
    progress.Clear();
    Say(context, fmt::format("{}/{}  {}{}", done, total, TrialText(trial), trial.was_there ? " (there already)" : ""));
  };
  const SweepResult result = RunSweep(job, on_trial, progress.Reporter());
  for (const std::vector<SweepTrial>& rung : result.rungs) {
    Say(context, "\nby held-out loss:");
    for (const SweepTrial& trial : rung) Say(context, "  " + TrialText(trial));
  }
  Say(context, "\nthe best is in " + result.best().output_dir);
  if (context.json) PrintJson(ToJson(result));
}

}  // namespace

void AddSweepCommand(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("sweep", "Train under several settings and rank them on held-out rows");
  command->footer(
      "attune sweep [CONFIG.yaml] --grid KEY=A,B,... [--grid ...] [--halving] [--KEY value ...]\n"
      "Every combination is a run of its own below output_dir. Started again, it goes on where it stopped.\n"
      "Example: attune sweep run.yaml --grid learning_rate=7e-5,2e-4,6e-4 --grid r=8,32 --halving --output_dir sweep");
  auto flags = std::make_shared<SweepFlags>();
  command->add_option("--grid", flags->grid, "KEY=A,B,...: a setting and its values")->allow_extra_args(false);
  command->add_option("--set", flags->set, "key=value, on top of the file")->allow_extra_args(false);
  command->add_flag("--halving", flags->halving, "Short trials first, twice as long ones for the better half");
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->allow_extras();
  command->callback([command, flags, &context] {
    context.run = [command, flags, &context] { SaySweep(*flags, command->remaining(), context); };
  });
}

}  // namespace attune
