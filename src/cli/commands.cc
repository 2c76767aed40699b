#include "cli/commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/nearest.h"
#include "cli/run.h"
#include "quant/bnb_state.h"
#include "text/unicode.h"

namespace attune {

void PrintJson(const nlohmann::ordered_json& document) {
  fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

void Say(const CommandContext& context, const std::string& line) { SayColoured(context, HarmlessText(line)); }

void SayColoured(const CommandContext& context, const std::string& line) {
  std::FILE* out = context.json ? stderr : stdout;
  fmt::print(out, "{}\n", line);
  std::fflush(out);
}

namespace {

// One line of bounded length, whatever a file had to say in it.
int SayError(const std::string& message, int code) {
  constexpr size_t kLongest = 2000;  // bytes
  std::string line = HarmlessText(message.substr(0, kLongest));
  std::replace(line.begin(), line.end(), '\n', ' ');
  fmt::print(stderr, "attune: {}{}\n", line, message.size() > kLongest ? " ..." : "");
  return code;
}

}  // namespace

DType DTypeOf(const std::string& name, const char* flag) {
  const std::optional<DType> dtype = TorchDType(name);
  if (!dtype) BadInput("{} {}: use float32, bfloat16 or float16", flag, name);
  return *dtype;
}

CLI::Validator Between(double low, double high) {
  const std::string range = fmt::format("from {:g} to {:g}", low, high);
  return {[=](std::string& text) {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            const bool fits = !text.empty() && *end == '\0' && value >= low && value <= high;
            return fits ? std::string() : fmt::format("{} is no number {}", text, range);
          },
          range, ""};
}

CLI::Validator IsSeed() {
  return {[](std::string& text) {
            uint64_t seed = 0;
            const char* const end = text.data() + text.size();
            const auto [at, error] = std::from_chars(text.data(), end, seed);
            const bool fits = error == std::errc() && at == end;
            return fits ? std::string() : text + " is no whole number from 0 to 2^64 - 1";
          },
          "", ""};
}

int RunCommandLine(int argc, char** argv) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    fmt::print(stderr, "attune: this processor has no AVX2 and FMA, which the engine needs\n");
    return 2;
  }
  CLI::App app{
      "Attune: fine-tune large language models on the machine you own.\n"
      "Example: attune train examples/devils-dictionary/quickstart.yaml --model SmolLM2-135M-Instruct.Q4_1.gguf",
      "attune"};
  CommandContext context;
  app.require_subcommand(1);
  app.set_version_flag("--version", "attune 0.1.0");
  for (const auto add :
       {AddTrainCommand, AddDataCommands, AddPlanCommands, AddPromptCommand, AddSweepCommand, AddEvalCommand,
        AddGenerateCommands, AddLogitsCommand, AddTokenizeCommand, AddTokenizerCommands, AddExportCommands,
        AddSynthCommand, AddQuantizeCommand, AddInspectCommands, AddBenchCommand, AddRunsCommands}) {
    add(app, context);
  }
  if (argc > 1 && argv[1][0] != '-') {
    std::vector<std::string> known;
    for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
    if (std::find(known.begin(), known.end(), argv[1]) == known.end()) {
      const std::string nearest = NearestName(argv[1], known);
      return SayError(fmt::format("unknown command \"{}\"{}; attune --help lists the commands", argv[1],
                                  nearest.empty() ? "" : ", did you mean \"" + nearest + "\"?"),
                      2);
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    return app.exit(done);
  } catch (const CLI::ParseError& error) {
    return SayError(fmt::format("{} (attune --help lists the commands)", error.what()), 2);
  } catch (const Error& error) {
    return SayError(error.what(), error.kind() == ErrorKind::kBadInput ? 2 : 1);
  }
  try {
    context.run();
    return 0;
  } catch (const Error& error) {
    return SayError(error.what(), error.kind() == ErrorKind::kBadInput ? 2 : 1);
  } catch (const std::bad_alloc&) {
    return SayError("out of memory", 1);
  } catch (const std::exception& error) {
    return SayError(error.what(), 1);
  }
}

}  // namespace attune
