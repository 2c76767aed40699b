// attune generate, chat, logits, tokenize.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <memory>

#include "app/use_job.h"
#include "base/error.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/progress_line.h"

namespace attune {

void AddSampling(CLI::App* command, SamplingOptions* options) {
  command->add_option("--max_new_tokens", options->max_new_tokens, "The most tokens to generate")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  command->add_option("--temperature", options->temperature, "0 is greedy")->check(Between(0.0, 1000.0));
  command->add_option("--top_p", options->top_p, "Sample from the smallest set with this probability")
      ->check(Between(0.0, 1.0));
  command->add_option("--top_k", options->top_k, "Sample from this many tokens; 0: all")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 30));
  command->add_option("--seed", options->seed, "Of the sampling")->check(IsSeed());
}

namespace {

struct GenerateFlags {
  std::string model, adapter, prompt, system, prompt_file;
  bool raw = false;
  int64_t max_length = 0;
  SamplingOptions sampling;
};

void RunGenerate(const GenerateFlags& flags, const CommandContext& context) {
  ChatSession session(flags.model, flags.adapter, flags.max_length);
  const auto show = [&](const std::string& piece) {
    if (context.json) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  Generation result;
  if (!flags.prompt_file.empty() && (flags.raw || !session.has_chat_template())) {
    BadInput("--prompt_file: is a conversation, which --raw and models without a chat template have not");
  }
  if (flags.raw || !session.has_chat_template()) {
    result = session.Continue(flags.system.empty() ? flags.prompt : flags.system + "\n\n" + flags.prompt,
                              flags.sampling, show);
  } else {
    nlohmann::ordered_json messages = session.Start(flags.prompt_file, flags.system, flags.prompt);
    messages.push_back({{"role", "user"}, {"content", flags.prompt}});
    result = session.Answer(messages, flags.sampling, show);
  }
  const double prompt_rate = static_cast<double>(result.prompt_tokens) / result.prompt_seconds;
  const double rate = static_cast<double>(result.ids.size()) / result.decode_seconds;
  if (context.json) {
    PrintJson({{"text", result.text},
               {"ids", result.ids},
               {"finish_reason", result.ended ? "stop" : "length"},
               {"prompt_tokens", result.prompt_tokens},
               {"new_tokens", result.ids.size()},
               {"prompt_tokens_per_second", prompt_rate},
               {"tokens_per_second", rate}});
    return;
  }
  fmt::print("\n");
  fmt::print(stderr, "[{} prompt tokens at {:.0f}/s, {} new at {:.0f}/s]\n", result.prompt_tokens, prompt_rate,
             result.ids.size(), rate);
}

void RunChat(const GenerateFlags& flags) {
  ChatSession session(flags.model, flags.adapter, flags.max_length);
  nlohmann::ordered_json messages;  // begun with the first question, which examples are chosen for
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  if (terminal) fmt::print(stderr, "Write a message; an empty line or Ctrl-D ends the chat.\n");
  std::string line;
  while (true) {
    if (terminal) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, line) || line.empty()) break;
    if (messages.is_null()) messages = session.Start(flags.prompt_file, flags.system, line);
    messages.push_back({{"role", "user"}, {"content", line}});
    const Generation answer = session.Answer(messages, flags.sampling, [](const std::string& piece) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    });
    fmt::print("\n");
    messages.push_back({{"role", "assistant"}, {"content", answer.text}});
  }
}

}  // namespace

void AddGenerateCommands(CLI::App& app, CommandContext& context) {
  auto* generate = app.add_subcommand("generate", "Answer a prompt");
  generate->footer(
      "Example: attune generate --model M --adapter results --prompt 'Define \"bank\".' --max_new_tokens 60");
  auto* chat = app.add_subcommand("chat", "Talk to a model, line by line");
  chat->footer("Example: attune chat --model SmolLM2-135M-Instruct.Q4_1.gguf --adapter results");
  for (auto* command : {generate, chat}) {
    auto flags = std::make_shared<GenerateFlags>();
    command->add_option("--model", flags->model, "Model folder, .gguf file or org/name")->required();
    command->add_option("--adapter", flags->adapter, "Adapter folder");
    command->add_option("--system", flags->system, "System prompt");
    command->add_option("--prompt_file", flags->prompt_file, "A prompt.json of attune prompt");
    command->add_option("--max_length", flags->max_length, "Tokens the whole conversation may take")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
    AddSampling(command, &flags->sampling);
    if (command == generate) {
      command->add_option("--prompt", flags->prompt, "The user's message")->required();
      command->add_flag("--raw", flags->raw, "Go on from the text itself, without the chat template");
      command->add_flag("--json", context.json, "One JSON document on standard output");
      command->callback([flags, &context] { context.run = [flags, &context] { RunGenerate(*flags, context); }; });
    } else {
      command->callback([flags, &context] { context.run = [flags] { RunChat(*flags); }; });
    }
  }
}

void AddLogitsCommand(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("logits", "Logits of token sequences, as safetensors");
  command->footer(
      "Example: attune logits --model M --input_ids ids.json --output logits.safetensors\n"
      "ids.json holds [[1, 2, 3], [4, 5]]; the output logits.0, logits.1, each (tokens, vocab) float32.");
  auto job = std::make_shared<LogitsJob>();
  command->add_option("--model", job->model, "Model folder, .gguf file or org/name")->required();
  command->add_option("--adapter", job->adapter, "Adapter folder");
  command->add_option("--input_ids", job->input_ids, "JSON file of token ids")->required();
  command->add_option("--output", job->output, "safetensors file to write")->required();
  command->add_flag("--bf16", job->bf16, "Compute in bf16");
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->callback([job, &context] {
    context.run = [job, &context] {
      ProgressLine progress;
      job->on_progress = progress.Reporter();
      const int64_t sequences = RunLogits(*job);
      progress.Clear();
      Say(context, fmt::format("wrote the logits of {} sequences to {}", sequences, job->output));
      if (context.json) PrintJson({{"output", job->output}, {"sequences", sequences}});
    };
  });
}

void AddTokenizeCommand(CLI::App& app, CommandContext& context) {
  auto* command = app.add_subcommand("tokenize", "Text to token ids");
  command->footer("Example: attune tokenize --model M --text 'Define \"bank\".' --chat");
  struct Flags {
    std::string model, text, file;
    bool chat = false;
  };
  auto flags = std::make_shared<Flags>();
  command->add_option("--model", flags->model, "Model folder, .gguf file or org/name")->required();
  auto* text = command->add_option("--text", flags->text, "The text");
  auto* file = command->add_option("--file", flags->file, "A file with the text");
  text->excludes(file);
  command->add_flag("--chat", flags->chat, "As a user's message through the chat template");
  command->add_flag("--json", context.json, "One JSON document on standard output");
  command->callback([flags, text, file, &context] {
    context.run = [flags, text, file, &context] {
      if (text->count() + file->count() == 0) BadInput("tokenize: give --text TEXT or --file FILE");
      const auto result =
          TokenizeText(flags->model, file->count() > 0 ? ReadFile(flags->file) : flags->text, flags->chat);
      if (context.json) return PrintJson(result);
      for (size_t i = 0; i < result["ids"].size(); ++i) {
        Say(context, fmt::format("{:>7}  {}", result["ids"][i].get<int64_t>(), result["tokens"][i].get<std::string>()));
      }
      Say(context, fmt::format("{} tokens", result["ids"].size()));
    };
  });
}

}  // namespace attune
