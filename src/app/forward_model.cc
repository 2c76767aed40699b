#include "app/forward_model.h"

#include <cmath>

#include "base/error.h"
#include "models/adapter_model.h"
#include "models/damaged_weights.h"

namespace attune {
namespace {

DType ForwardCompute(bool bf16, const Device& device) {
  if (bf16 && !device.has_bf16())
    BadInput("bf16: this CPU has no bf16 matmul (AVX512-BF16); leave it out to compute in f32");
  return bf16 ? DType::kBF16 : DType::kF32;
}

}  // namespace

void ForwardModel::AllLogits(std::span<const int32_t> ids, const std::function<void(std::span<const float>)>& sink) {
  PackedBatch batch;
  const std::vector<int32_t> sequence(ids.begin(), ids.end());
  batch.Append(sequence, sequence);
  batch.rows.clear();
  for (int32_t t = 0; t < batch.tokens(); ++t) batch.rows.push_back(t);
  batch.targets.assign(batch.rows.size(), 0);
  decoder->Logits(batch, [&](int64_t, std::span<const float> piece) { sink(piece); });
}

EvalMetrics ForwardModel::Loss(const std::vector<Example>& examples, int64_t tokens_in_flight,
                               std::vector<RowLoss>* of_each, const OnEvaluated& on_evaluated) {
  const EvalMetrics metrics = Evaluate(*decoder, examples, tokens_in_flight, of_each, on_evaluated);
  if (!std::isfinite(metrics.loss)) RefuseNonFinite(path, "the loss");
  return metrics;
}

std::unique_ptr<ForwardModel> MakeForwardModel(const ModelFiles& files, const ForwardOptions& options,
                                               const ChunkLimits& limits) {
  auto model = std::make_unique<ForwardModel>();
  model->path = files.path();
  model->device = MakeCpuDevice({});
  if (!options.adapter.empty()) model->adapter = ReadAdapter(files, options.adapter);
  const DType compute = ForwardCompute(options.bf16, *model->device);
  model->weights.emplace(*model->device, files, model->adapter.spec,
                         BaseStorage(files, compute, {.is_qlora = options.is_qlora, .offload = options.offload}));
  model->vectors.emplace(*model->device, model->adapter.tensors, TrainableVectors::Purpose::kUse);
  LoadTrained(*model->device, *model->vectors, model->adapter.tensors, model->adapter.values);
  DecoderSettings settings;
  settings.compute = compute;
  settings.policy = KeepPolicy::kNothing;
  settings.max_tokens = limits.tokens;
  settings.max_sequences = limits.sequences;
  settings.max_length = limits.length;
  settings.max_labelled = limits.labelled;
  model->decoder.emplace(*model->device, files.spec(), *model->weights, model->adapter.spec, model->adapter.tensors,
                         &*model->vectors, settings);
  return model;
}

}  // namespace attune
