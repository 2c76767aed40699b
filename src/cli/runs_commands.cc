// attune runs: what has been trained, and how it went.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "app/runs_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "store/terminal_plot.h"

namespace attune {
namespace {

int TerminalWidth(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string Optional(const std::optional<double>& value, const char* format = "{:.4f}") {
  return value ? fmt::format(fmt::runtime(format), *value) : "-";
}

// What a terminal could take for a command becomes a question mark.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  }
  return text;
}

// Columns as wide as their widest cell; the last is left as it is.
void SayTable(const CommandContext& context, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Printable(row[i]).size());
  }
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += i + 1 < row.size() ? fmt::format("{:<{}}  ", Printable(row[i]), widths[i]) : Printable(row[i]);
    }
    Say(context, line);
  }
}

void List(const CommandContext& context) {
  const RunList list = ListRuns();
  if (context.json) {
    nlohmann::ordered_json runs = nlohmann::ordered_json::array();
    for (const RunSummary& run : list.runs) runs.push_back(ToJson(run));
    return PrintJson({{"store", list.store}, {"runs", runs}});
  }
  if (list.runs.empty()) return Say(context, fmt::format("no runs yet ({})", list.store));
  std::vector<std::vector<std::string>> rows = {
      {"id", "started", "status", "method", "steps", "loss", "best eval", "model", "output_dir"}};
  for (const RunSummary& run : list.runs) {
    rows.push_back({run.id, run.started, run.status, run.method, fmt::format("{}", run.steps), Optional(run.loss),
                    Optional(run.best_eval_loss), run.model, run.output_dir});
  }
  SayTable(context, rows);
}

void SaySummary(const CommandContext& context, const RunData& run) {
  const RunSummary s = Summarize(run);
  std::vector<std::vector<std::string>> rows = {{"run", s.id.empty() ? "-" : s.id},
                                                {"status", s.status},
                                                {"model", s.model},
                                                {"method", s.method},
                                                {"started", s.started}};
  if (s.seconds) rows.push_back({"training time", DurationText(*s.seconds)});
  rows.push_back({"steps", fmt::format("{}", s.steps)});
  rows.push_back({"loss", Optional(s.loss)});
  if (s.eval_loss) {
    rows.push_back({"eval loss", fmt::format("{} at first, {} at last, best {} at step {}", Optional(s.first_eval_loss),
                                             Optional(s.eval_loss), Optional(s.best_eval_loss), s.best_eval_step)});
  }
  if (s.tokens_per_second) rows.push_back({"tokens/s", Optional(s.tokens_per_second, "{:.0f}")});
  if (s.peak_rss_bytes) {
    rows.push_back(
        {"peak memory", BytesText(*s.peak_rss_bytes) +
                            (s.planned_bytes ? fmt::format(" (planned {})", BytesText(*s.planned_bytes)) : "")});
  }
  for (const std::string& line : DataLines(run.record)) rows.push_back({"data", line});
  rows.push_back({"output_dir", s.output_dir});
  SayTable(context, rows);
}

struct ShowFlags {
  std::string run, html, svg;
};

void Show(const ShowFlags& flags, const CommandContext& context) {
  const RunData run = FindRun(flags.run);
  if (!flags.html.empty()) WriteReport(run, flags.html);
  if (!flags.svg.empty()) WriteLossSvg(run, flags.svg);
  if (context.json) return PrintJson(ToJson(run));
  SaySummary(context, run);
  const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  Say(context, "\n" + PlotInTerminal(LossChart(run), std::min(TerminalWidth(STDOUT_FILENO), 120), 14, is_terminal));
  for (const std::string& path : {flags.html, flags.svg}) {
    if (!path.empty()) Say(context, "wrote " + path);
  }
}

std::string CellText(const nlohmann::ordered_json& value) {
  if (value.is_null()) return "-";
  if (value.is_string()) {
    const auto text = value.get<std::string>();
    return text.size() > 40 ? text.substr(0, 37) + "..." : text;
  }
  return value.is_number() ? fmt::format("{:.6g}", value.get<double>()) : value.dump();
}

