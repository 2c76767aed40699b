// attune train and attune resume: what a person sees before, during and after a run.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "app/train_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/settings.h"
#include "store/run_summary.h"

namespace attune {
namespace {

class Printer : public TrainEvents {
 public:
  explicit Printer(const CommandContext& context)
      : context_(context),
        live_(::isatty(STDERR_FILENO) == 1),
        colour_(!context.json && ::isatty(STDOUT_FILENO) == 1) {}

  void OnNote(const std::string& line) override {
    ClearLive();
    Say(context_, line);
  }

  void OnReady(const TrainReady& r) override {
    Say(context_,
        fmt::format(
            "trainable parameters: {} of {} ({:.2f} %), computing in {}", r.trainable_parameters, r.total_parameters,
            100.0 * static_cast<double>(r.trainable_parameters) / static_cast<double>(r.total_parameters), r.compute));
    SayStats("train", r.train_stats);
    if (r.packed_rows > 0) {
      Say(context_, fmt::format("packed into {} rows, {:.1f} % full", r.packed_rows, 100 * r.packing_efficiency));
    }
    if (r.eval_stats) SayStats("eval", *r.eval_stats);
    Say(context_, fmt::format("steps: {} ({} of them warm-up), up to {} tokens at a time", r.total_steps,
                              r.warmup_steps, r.chunk_tokens));
    Say(context_, "memory:");
    for (const MemoryRow& row : r.memory) Say(context_, fmt::format("  {:<26} {:>12}", row.name, BytesText(row.bytes)));
    Say(context_, fmt::format("  {:<26} {:>12}", "planned peak", BytesText(r.planned_bytes)));
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
                       BytesText(m.peak_rss_bytes), DurationText(m.seconds_left));
  }

  void ClearLive() const {
    if (live_) fmt::print(stderr, "\r\033[K");
  }

  void SayStats(const char* name, const TokenStats& s) const {
    std::string line = fmt::format(
        "{}: {} rows, {} tokens, {} trained ({:.1f} %), lengths {} / {} / {} / {} (min, median, "
        "95 %, max)",
        name, s.rows - s.dropped, s.tokens, s.trained_tokens,
        100.0 * static_cast<double>(s.trained_tokens) / static_cast<double>(s.tokens), s.shortest, s.median, s.p95,
        s.longest);
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
  Say(context,
      fmt::format("done: {} steps, {} tokens in {} ({:.0f} tokens/s), peak memory {} (planned {}); {} is in {}",
                  result.steps, result.num_tokens, DurationText(result.train_seconds), result.tokens_per_second,
                  BytesText(result.peak_rss_bytes), BytesText(result.planned_bytes), result.noun, result.output_dir));
  if (context.json) PrintJson(ToJson(result));
}

struct TrainFlags {
  std::vector<std::string> set;
  bool force = false;
};

void AddResumeCommand(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("resume", "Go on with a run that was stopped or killed");
  command->footer(
      "attune resume OUTPUT_DIR [--set key=value ...] [--KEY value ...] [--force]\n"
      "Takes the newest checkpoint in OUTPUT_DIR that is whole, and the run's own settings; it ends with the same bits "
      "as if\n"
      "it had never stopped. Settings that would make it another run need --force.\n"
      "Example: attune resume results");
  auto flags = std::make_shared<TrainFlags>();
  command->add_option("--set", flags->set, "key=value, on top of the run's settings")->allow_extra_args(false);
  command->add_flag("--force", flags->force, "Go on although data, model or settings differ from the run's");
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->allow_extras();
  command->callback([command, flags, &context] {
    context.run = [command, flags, &context] {
      const SettingArguments arguments = ParseSettings(flags->set, command->remaining());
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
      "Settings go by Hugging Face's names, in the file or as flags (--learning_rate 2e-4, --target_modules "
      "q_proj,v_proj).\n"
      "Example: attune train run.yaml --set learning_rate=1e-4\n"
      "         attune train --model SmolLM2-135M-Instruct.Q4_1.gguf --data train.jsonl --output_dir results --r 16");
  auto flags = std::make_shared<TrainFlags>();
  command->add_option("--set", flags->set, "key=value, on top of the file")->allow_extra_args(false);
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->allow_extras();
  command->callback([command, flags, &context] {
    context.run = [command, flags, &context] {
      const SettingArguments arguments = ParseSettings(flags->set, command->remaining());
      const RunConfig config = LoadConfig(arguments.file, arguments.settings);
      Printer printer(context);
      const TrainResult result = Train(config, printer);
      SayDone(context, result);
    };
  });
  AddResumeCommand(app, context);
}

}  // namespace attune
