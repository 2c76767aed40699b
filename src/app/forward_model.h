// A model, with an adapter or without, for forward passes alone: evaluation, logits, comparing two models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "app/bundle.h"
#include "models/decoder.h"
#include "train/chunks.h"
#include "train/evaluation.h"

namespace attune {

// A decoder with everything it stands on.
struct ForwardModel {
  std::string path;  // of the model, for errors
  std::unique_ptr<Device> device;
  std::optional<ModelWeights> weights;
  AdapterValues adapter;
  std::optional<TrainableVectors> vectors;
  std::optional<Decoder> decoder;

  // The logits (tokens, vocab) f32 of every token of one sequence, some rows at a time.
  void AllLogits(std::span<const int32_t> ids, const std::function<void(std::span<const float>)>& sink);

  // As train/evaluation.h's. Errors: Error{kBadInput} where the loss is not finite.
  EvalMetrics Loss(const std::vector<Example>& examples, int64_t tokens_in_flight,
                   std::vector<RowLoss>* of_each = nullptr, const OnEvaluated& on_evaluated = {});
};

struct ForwardOptions {
  std::string adapter;  // a folder, or empty
  bool bf16 = false;
  bool offload = false;   // weights stay in their files where they can
  bool is_qlora = false;  // the base in 4 bits, as a run of method qlora holds it
};

// `files` must outlive the model. Errors: Error{kBadInput}: bf16 that this CPU cannot compute, an adapter that does not
// fit.
std::unique_ptr<ForwardModel> MakeForwardModel(const ModelFiles& files, const ForwardOptions& options,
                                               const ChunkLimits& limits);

}  // namespace attune