void Compare(const std::vector<std::string>& names, const CommandContext& context) {
  const RunComparison comparison = CompareRuns(names);
  if (context.json) return PrintJson(ToJson(comparison));
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& name, const auto& cell) {
    rows.push_back({name});
    for (const RunSummary& run : comparison.runs) rows.back().push_back(cell(run));
  };
  add("run", [](const RunSummary& run) { return run.id.empty() ? "-" : run.id; });
  add("output_dir", [](const RunSummary& run) { return run.output_dir; });
  add("status", [](const RunSummary& run) { return run.status; });
  add("steps", [](const RunSummary& run) { return fmt::format("{}", run.steps); });
  add("best eval loss", [](const RunSummary& run) { return Optional(run.best_eval_loss); });
  add("training time", [](const RunSummary& run) { return run.seconds ? DurationText(*run.seconds) : "-"; });
  add("peak memory", [](const RunSummary& run) { return run.peak_rss_bytes ? BytesText(*run.peak_rss_bytes) : "-"; });
  const auto add_all = [&](const char* title, const std::vector<ComparedRow>& compared) {
    rows.push_back({""});
    rows.push_back({compared.empty() ? fmt::format("{}: none", title) : title});
    for (const ComparedRow& row : compared) {
      rows.push_back({"  " + row.name});
      for (const auto& value : row.values) rows.back().push_back(CellText(value));
    }
  };
  add_all("settings that differ", comparison.settings);
  add_all("last values", comparison.metrics);
  SayTable(context, rows);
}

struct ExportRunFlags {
  std::string run, format, output;
};

void Export(const ExportRunFlags& flags, const CommandContext& context) {
  const std::string path = ExportRun(FindRun(flags.run), flags.format, flags.output);
  Say(context, "wrote " + path);
  if (context.json) PrintJson({{"output", path}, {"format", flags.format}});
}

CLI::App* AddRunsCommand(CLI::App* runs, CommandContext& context, const char* name, const char* what,
                         const char* footer) {
  auto* command = runs->add_subcommand(name, what);
  command->footer(footer);
  command->add_flag("--json", context.json, "One JSON document on standard output");
  return command;
}

}  // namespace

void AddRunsCommands(CLI::App& app, CommandContext& context) {
  auto* runs = app.add_subcommand("runs", "What has been trained: list, show, compare, export");
  runs->require_subcommand(1);
  runs->footer(
      "Example: attune runs show results\nRuns are kept in ~/.local/share/attune/runs.sqlite; ATTUNE_RUNS "
      "names "
      "another "
      "file.");
  auto* list = AddRunsCommand(runs, context, "list", "All runs, the newest first", "Example: attune runs list");
  list->callback([&context] { context.run = [&context] { List(context); }; });

  auto* show = AddRunsCommand(runs, context, "show", "One run, with its loss drawn in the terminal",
                              "Example: attune runs show results --html report.html\n         attune runs show 3fa9");
  auto shown = std::make_shared<ShowFlags>();
  show->add_option("run", shown->run, "A run's id, the beginning of one, or its output_dir")->required();
  show->add_option("--html", shown->html, "Write the report, one page without outside parts, to this file");
  show->add_option("--svg", shown->svg, "Write the chart of the loss to this file");
  show->callback([shown, &context] { context.run = [shown, &context] { Show(*shown, context); }; });

  auto* compare = AddRunsCommand(runs, context, "compare", "The settings in which runs differ, and how they went",
                                 "Example: attune runs compare results results-r64");
  auto names = std::make_shared<std::vector<std::string>>();
  compare->add_option("runs", *names, "Two runs or more, by id or output_dir")->required();
  compare->callback([names, &context] { context.run = [names, &context] { Compare(*names, context); }; });

  auto* write = AddRunsCommand(runs, context, "export", "The metrics of a run for other tools",
                               "Example: attune runs export results --format csv --output metrics.csv");
  auto exported = std::make_shared<ExportRunFlags>();
  write->add_option("run", exported->run, "A run's id, the beginning of one, or its output_dir")->required();
  write->add_option("--format", exported->format, "csv, jsonl, tensorboard or html")->required();
  write->add_option("--output", exported->output, "A file; for tensorboard a folder")->required();
  write->callback([exported, &context] { context.run = [exported, &context] { Export(*exported, context); }; });
}

}  // namespace attune
