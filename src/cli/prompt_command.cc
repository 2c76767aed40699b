// attune prompt: prompting as a method.
#include <fmt/format.h>

#include <memory>

#include "app/prompt_job.h"
#include "cli/commands.h"
#include "cli/progress_line.h"

namespace attune {
namespace {

std::string CandidateText(const PromptCandidate& c) {
  if (!c.skipped.empty()) return fmt::format("{:<64} skipped: {}", c.name, c.skipped);
  return fmt::format("{:<64} loss {:.4f}  accuracy {:.3f}  {:+.0f} tokens a question", c.name, c.metrics.loss,
                     c.metrics.token_accuracy, c.prompt_tokens);
}

void SayPrompts(const PromptJob& job, const CommandContext& context) {
  ProgressLine progress;
  const auto on_prompt = [&](const PromptCandidate& c) {
    progress.Clear();
    Say(context, CandidateText(c));
  };
  const PromptResult result = RunPrompt(job, on_prompt, progress.Reporter());
  progress.Clear();
  if (context.json) return PrintJson(ToJson(result));
  Say(context, fmt::format("\nby loss of the answers of {} held-out rows, a token:", result.rows));
  for (const PromptCandidate& c : result.candidates) Say(context, "  " + CandidateText(c));
  if (!job.output.empty()) {
    Say(context, fmt::format("\nwrote {} ({}): attune generate --model {} --prompt_file {} --prompt ...", job.output,
                             result.candidates[result.best_prompt].name, job.model, job.output));
  }
}

}  // namespace

void AddPromptCommand(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("prompt", "Try prompts on held-out rows, and keep the best");
  command->footer(
      "Example: attune prompt --model M.gguf --data train.jsonl --eval_data eval.jsonl --shots 2,4 --output "
      "prompt.json\n"
      "         attune generate --model M.gguf --prompt_file prompt.json --prompt 'Define \"bank\".'\n"
      "Compare with training: --adapter results scores an adapter on the same rows.");
  auto job = std::make_shared<PromptJob>();
  command->add_option("--model", job->model, "Model folder, .gguf file or org/name")->required();
  command->add_option("--data", job->data, "Rows that examples are taken from")->required();
  command->add_option("--eval_data", job->eval_data, "Held-out rows")->required();
  command->add_option("--system", job->systems, "A system prompt to try; may be given several times")
      ->allow_extra_args(false);
  command->add_option("--shots", job->shots, "Numbers of examples to try (default 2,4)")
      ->delimiter(',')
      ->check(CLI::Range(int64_t{0}, int64_t{1000}));
  command
      ->add_option("--similarity", job->similarity,
                   "How examples like the question are found: bm25 (its words, the default), embedding (what it means "
                   "to the model), or both")
      ->delimiter(',');
  command->add_option("--search", job->search, "Random sets of examples to try for each number (default 0)")
      ->check(CLI::Range(int64_t{0}, int64_t{100000}));
  command->add_option("--adapter", job->adapters, "An adapter to score on the same rows; may be given several times")
      ->allow_extra_args(false);
  command->add_option("--max_rows", job->max_rows, "Held-out rows to score, evenly from all; 0: all (default 100)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command->add_option("--seed", job->seed, "Of the random sets")->check(IsSeed());
  command->add_option("--output", job->output, "Write the best prompt to this new file");
  command->add_flag("--bf16", job->bf16, "Compute in bf16");
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->callback([job, &context] { context.run = [job, &context] { SayPrompts(*job, context); }; });
}

}  // namespace attune
