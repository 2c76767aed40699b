#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/system.h"
#include "train/checkpoint.h"

namespace attune {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Rounded(double value, int digits) {
  const double scale = std::pow(10.0, digits);
  return std::round(value * scale) / scale;
}

}  // namespace

nlohmann::ordered_json ToJson(const StepMetrics& m) {
  return {{"loss", m.loss},
          {"grad_norm", m.grad_norm},
          {"learning_rate", m.learning_rate},
          {"epoch", Rounded(m.epoch, 4)},
          {"step", m.step},
          {"num_tokens", m.num_tokens},
          {"trained_tokens", m.trained_tokens},
          {"tokens_per_second", Rounded(m.tokens_per_second, 1)},
          {"peak_rss_bytes", m.peak_rss_bytes}};
}

nlohmann::ordered_json ToJson(const EvalMetrics& m) {
  return {{"eval_loss", m.loss},
          {"eval_perplexity", std::exp(m.loss)},
          {"eval_token_accuracy", m.token_accuracy},
          {"eval_tokens", m.tokens},
          {"eval_runtime", Rounded(m.seconds, 3)},
          {"epoch", Rounded(m.epoch, 4)},
          {"step", m.step}};
}

EvalMetrics Evaluate(Decoder& decoder, const std::vector<Example>& examples, int64_t tokens_in_flight) {
  const double begin = Now();
  std::vector<int64_t> rows(examples.size()), lengths;
  std::iota(rows.begin(), rows.end(), int64_t{0});
  for (const Example& example : examples) lengths.push_back(static_cast<int64_t>(example.input_ids.size()));
  EvalMetrics metrics;
  double sum = 0;
  int64_t correct = 0;
  for (const Chunk& chunk : CutIntoChunks(rows, lengths, tokens_in_flight)) {
    PackedBatch batch;
    for (const int64_t row : chunk) {
      const Example& example = examples[static_cast<size_t>(row)];
      batch.Append(example.input_ids, example.labels);
    }
    const BatchLoss loss = decoder.EvaluateBatch(batch);
    sum += loss.sum;
    correct += loss.correct;
    metrics.tokens += loss.rows;
  }
  metrics.loss = sum / static_cast<double>(std::max<int64_t>(1, metrics.tokens));
  metrics.token_accuracy = static_cast<double>(correct) / static_cast<double>(std::max<int64_t>(1, metrics.tokens));
  metrics.seconds = Now() - begin;
  return metrics;
}

Trainer::Trainer(const Inputs& inputs, TrainObserver& observer)
    : in_(inputs),
      observer_(observer),
      schedule_(inputs.arguments.lr_scheduler_type, inputs.arguments.lr_scheduler_kwargs, inputs.arguments.learning_rate,
                inputs.plan.warmup_steps, inputs.plan.steps.total_updates),
      norm_(DenseMatrix(inputs.device.Allocate(sizeof(double), "the gradient norm"), DType::kF64, 1, 1)) {}

double Trainer::mean_loss() const { return loss_sum_ / static_cast<double>(std::max<int64_t>(1, step_)); }

PackedBatch Trainer::Pack(const Chunk& chunk, int64_t epoch) const {
  PackedBatch batch;
  const bool dropout = in_.lora.lora_dropout > 0;
  for (const int64_t row : chunk) {
    const Example& example = in_.train.examples[static_cast<size_t>(row)];
    batch.Append(example.input_ids, example.labels);
    if (!dropout) continue;
    // The epoch tells two visits of the same row apart; the step alone would too, but not within one update.
    const int64_t id = epoch * static_cast<int64_t>(in_.train.examples.size()) + row;
    for (size_t t = 0; t < example.input_ids.size(); ++t) {
      batch.keys.push_back(DropoutKey(in_.arguments.seed, step_, id, static_cast<int64_t>(t)));
    }
  }
  return batch;
}

Trainer::UpdateResult Trainer::RunUpdate(const std::vector<int64_t>& rows, int64_t epoch) {
  UpdateResult result;
  for (const int64_t row : rows) result.items += in_.plan.labelled[static_cast<size_t>(row)];
  const float scale = 1.0f / static_cast<float>(std::max<int64_t>(1, result.items));
  in_.device.Run(Fill{in_.vectors.gradient(), 0.0f});
  double sum = 0;
  for (const Chunk& chunk : CutIntoChunks(rows, in_.plan.lengths, in_.arguments.tokens_in_flight)) {
    const PackedBatch batch = Pack(chunk, epoch);
    sum += in_.decoder.TrainBatch(batch, scale).sum;
    result.tokens += batch.tokens();
  }
  result.loss = sum / static_cast<double>(std::max<int64_t>(1, result.items));
  return result;
}

