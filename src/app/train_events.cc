#include "app/train_events.h"

#include <fmt/format.h>

namespace attune {

DType ChooseCompute(const TrainingArguments& training, const Device& device, std::string* note) {
  if (training.bf16 && !training.fp16 && device.has_bf16()) return DType::kBF16;
  if (training.fp16 && device.has_bf16()) {
    *note = "fp16: this CPU has no fp16 matmul; bf16 mixed precision is used instead";
    return DType::kBF16;
  }
  if (training.bf16 || training.fp16) {
    *note = fmt::format("{}: this CPU has no bf16 matmul (AVX512-BF16); f32 is used instead, which is more exact",
                        training.fp16 ? "fp16" : "bf16");
  }
  return DType::kF32;
}

nlohmann::ordered_json ToJson(const TrainResult& r) {
  nlohmann::ordered_json json = {{"output_dir", r.output_dir},       {"steps", r.steps},
                                 {"num_tokens", r.num_tokens},       {"train_loss", r.train_loss},
                                 {"train_runtime", r.train_seconds}, {"tokens_per_second", r.tokens_per_second}};
  if (r.eval_loss_before) json["eval_loss_before"] = *r.eval_loss_before;
  if (r.eval_loss_after) json["eval_loss"] = *r.eval_loss_after;
  if (!r.best_checkpoint.empty()) json["best_model_checkpoint"] = r.best_checkpoint;
  json["planned_bytes"] = r.planned_bytes;
  json["peak_rss_bytes"] = r.peak_rss_bytes;
  json["seconds_to_first_step"] = r.seconds_to_first_step;
  return json;
}

}  // namespace attune
