// attune train and attune resume: what a person sees before, during and after a run.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "app/train_job.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"

namespace attune {
namespace {

std::string Bytes(int64_t bytes) {
  return bytes >= (1 << 30) ? fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30))
                            : fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

std::string Duration(double seconds) {
  const auto whole = static_cast<int64_t>(seconds + 0.5);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
}

class Printer : public TrainEvents {
 public:
  explicit Printer(const CommandContext& context)
      : context_(context), live_(::isatty(STDERR_FILENO) == 1), colour_(!context.json && ::isatty(STDOUT_FILENO) == 1) {}

  void OnNote(const std::string& line) override {
    ClearLive();
    Say(context_, line);
  }

  void OnReady(const TrainReady& r) override {
    Say(context_, fmt::format("trainable parameters: {} of {} ({:.2f} %), computing in {}", r.trainable_parameters,
                              r.total_parameters,
                              100.0 * static_cast<double>(r.trainable_parameters) / static_cast<double>(r.total_parameters),
                              r.compute));
    SayStats("train", r.train_stats);
    if (r.packed_rows > 0) {
      Say(context_, fmt::format("packed into {} rows, {:.1f} % full", r.packed_rows, 100 * r.packing_efficiency));
    }
    if (r.eval_stats) SayStats("eval", *r.eval_stats);
    Say(context_, fmt::format("steps: {} ({} of them warm-up), up to {} tokens at a time", r.total_steps, r.warmup_steps,
                              r.chunk_tokens));
    Say(context_, "memory:");
    for (const MemoryRow& row : r.memory) Say(context_, fmt::format("  {:<26} {:>12}", row.name, Bytes(row.bytes)));
    Say(context_, fmt::format("  {:<26} {:>12}", "planned peak", Bytes(r.planned_bytes)));
    SayPreview(r.preview);
  }

  void OnStep(const StepMetrics& m) override {
    if (!live_) return;
    fmt::print(stderr, "\r\033[K{}", Line(m));
    std::fflush(stderr);
  }

  void OnLog(const StepMetrics& m) override {
    ClearLive();
    Say(context_, Line(m));
  }

  void OnEval(const EvalMetrics& m) override {
    ClearLive();
    Say(context_, fmt::format("held-out loss at step {}: {:.4f} by token ({} tokens, accuracy {:.3f}, {:.1f}s)", m.step,
                              m.loss, m.tokens, m.token_accuracy, m.seconds));
  }

  void OnCheckpoint(const std::string& folder) override {
    ClearLive();
    Say(context_, "saving " + folder);
  }

  void OnResume(int64_t step, const std::string& checkpoint) override {
    Say(context_, checkpoint.empty() ? "no checkpoint to go on from: starting at step 0"
                                     : fmt::format("going on after step {} from {}", step, checkpoint));
  }

 private:
  static std::string Line(const StepMetrics& m) {
    return fmt::format("step {}/{}  loss {:.4f}  lr {:.3g}  grad_norm {:.3f}  {:.0f} tokens/s  {}  {} left", m.step,
                       m.total_steps, m.loss, m.learning_rate, m.grad_norm, m.tokens_per_second,
                       Bytes(m.peak_rss_bytes), Duration(m.seconds_left));
  }

  void ClearLive() const {
    if (live_) fmt::print(stderr, "\r\033[K");
  }

  void SayStats(const char* name, const TokenStats& s) const {
    std::string line = fmt::format("{}: {} rows, {} tokens, {} trained ({:.1f} %), lengths {} / {} / {} / {} (min, median, "
                                   "95 %, max)",
                                   name, s.rows - s.dropped, s.tokens, s.trained_tokens,
                                   100.0 * static_cast<double>(s.trained_tokens) / static_cast<double>(s.tokens),
                                   s.shortest, s.median, s.p95, s.longest);
    if (s.truncated > 0) line += fmt::format("; {} rows cut to max_length", s.truncated);
    if (s.dropped > 0) line += fmt::format("; {} rows dropped: nothing left to train on", s.dropped);
    Say(context_, line);
  }

  void SayPreview(const std::vector<PreviewPiece>& pieces) const {
    if (pieces.empty()) return;
    std::string text = "one example as the model sees it, the trained part marked:\n";
    for (const PreviewPiece& piece : pieces) {
      if (!piece.trained) {
        text += piece.text;
      } else {
        text += colour_ ? "\033[32m" + piece.text + "\033[0m" : "[[" + piece.text + "]]";
      }
    }
    Say(context_, text);
  }

