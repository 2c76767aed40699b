// attune tokenizer train.
#include <fmt/format.h>

#include <memory>

#include "app/tokenizer_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/progress_line.h"

namespace attune {
namespace {

struct TokenizerFlags {
  TrainTokenizerJob job;
  std::string model_type = "bpe", chat_template = "none";
  int64_t sample_mib = 64;
};

void RunTokenizerTrain(const TokenizerFlags& flags, const CommandContext& context) {
  TrainTokenizerJob job = flags.job;
  if (flags.model_type != "bpe" && flags.model_type != "unigram") {
    BadInput("--model_type {}: not known; use bpe or unigram", flags.model_type);
  }
  if (flags.chat_template != "chatml" && flags.chat_template != "none") {
    BadInput("--chat_template {}: not known; use chatml or none", flags.chat_template);
  }
  job.settings.model = flags.model_type == "bpe" ? SubwordModel::kBpe : SubwordModel::kUnigram;
  if (flags.chat_template == "chatml") UseChatMl(&job.settings);
  job.sample_bytes = flags.sample_mib << 20;
  ProgressLine progress;
  job.on_progress = progress.Reporter();
  const TrainTokenizerResult r = RunTrainTokenizer(job);
  progress.Clear();
  Say(context,
      fmt::format("wrote a {} tokenizer of {} tokens to {}: {:.2f} bytes a token on {} texts in {} {}{} ({:.1f}s)",
                  flags.model_type, r.vocabulary, r.output, r.bytes_per_token, r.texts, r.files,
                  r.files == 1 ? "file" : "files",
                  r.sample_fraction < 1 ? fmt::format(", learned from {:.2g} % of them", 100 * r.sample_fraction) : "",
                  r.seconds));
  if (context.json) {
    PrintJson({{"output", r.output},
               {"model_type", flags.model_type},
               {"vocab_size", r.vocabulary},
               {"files", r.files},
               {"texts", r.texts},
               {"sample_fraction", r.sample_fraction},
               {"bytes_per_token", r.bytes_per_token},
               {"seconds", r.seconds}});
  }
}

}  // namespace

void AddTokenizerCommands(CLI::App& app, CommandContext& context) {
  auto* tokenizer = app.add_subcommand("tokenizer", "Make a tokenizer");
  tokenizer->require_subcommand(1);
  tokenizer->footer("Example: attune tokenizer train --input corpus --vocab_size 8000 --output tokenizer");
  auto* train = tokenizer->add_subcommand("train", "Train a tokenizer on raw text with SentencePiece");
  train->footer(
      "Example: attune tokenizer train --input books,chats.jsonl --vocab_size 8000 --chat_template chatml "
      "--output tokenizer");
  auto flags = std::make_shared<TokenizerFlags>();
  TrainTokenizerJob& job = flags->job;
  train->add_option("--input", job.input, ".txt and .jsonl files, and folders of them, separated by commas")
      ->delimiter(',')
      ->required();
  train->add_option("--vocab_size", job.settings.vocab_size, "Tokens, everything counted")->required();
  train->add_option("--output", job.output, "A new folder")->required();
  train->add_option("--model_type", flags->model_type, "bpe (default) or unigram");
  train->add_option("--special_tokens", job.settings.special_tokens, "More special tokens, separated by commas")
      ->delimiter(',');
  train->add_option("--chat_template", flags->chat_template, "chatml or none (default)");
  train->add_option("--character_coverage", job.settings.character_coverage,
                    "Share of the text's characters with tokens of their own (default 0.9995); the rest are bytes");
  train->add_option("--split_digits", job.settings.split_digits, "true (default): no token of several digits");
  train->add_option("--add_dummy_prefix", job.settings.add_dummy_prefix,
                    "true (default): the first word is written as one within a text, with a space before it");
  train->add_option("--sample_mib", flags->sample_mib, "Learn from about so much of the text (default 64); 0: from all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  train->add_option("--seed", job.settings.seed, "For drawing that text (default 42)")->check(IsSeed());
  train->add_flag("--json", context.json, "One JSON document on standard output");
  train->callback([flags, &context] { context.run = [flags, &context] { RunTokenizerTrain(*flags, context); }; });
}

}  // namespace attune
