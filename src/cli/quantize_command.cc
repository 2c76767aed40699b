// attune quantize.
#include <fmt/format.h>

#include <memory>
#include <utility>
#include <vector>

#include "app/quantize_job.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/progress_line.h"

namespace attune {
namespace {

struct QuantizeFlags {
  std::string model, output, dtype, adapter;
  bool any_base = false;
  std::string load_in_4bit;  // empty: unless load_in_8bit
  // BitsAndBytesConfig's fields as they were given.
  std::vector<std::pair<std::string, std::string>> fields = {{"load_in_8bit", "false"},
                                                             {"bnb_4bit_quant_type", "nf4"},
                                                             {"bnb_4bit_use_double_quant", "false"},
                                                             {"bnb_4bit_compute_dtype", "float32"},
                                                             {"bnb_4bit_quant_storage", "uint8"}};
  std::vector<std::string> skip_modules;
};

QuantizeJob JobOf(const QuantizeFlags& flags) {
  QuantizeJob job{flags.model, flags.output, {}, {}, flags.adapter, flags.any_base};
  const auto set = [&](const std::string& key, const std::string& text) {
    const bool is_truth = text == "true" || text == "false";
    job.config.SetField(key, is_truth ? nlohmann::ordered_json(text == "true") : nlohmann::ordered_json(text),
                        "quantize");
  };
  for (const auto& [key, text] : flags.fields) set(key, text);
  set("load_in_4bit", !flags.load_in_4bit.empty() ? flags.load_in_4bit : job.config.load_in_8bit ? "false" : "true");
  job.config.Validate("quantize");
  if (!flags.skip_modules.empty()) job.config.llm_int8_skip_modules = flags.skip_modules;
  if (!job.config.load_in_4bit && !job.config.load_in_8bit) {
    BadInput("quantize: neither load_in_4bit nor load_in_8bit is true, which leaves nothing to do");
  }
  if (!flags.dtype.empty()) job.dtype = DTypeOf(flags.dtype, "--torch_dtype");
  return job;
}

void PrintQuantized(const QuantizeFlags& flags, const CommandContext& context) {
  ProgressLine progress;
  QuantizeJob job = JobOf(flags);
  job.on_progress = progress.Reporter();
  const QuantizeResult r = RunQuantize(job);
  progress.Clear();
  Say(context,
      fmt::format("quantised {} tensors, kept {}: {:.1f} MB became {:.1f} MB in {} {} in {} ({:.1f}s)", r.quantized,
                  r.kept, static_cast<double>(r.source_bytes) / 1e6, static_cast<double>(r.bytes) / 1e6, r.files,
                  r.files == 1 ? "file" : "files", r.output, r.seconds));
  if (r.difference) {
    Say(context,
        fmt::format(
            "the price of the few bits, on {} tokens: next-token distributions are {:.2g} nats from those of base and "
            "adapter, the most likely token is the same for {:.1f} %",
            r.difference->tokens, r.difference->mean_kl, 100 * r.difference->same_best));
  }
  if (context.json) {
    nlohmann::ordered_json json = {
        {"output", r.output}, {"quantized", r.quantized}, {"kept", r.kept},      {"source_bytes", r.source_bytes},
        {"bytes", r.bytes},   {"files", r.files},         {"seconds", r.seconds}};
    if (r.difference) json["difference"] = r.difference->ToJson();
    PrintJson(json);
  }
}

}  // namespace

void AddQuantizeCommand(CLI::App& app, CommandContext& context) {
  auto* quantize =
      app.add_subcommand("quantize", "Write a 4-bit or 8-bit checkpoint that transformers and bitsandbytes load");
  quantize->footer("Example: attune quantize --model M --output M-nf4 --bnb_4bit_use_double_quant true");
  auto flags = std::make_shared<QuantizeFlags>();
  quantize->add_option("--model", flags->model, "Model folder, .gguf file or org/name")->required();
  quantize->add_option("--output", flags->output, "A new folder")->required();
  quantize->add_option("--adapter", flags->adapter,
                       "Folded into the base before it is packed; the loss is measured and said");
  quantize->add_flag("--any_base", flags->any_base, "Also into another base than the adapter was trained on");
  quantize->add_option("--load_in_4bit", flags->load_in_4bit, "default true, unless load_in_8bit is");
  for (auto& [key, value] : flags->fields) quantize->add_option("--" + key, value, "default " + value);
  quantize
      ->add_option("--llm_int8_skip_modules", flags->skip_modules,
                   "Modules to leave alone, separated by commas, instead of the output head")
      ->delimiter(',');
  quantize->add_option("--torch_dtype", flags->dtype,
                       "Of what is kept: float32, bfloat16 or float16; default: as stored, bfloat16 for GGUF blocks");
  quantize->add_flag("--json", context.json, "One JSON document on standard output");
  quantize->callback([flags, &context] { context.run = [flags, &context] { PrintQuantized(*flags, context); }; });
}

}  // namespace attune