  const CommandContext& context_;
  bool live_, colour_;
};

// One text after the other, each under its name, cut to what a person will read.
void SaySamples(const CommandContext& context, const TrainResult& result) {
  const auto shown = [](const std::string& text) { return text.size() > 600 ? text.substr(0, 600) + " ..." : text; };
  for (size_t i = 0; i < result.samples_after.size(); ++i) {
    const SampleAnswer& after = result.samples_after[i];
    Say(context, "\nprompt     " + shown(after.prompt));
    Say(context, "reference  " + shown(after.reference));
    if (i < result.samples_before.size()) Say(context, "before     " + shown(result.samples_before[i].answer));
    Say(context, "after      " + shown(after.answer));
  }
}

void SayDone(const CommandContext& context, const TrainResult& result) {
  SaySamples(context, result);
  Say(context, fmt::format("done: {} steps, {} tokens in {} ({:.0f} tokens/s), peak memory {} (planned {}); {} is in {}",
                           result.steps, result.num_tokens, Duration(result.train_seconds), result.tokens_per_second,
                           Bytes(result.peak_rss_bytes), Bytes(result.planned_bytes), result.noun, result.output_dir));
  if (context.json) PrintJson(ToJson(result));
}

struct TrainFlags {
  std::vector<std::string> set;
  bool force = false;
};

struct TrainArguments {
  std::string file;
  std::vector<Setting> settings;
};

Setting SplitSetting(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) BadInput("--set {}: write key=value", text);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

// Taken by hand, for CLI11 would take the value of a flag it does not know for a positional: one file, any number of
// --KEY value or --KEY=value, and key=value behind a --set.
TrainArguments ParseTrainArguments(const std::vector<std::string>& set, const std::vector<std::string>& rest) {
  TrainArguments arguments;
  for (const std::string& text : set) arguments.settings.push_back(SplitSetting(text));
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i].starts_with("--") && rest[i].find('=') != std::string::npos) {
      arguments.settings.push_back(SplitSetting(rest[i].substr(2)));
    } else if (rest[i].starts_with("--") && i + 1 < rest.size() && !rest[i + 1].starts_with("--")) {
      arguments.settings.emplace_back(rest[i].substr(2), rest[i + 1]);
      ++i;
    } else if (rest[i].starts_with("--")) {
      arguments.settings.emplace_back(rest[i].substr(2), "true");  // a switch
    } else if (rest[i].find('=') != std::string::npos) {
      arguments.settings.push_back(SplitSetting(rest[i]));
    } else if (arguments.file.empty()) {
      arguments.file = rest[i];
    } else {
      BadInput("unexpected argument \"{}\"; settings are written --key value", rest[i]);
    }
  }
  return arguments;
}

void AddResumeCommand(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("resume", "Go on with a run that was stopped or killed");
  command->footer(
      "attune resume OUTPUT_DIR [--set key=value ...] [--KEY value ...] [--force]\n"
      "Takes the newest checkpoint in OUTPUT_DIR that is whole, and the run's own settings; it ends with the same bits as if\n"
      "it had never stopped. Settings that would make it another run need --force.\n"
      "Example: attune resume results");
  auto flags = std::make_shared<TrainFlags>();
  command->add_option("--set", flags->set, "key=value, on top of the run's settings")->allow_extra_args(false);
  command->add_flag("--force", flags->force, "Go on although data, model or settings differ from the run's");
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->allow_extras();
  command->callback([command, flags, &context] {
    context.run = [command, flags, &context] {
      const TrainArguments arguments = ParseTrainArguments(flags->set, command->remaining());
      if (arguments.file.empty()) BadInput("resume: name the output_dir of the run to go on with");
      Printer printer(context);
      SayDone(context, Resume({arguments.file, arguments.settings, flags->force}, printer));
    };
  });
}

}  // namespace

void AddTrainCommand(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("train", "Train an adapter or a model");
  command->footer(
      "attune train [CONFIG.yaml] [--set key=value ...] [--KEY value ...]\n"
      "Settings go by Hugging Face's names, in the file or as flags (--learning_rate 2e-4, --target_modules q_proj,v_proj).\n"
      "Example: attune train run.yaml --set learning_rate=1e-4\n"
      "         attune train --model SmolLM2-135M-Instruct.Q4_1.gguf --data train.jsonl --output_dir results --r 16");
  auto flags = std::make_shared<TrainFlags>();
  command->add_option("--set", flags->set, "key=value, on top of the file")->allow_extra_args(false);
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->allow_extras();
  command->callback([command, flags, &context] {
    context.run = [command, flags, &context] {
      const TrainArguments arguments = ParseTrainArguments(flags->set, command->remaining());
      const RunConfig config = LoadConfig(arguments.file, arguments.settings);
      Printer printer(context);
      const TrainResult result = Train(config, printer);
      SayDone(context, result);
    };
  });
  AddResumeCommand(app, context);
}

}  // namespace attune
