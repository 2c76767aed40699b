// attune merge, export, synth, info, doctor, bench.
#include <fmt/format.h>

#include <memory>

#include "app/bench_job.h"
#include "app/export_job.h"
#include "app/inspect_job.h"
#include "app/synth_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/progress_line.h"
#include "models/model_shapes.h"

namespace attune {
namespace {

struct ExportFlags {
  ExportJob job;
  std::string dtype, format = "safetensors";
};

void RunExport(const ExportFlags& flags, const CommandContext& context) {
  ExportJob job = flags.job;
  if (!flags.dtype.empty()) job.dtype = DTypeOf(flags.dtype, "--dtype");
  if (flags.format == "gguf" || flags.format == "gguf-adapter") {
    BadInput("--format {}: writing GGUF arrives with a later version; use --format safetensors", flags.format);
  }
  if (flags.format != "safetensors") BadInput("--format {}: not known; use safetensors", flags.format);
  ProgressLine progress;
  job.on_progress = progress.Reporter();
  const ExportResult r = ExportFolder(job);
  progress.Clear();
  Say(context, fmt::format("wrote {} tensors ({:.1f} MiB, {}) to {}{}", r.tensors,
                           static_cast<double>(r.bytes) / (1 << 20), NameOf(r.dtype), r.output,
                           r.merged_modules > 0 ? fmt::format(", {} modules merged", r.merged_modules) : ""));
  const ModelDifference& d = r.difference;
  Say(context, fmt::format("read again and compared with {} on {} tokens: logits differ by at most {:.2g}, next-token "
                           "distributions by {:.2g} nats, the most likely token is the same for {:.1f} %",
                           job.adapter.empty() ? "its source" : "base and adapter", d.tokens, d.largest, d.mean_kl,
                           100 * d.same_best));
  if (context.json) {
    PrintJson({{"output", r.output},
               {"dtype", NameOf(r.dtype)},
               {"tensors", r.tensors},
               {"bytes", r.bytes},
               {"merged_modules", r.merged_modules},
               {"difference", d.ToJson()}});
  }
}

void PrintRows(const CommandContext& context, const nlohmann::ordered_json& json) {
  for (const auto& [key, value] : json.items()) {
    Say(context, fmt::format("{:<24} {}", key, value.is_string() ? value.get<std::string>() : value.dump()));
  }
}

void PrintCosts(const CommandContext& context, const nlohmann::ordered_json& rows, const char* name) {
  double total = 0;
  for (const auto& row : rows) total += row["seconds"].get<double>();
  Say(context, fmt::format("\n{:<22} {:>6} {:>9} {:>6} {:>10} {:>9} {:>8}", name, "calls", "ms", "share", "GFLOP/s",
                           "of limit", "GB/s"));
  for (const auto& row : rows) {
    const double seconds = row["seconds"].get<double>(), flops = row["flops"].get<double>(),
                 bytes = row["bytes"].get<double>();
    Say(context, fmt::format("{:<22} {:>6} {:>9.1f} {:>5.1f}% {:>10} {:>9} {:>8}", row[name].get<std::string>(),
                             row["calls"].get<int64_t>(), seconds * 1e3, 100 * seconds / total,
                             flops > 0 ? fmt::format("{:.1f}", flops / seconds / 1e9) : "",
                             flops > 0 ? fmt::format("{:.2f}", row["fraction_of_limit"].get<double>()) : "",
                             bytes > 0 ? fmt::format("{:.1f}", bytes / seconds / 1e9) : ""));
  }
}

void PrintBench(const CommandContext& context, const nlohmann::ordered_json& json) {
  if (context.json) return PrintJson(json);
  nlohmann::ordered_json head = json;
  head.erase("ops");
  head.erase("kinds");
  PrintRows(context, head);
  for (const char* table : {"kinds", "ops"}) {
    if (json.contains(table)) PrintCosts(context, json[table], table == std::string("ops") ? "op" : "kind");
  }
}

}  // namespace

void AddExportCommands(CLI::App& app, CommandContext& context) {
  auto* merge = app.add_subcommand("merge", "Fold an adapter into its base, as a Hugging Face folder");
  merge->footer("Example: attune merge --model M --adapter results --output merged --dtype bfloat16");
  auto* write = app.add_subcommand("export", "Write a model in another format");
  write->footer(
      "Example: attune export --model SmolLM2-135M-Instruct.Q4_1.gguf --format safetensors --output smollm2\n"
      "A GGUF base is dequantised: PEFT can load the adapter on exactly the base it was trained on.");
  for (auto* command : {merge, write}) {
    auto flags = std::make_shared<ExportFlags>();
    command->add_option("--model", flags->job.model, "Model folder, .gguf file or org/name")->required();
    auto* adapter = command->add_option("--adapter", flags->job.adapter, "Adapter folder");
    if (command == merge) adapter->required();
    if (command == write) command->add_option("--format", flags->format, "safetensors")->required();
    command->add_option("--output", flags->job.output, "A new folder")->required();
    command->add_option("--dtype", flags->dtype, "float32, bfloat16 or float16; default: as the base is stored");
    command->add_option("--data", flags->job.data,
                        "Held-out rows on which the result is compared; default: a built-in text");
    if (command == merge)
      command->add_flag("--any_base", flags->job.any_base, "Also onto another base than it was trained on");
    command->add_flag("--json", context.json, "One JSON document on standard output");
    command->callback([flags, &context] { context.run = [flags, &context] { RunExport(*flags, context); }; });
  }
}

void AddSynthCommand(CLI::App& app, CommandContext& context) {
  auto* synth = app.add_subcommand("synth", "Make up a model of a published shape, with random weights");
  synth->footer(fmt::format("Example: attune synth --shape llama-2-7b --output llama-2-7b-random\nShapes: {}",
                            fmt::join(ModelShapeNames(), ", ")));
  struct SynthFlags {
    SynthJob job;
    std::string dtype = "bfloat16";
  };
  auto flags = std::make_shared<SynthFlags>();
  synth->add_option("--shape", flags->job.shape, "Whose shape")->required();
  synth->add_option("--output", flags->job.output, "A new folder")->required();
  synth->add_option("--seed", flags->job.seed, "Of the weights (default 42)")->check(IsSeed());
  synth->add_option("--torch_dtype", flags->dtype, "bfloat16 (default), float16 or float32");
  synth->add_flag("--json", context.json, "One JSON document on standard output");
  synth->callback([flags, &context] {
    context.run = [flags, &context] {
      flags->job.dtype = DTypeOf(flags->dtype, "--torch_dtype");
      ProgressLine progress;
      flags->job.on_progress = progress.Reporter();
      const SynthResult r = RunSynth(flags->job);
      progress.Clear();
      Say(context, fmt::format("wrote {} tensors ({:.1f} M parameters, {:.1f} MB in {} {}) to {} ({:.1f}s)", r.tensors,
                               static_cast<double>(r.parameters) / 1e6, static_cast<double>(r.bytes) / 1e6, r.files,
                               r.files == 1 ? "file" : "files", r.output, r.seconds));
      if (context.json) {
        PrintJson({{"output", r.output},
                   {"tensors", r.tensors},
                   {"parameters", r.parameters},
                   {"bytes", r.bytes},
                   {"files", r.files},
                   {"seconds", r.seconds}});
      }
    };
  });
}

void AddInspectCommands(CLI::App& app, CommandContext& context) {
  auto* info = app.add_subcommand("info", "What a model or adapter is");
  info->footer("Example: attune info SmolLM2-135M-Instruct.Q4_1.gguf");
  auto path = std::make_shared<std::string>();
  info->add_option("model", *path, "Model folder, .gguf file, org/name or adapter folder")->required();
  info->add_flag("--json", context.json, "One JSON document on standard output");
  info->callback([path, &context] {
    context.run = [path, &context] {
      const auto json = Inspect(*path);
      context.json ? PrintJson(json) : PrintRows(context, json);
    };
  });
  auto* doctor = app.add_subcommand("doctor", "What this machine offers");
  doctor->footer("Example: attune doctor");
  doctor->add_flag("--json", context.json, "One JSON document on standard output");
  doctor->callback([&context] {
    context.run = [&context] {
      const auto json = Doctor();
      if (context.json) return PrintJson(json);
      for (const auto& check : json["checks"]) {
        Say(context, fmt::format("{}  {:<14} {}", check["ok"].get<bool>() ? "ok" : "--",
                                 check["name"].get<std::string>(), check["detail"].get<std::string>()));
      }
    };
  });
}

void AddBenchCommand(CLI::App& app, CommandContext& context) {
  auto* bench = app.add_subcommand("bench", "Measure this machine");
  bench->require_subcommand(1);
  bench->footer("Example: attune bench train --model SmolLM2-135M-Instruct.Q4_1.gguf --f32");
  auto* train =
      bench->add_subcommand("train", "A training step beside the machine's own matmul rate, with a table by op");
  auto job = std::make_shared<BenchTrainJob>();
  train->add_option("--model", job->model, "Model folder, .gguf file or org/name")->required();
  train->add_option("--tokens", job->tokens, "Tokens a step")->check(CLI::Range(int64_t{2}, int64_t{1} << 30));
  train->add_option("--length", job->length, "Tokens a sequence")->check(CLI::Range(int64_t{2}, int64_t{1} << 30));
  train->add_option("--steps", job->steps, "Steps to measure")->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  train->add_option("--lora_dropout", job->lora_dropout)->check(Between(0.0, 0.99));
  train->add_option("--use_dora", job->use_dora, "true: weight-decomposed adapters");
  train->add_option("--tokens_in_flight", job->tokens_in_flight)->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  train->add_flag("--f32", job->f32, "Compute in f32 even where the CPU has bf16");
  train->add_option("--method", job->method, "lora, qlora or full")->check(CLI::IsMember({"lora", "qlora", "full"}));
  train->add_flag("--gradient_checkpointing", job->gradient_checkpointing);
  train->add_option("--r", job->r, "Rank of the adapter")->check(CLI::Range(int64_t{1}, int64_t{4096}));
  train->add_option("--turns", job->turns,
                    "Take turns with another bench, so that what disturbs one disturbs both: first or second; the turn "
                    "comes on standard input and goes to descriptor 3");
  train->add_flag("--json", context.json, "One JSON document on standard output");
  train->callback([job, &context] {
    context.run = [job, &context] {
      ProgressLine progress;
      job->progress = progress.Reporter();
      const nlohmann::ordered_json result = BenchTrain(*job);
      progress.Clear();
      PrintBench(context, result);
    };
  });

  auto* ops = bench->add_subcommand("ops", "Our kernels alone on a model's shapes, beside the machine's matmul rate");
  struct OpsFlags {
    std::string model;
    int64_t rows = 1024;
  };
  auto shapes = std::make_shared<OpsFlags>();
  ops->add_option("--model", shapes->model, "Model folder, .gguf file or org/name")->required();
  ops->add_option("--rows", shapes->rows, "Rows of each product")->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  ops->add_flag("--json", context.json, "One JSON document on standard output");
  ops->callback([shapes, &context] {
    context.run = [shapes, &context] { PrintBench(context, BenchOps(shapes->model, shapes->rows)); };
  });

  auto* generate = bench->add_subcommand("generate", "Prompt and decoding rate");
  auto generation = std::make_shared<BenchGenerateJob>();
  generate->add_option("--model", generation->model, "Model folder, .gguf file or org/name")->required();
  generate->add_option("--prompt_tokens", generation->prompt_tokens)->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  generate->add_option("--new_tokens", generation->new_tokens)->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  generate->add_flag("--json", context.json, "One JSON document on standard output");
  generate->callback([generation, &context] {
    context.run = [generation, &context] { PrintBench(context, BenchGenerate(*generation)); };
  });
}

}  // namespace attune
