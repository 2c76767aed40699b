// The command line: arguments in, one job of app/ each, results out. No logic lives here.
//
// With --json, standard output is exactly one JSON document and everything for people goes to standard error. Exit
// codes: 0 done, 1 the work failed, 2 bad input or usage.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "base/dtype.h"

namespace attune {

// The value of a flag that names a dtype as torch does.
DType DTypeOf(const std::string& name, const char* flag);

// As CLI::Range, which lets nan pass.
CLI::Validator Between(double low, double high);

// A whole number that 64 bits hold: a minus or one bit more would wrap around without a word.
CLI::Validator IsSeed();

// The flags of generation: --temperature, --max_new_tokens ...
struct SamplingOptions;
void AddSampling(CLI::App* command, SamplingOptions* options);

// What every command shares.
struct CommandContext {
  bool json = false;
  std::function<void()> run;  // set by the command that was named
};

// Prints the document on standard output.
void PrintJson(const nlohmann::ordered_json& document);

// For people: standard output, or standard error with --json. Rows and names of files are strangers' text, so what a
// terminal would take for a command does not reach it.
void Say(const CommandContext& context, const std::string& line);
void SayColoured(const CommandContext& context, const std::string& line);  // what is harmless already, and has colours

// Each adds its subcommand to `app`; parsing it sets context.run.
void AddTrainCommand(CLI::App& app, CommandContext& context);  // train, resume
void AddDataCommands(CLI::App& app, CommandContext& context);  // data check, clean, dedupe ...
void AddEvalCommand(CLI::App& app, CommandContext& context);
void AddGenerateCommands(CLI::App& app, CommandContext& context);  // generate, chat
void AddLogitsCommand(CLI::App& app, CommandContext& context);
void AddTokenizeCommand(CLI::App& app, CommandContext& context);
void AddTokenizerCommands(CLI::App& app, CommandContext& context);  // tokenizer train
void AddExportCommands(CLI::App& app, CommandContext& context);     // merge, export
void AddSynthCommand(CLI::App& app, CommandContext& context);
void AddQuantizeCommand(CLI::App& app, CommandContext& context);
void AddInspectCommands(CLI::App& app, CommandContext& context);  // info, doctor
void AddBenchCommand(CLI::App& app, CommandContext& context);
void AddPlanCommands(CLI::App& app, CommandContext& context);  // plan, advise
void AddSweepCommand(CLI::App& app, CommandContext& context);
void AddPromptCommand(CLI::App& app, CommandContext& context);
void AddRunsCommands(CLI::App& app, CommandContext& context);  // runs list, show, compare, export

}  // namespace attune