double Trainer::ClipAndStep(double learning_rate) {
  const TrainingArguments& a = in_.arguments;
  in_.device.Run(SumSquares{in_.vectors.gradient(), norm_});
  double squares = 0;
  in_.device.Download(&squares, norm_.data, sizeof(squares));
  const double norm = std::sqrt(squares);
  if (!std::isfinite(norm) || !std::isfinite(last_.loss)) {
    Failed("step {}: the {} is not finite; nothing was updated. Lower learning_rate (now {:g}), or look at the rows of "
           "this step",
           step_ + 1, std::isfinite(norm) ? "loss" : "gradient", a.learning_rate);
  }
  AdamW update;
  update.weight = in_.vectors.value();
  update.gradient = in_.vectors.gradient();
  update.m = in_.vectors.first_moment();
  update.v = in_.vectors.second_moment();
  if (a.max_grad_norm > 0) update.gradient_scale = static_cast<float>(std::min(1.0, a.max_grad_norm / (norm + 1e-6)));
  update.learning_rate = learning_rate;
  update.beta1 = a.adam_beta1;
  update.beta2 = a.adam_beta2;
  update.eps = a.adam_epsilon;
  update.step = step_ + 1;
  // Biases do not decay; everything else of an adapter does, as in transformers' get_decay_parameter_names.
  const auto slice = [](const Matrix& m, int64_t first, int64_t count) { return m.Columns(first, count); };
  int64_t decayed = in_.vectors.elements();
  for (const TrainableTensor& t : in_.trainables) {
    if (t.kind == TrainableTensor::Kind::kBias) decayed = std::min(decayed, t.offset);
  }
  for (const auto& [first, count, decay] :
       {std::tuple{int64_t{0}, decayed, a.weight_decay}, std::tuple{decayed, in_.vectors.elements() - decayed, 0.0}}) {
    if (count == 0) continue;
    AdamW part = update;
    part.weight = slice(update.weight, first, count);
    part.gradient = slice(update.gradient, first, count);
    part.m = slice(update.m, first, count);
    part.v = slice(update.v, first, count);
    part.weight_decay = decay;
    in_.device.Run(part);
  }
  in_.decoder.RefreshTrained();
  return norm;
}

StepMetrics Trainer::Metrics() const {
  StepMetrics m;
  m.step = step_;
  m.total_steps = in_.plan.steps.total_updates;
  m.loss = last_.loss;
  m.grad_norm = last_.grad_norm;
  m.learning_rate = last_learning_rate_;
  m.epoch = epoch_;
  m.num_tokens = tokens_seen_;
  m.trained_tokens = trained_seen_;
  m.peak_rss_bytes = PeakResidentBytes();
  m.seconds_left = train_seconds_ / static_cast<double>(step_) * static_cast<double>(m.total_steps - step_);
  return m;
}

void Trainer::RunEval() {
  if (in_.eval == nullptr) return;
  EvalMetrics metrics = Evaluate(in_.decoder, in_.eval->examples, in_.arguments.tokens_in_flight);
  metrics.step = step_;
  metrics.epoch = epoch_;
  history_.push_back(ToJson(metrics));
  observer_.OnEval(metrics);
}

void Trainer::SaveCheckpoint() {
  const std::string folder = in_.arguments.output_dir + "/checkpoint-" + std::to_string(step_);
  WriteCheckpoint(folder, {in_.device, in_.vectors, in_.trainables, in_.lora, in_.plan, step_, epoch_, history_,
                           in_.arguments});
  RotateCheckpoints(in_.arguments.output_dir, in_.arguments.save_total_limit);
  observer_.OnCheckpoint(folder);
}

void Trainer::Run() {
  const RunPlan& plan = in_.plan;
  const int64_t total = plan.steps.total_updates;
  RunEval();
  double logged_loss = 0, logged_seconds = 0;
  int64_t logged_tokens = 0, logged_step = 0;
  for (int64_t epoch = 0; step_ < total; ++epoch) {
    int64_t micro_batches = 0;
    for (const Update& update : plan.EpochUpdatesOf(epoch)) {
      if (step_ >= total) break;
      const double begin = Now();
      std::vector<int64_t> rows;
      for (const MicroBatch& batch : update) rows.insert(rows.end(), batch.begin(), batch.end());
      last_ = RunUpdate(rows, epoch);
      last_learning_rate_ = schedule_.LearningRate(step_);
      last_.grad_norm = ClipAndStep(last_learning_rate_);
      ++step_;
      micro_batches += static_cast<int64_t>(update.size());
      epoch_ = static_cast<double>(epoch) +
               static_cast<double>(micro_batches) / static_cast<double>(plan.steps.micro_batches_per_epoch);
      tokens_seen_ += last_.tokens;
      trained_seen_ += last_.items;
      loss_sum_ += last_.loss;
      const double seconds = Now() - begin;
      train_seconds_ += seconds;
      logged_loss += last_.loss;
      logged_seconds += seconds;
      logged_tokens += last_.tokens;
      StepMetrics metrics = Metrics();
      metrics.tokens_per_second = static_cast<double>(last_.tokens) / seconds;
      observer_.OnStep(metrics);
      if (step_ % plan.logging_steps == 0 || step_ == total) {
        metrics.loss = logged_loss / static_cast<double>(step_ - logged_step);
        metrics.tokens_per_second = static_cast<double>(logged_tokens) / logged_seconds;
        history_.push_back(ToJson(metrics));
        observer_.OnLog(metrics);
        logged_loss = logged_seconds = 0;
        logged_tokens = 0;
        logged_step = step_;
      }
      if (step_ == total || (plan.eval_steps > 0 && step_ % plan.eval_steps == 0)) RunEval();
      if (plan.save_steps > 0 && (step_ % plan.save_steps == 0 || step_ == total)) SaveCheckpoint();
    }
  }
}

}  // namespace attune
