#include "train/counted_work.h"

#include <algorithm>

#include "models/weights.h"
#include "train/optimizer.h"

namespace attune {
namespace {

PackedBatch BatchOf(const BatchShape& shape, bool needs_keys) {
  PackedBatch batch;
  const auto tokens = static_cast<size_t>(shape.tokens), labelled = static_cast<size_t>(shape.labelled);
  batch.input_ids.assign(tokens, 0);
  batch.positions.assign(tokens, 0);
  batch.rows.assign(labelled, 0);
  batch.targets.assign(labelled, 0);
  if (needs_keys) batch.keys.assign(tokens, 0);
  for (int64_t start = 0; start < shape.tokens; start += shape.length)
    batch.starts.push_back(static_cast<int32_t>(start));
  batch.starts.push_back(static_cast<int32_t>(shape.tokens));
  return batch;
}

// A decoder for batches of this shape, on a device that counts.
class CountedDecoder {
 public:
  CountedDecoder(const PlanInputs& in, const BatchShape& shape)
      : device_(MakeCountingDevice()),
        weights_(*device_, in.spec, in.adapter, in.storage),
        vectors_(*device_, in.trainables),
        // Rope tables of one position: nothing is computed from them here, and those of a long context take their time.
        decoder_(*device_, in.spec, weights_, in.adapter, in.trainables, &vectors_,
                 SettingsFor(in.arguments, in.storage.compute(),
                             {shape.tokens, (shape.tokens + shape.length - 1) / shape.length, 1, shape.labelled})) {
    device_->SetProfile(&profile_);
  }

  Device& device() { return *device_; }
  Decoder& decoder() { return decoder_; }
  const TrainableVectors& vectors() const { return vectors_; }

  WorkAmounts Amounts() const {
    WorkAmounts amounts;
    for (const auto& [kind, cost] : profile_.by_kind) {
      amounts[kind] = cost.amount;
      amounts[kBetweenOps] += static_cast<double>(cost.calls);
    }
    return amounts;
  }

 private:
  std::unique_ptr<Device> device_;
  Profile profile_;
  ModelWeights weights_;
  TrainableVectors vectors_;
  Decoder decoder_;
};

}  // namespace

WorkAmounts TrainingWork(const PlanInputs& in, const BatchShape& shape) {
  CountedDecoder counted(in, shape);
  counted.decoder().TrainBatch(BatchOf(shape, counted.decoder().draws_random_numbers()), 1.0f);
  return counted.Amounts();
}

WorkAmounts EvaluationWork(const PlanInputs& in, const BatchShape& shape) {
  CountedDecoder counted(in, shape);
  counted.decoder().EvaluateBatch(BatchOf(shape, false));
  return counted.Amounts();
}

WorkAmounts UpdateWork(const PlanInputs& in) {
  CountedDecoder counted(in, {});
  TrainingArguments arguments = in.arguments;
  arguments.optim = Optimizer::Unpaged(arguments.optim);
  Optimizer optimizer(counted.device(), counted.vectors(), in.trainables, arguments);
  counted.device().Run(Fill{counted.vectors().gradient(), 0.0f});
  counted.device().Run(SumSquares{counted.vectors().gradient(), counted.vectors().gradient()});
  optimizer.Step(arguments.learning_rate, 1.0f, 1);
  counted.decoder().RefreshTrained();
  return counted.Amounts();
}

}  // namespace attune
