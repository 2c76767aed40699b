#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/system.h"
#include "train/checkpoint_store.h"

namespace attune {
namespace {

double Rounded(double value, int digits) {
  const double scale = std::pow(10.0, digits);
  return std::round(value * scale) / scale;
}

}  // namespace

nlohmann::ordered_json ToJson(const StepMetrics& m) {
  return {{"loss", m.loss},
          {"grad_norm", m.grad_norm},
          {"learning_rate", m.learning_rate},
          {"epoch", m.epoch},
          {"step", m.step},
          {"num_tokens", m.num_tokens},
          {"trained_tokens", m.trained_tokens},
          {"tokens_per_second", Rounded(m.tokens_per_second, 1)},
          {"peak_rss_bytes", m.peak_rss_bytes}};
}

nlohmann::ordered_json ToJson(const EvalMetrics& m) {
  return {{"eval_loss", m.loss},     {"eval_perplexity", std::exp(m.loss)},   {"eval_token_accuracy", m.token_accuracy},
          {"eval_tokens", m.tokens}, {"eval_runtime", Rounded(m.seconds, 3)}, {"epoch", m.epoch},
          {"step", m.step}};
}

Trainer::Trainer(Inputs inputs, TrainObserver& observer)
    : in_(std::move(inputs)),
      observer_(observer),
      schedule_(in_.arguments.lr_scheduler_type, in_.arguments.lr_scheduler_kwargs, in_.arguments.learning_rate,
                in_.plan.warmup_steps, in_.plan.steps.total_updates),
      optimizer_(in_.device, in_.vectors, in_.trainables, in_.arguments),
      saver_(in_.arguments.output_dir, in_.arguments.save_total_limit),
      norm_(DenseMatrix(in_.device.Allocate(sizeof(double), "the gradient norm"), DType::kF64, 1, 1)) {}

double Trainer::mean_loss() const { return state_.loss_sum / static_cast<double>(std::max<int64_t>(1, state_.step)); }

std::string Trainer::best_checkpoint() const {
  return state_.best_saved_step > 0 ? saver_.FolderOf(state_.best_saved_step) : std::string();
}

void Trainer::Resume(const ResumePoint& point) {
  in_.load_model(point.path);
  in_.decoder.RefreshTrained();
  LoadOptimizer(in_.device, optimizer_, point.path);
  state_ = point.state;
  saved_step_ = state_.step;
  const int64_t patience = in_.arguments.early_stopping_patience;
  if (patience == 0 || state_.evals_without_gain < patience) state_.stopped_early = false;
  if (point.fingerprint == in_.fingerprint) return;
  // Data or settings have been changed by intent: from now on this is the run that is gone on with.
  saved_step_ = -1;
  SaveCheckpoint();
  saver_.Wait();
}

PackedBatch Trainer::Pack(const Chunk& chunk, int64_t epoch) const {
  PackedBatch batch;
  const bool needs_keys = in_.decoder.draws_random_numbers();
  for (const int64_t row : chunk) {
    const Example& example = in_.train.examples[static_cast<size_t>(row)];
    AppendExample(example, &batch);
    if (!needs_keys) continue;
    // The epoch tells two visits of the same row apart; the step alone would too, but not within one update.
    const int64_t id = epoch * static_cast<int64_t>(in_.train.examples.size()) + row;
    for (size_t t = 0; t < example.input_ids.size(); ++t) {
      batch.keys.push_back(DropoutKey(in_.arguments.seed, state_.step, id, static_cast<int64_t>(t)));
    }
  }
  return batch;
}

void Trainer::Accumulate(const std::vector<int64_t>& rows, int64_t epoch, UpdateResult* result) {
  for (const int64_t row : rows) result->items += in_.plan.shapes[static_cast<size_t>(row)].labelled;
  const auto items = static_cast<double>(std::max<int64_t>(1, result->items));
  in_.device.Run(Fill{in_.vectors.gradient(), 0.0f});
  double sum = 0;
  for (const Chunk& chunk : CutIntoChunks(rows, in_.plan.shapes, in_.arguments.tokens_in_flight)) {
    const PackedBatch batch = Pack(chunk, epoch);
    sum += in_.decoder.TrainBatch(batch, static_cast<float>(1.0 / items)).sum;
    result->tokens += batch.tokens();
  }
  result->loss = sum / items;
}

double Trainer::GradientNorm() {
  in_.device.Run(SumSquares{in_.vectors.gradient(), norm_});
  double squares = 0;
  in_.device.Download(&squares, norm_.data, sizeof(squares));
  return std::sqrt(squares);
}

Trainer::UpdateResult Trainer::RunUpdate(const std::vector<int64_t>& rows, int64_t epoch) {
  UpdateResult result;
  Accumulate(rows, epoch, &result);
  result.grad_norm = GradientNorm();
  result.learning_rate = schedule_.LearningRate(state_.step, state_.plateau);
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    TolerateOrStop(rows, epoch, result);
    result.skipped = true;
    return result;
  }
  const double limit = in_.arguments.max_grad_norm;
  const double scale = limit > 0 ? std::min(1.0, limit / (result.grad_norm + 1e-6)) : 1.0;
  // An update that was skipped never reached the optimiser, whose bias corrections count real ones.
  optimizer_.Step(result.learning_rate, static_cast<float>(scale), state_.step + 1 - state_.skipped_nonfinite);
  in_.decoder.RefreshTrained();
  return result;
}

std::string Trainer::DescribeNonFinite(const std::vector<int64_t>& rows, int64_t epoch) {
  for (const Chunk& chunk : CutIntoChunks(rows, in_.plan.shapes, in_.arguments.tokens_in_flight)) {
    const std::string module = in_.decoder.FirstNonFinite(Pack(chunk, epoch));
    if (!module.empty()) return "first seen in the output of " + module;
  }
  const std::string key = in_.decoder.FirstNonFiniteGradient();
  return key.empty() ? "first seen in the loss" : "first seen in the gradient of " + key;
}

// What to try first against numbers that are not finite: before any update the rate has not been used.
std::string Trainer::LikelyMend() const {
  if (state_.step > state_.skipped_nonfinite)
    return fmt::format("Lower learning_rate (now {:g})", in_.arguments.learning_rate);
  return "Nothing has been learned yet, so learning_rate is not why: see what loss attune eval gives the model, lower "
         "lora_alpha or neftune_noise_alpha";
}

// No setting helps where training starts from weights that are not finite.
void Trainer::RefuseDamagedWeights() {
  const std::string name = in_.damaged_weight ? in_.damaged_weight() : "";
  if (!name.empty())
    BadInput("{} holds values that are not finite: it is damaged, and nothing can be trained on it", name);
}

// Nothing has reached the optimiser yet.
void Trainer::TolerateOrStop(const std::vector<int64_t>& rows, int64_t epoch, const UpdateResult& result) {
  if (state_.skipped_nonfinite == 0) RefuseDamagedWeights();
  std::string names;
  for (size_t i = 0; i < rows.size() && i < 8; ++i) {
    names += (i == 0 ? "" : ", ") + in_.train.RowName(in_.train.examples[static_cast<size_t>(rows[i])]);
  }
  if (rows.size() > 8) names += fmt::format(" and {} more", rows.size() - 8);
  const std::string what =
      fmt::format("step {}: the {} is not finite, {} (rows {})", state_.step + 1,
                  std::isfinite(result.loss) ? "gradient" : "loss", DescribeNonFinite(rows, epoch), names);
  if (state_.skipped_nonfinite < in_.arguments.skip_nonfinite) {
    state_.skipped_nonfinite += 1;
    observer_.OnNote(fmt::format("{}; the update is left out ({} of {} allowed)", what, state_.skipped_nonfinite,
                                 in_.arguments.skip_nonfinite));
    return;
  }
  saver_.Wait();
  const std::string last = saved_step_ > 0 ? fmt::format("; {} is intact", saver_.FolderOf(saved_step_)) : "";
  Failed("{}; nothing was updated{}. {}, look at these rows, or set skip_nonfinite", what, last, LikelyMend());
}

StepMetrics Trainer::Metrics(const UpdateResult& result) const {
  StepMetrics m;
  m.step = state_.step;
  m.total_steps = in_.plan.steps.total_updates;
  m.loss = result.loss;
  m.grad_norm = result.grad_norm;
  m.learning_rate = result.learning_rate;
  m.epoch = state_.epoch;
  m.num_tokens = state_.tokens_seen;
  m.trained_tokens = state_.trained_seen;
  m.peak_rss_bytes = PeakResidentBytes();
  m.seconds_left =
      state_.train_seconds / static_cast<double>(state_.step) * static_cast<double>(m.total_steps - m.step);
  return m;
}

void Trainer::FinishUpdate(const UpdateResult& result, double epoch, double seconds) {
  state_.step += 1;
  state_.epoch = epoch;
  state_.tokens_seen += result.tokens;
  state_.trained_seen += result.items;
  state_.train_seconds += seconds;
  state_.logged_seconds += seconds;
  state_.logged_tokens += result.tokens;
  if (!result.skipped) {  // as transformers' logging_nan_inf_filter
    state_.loss_sum += result.loss;
    state_.logged_loss += result.loss;
    state_.logged_updates += 1;
  }
  StepMetrics metrics = Metrics(result);
  metrics.tokens_per_second = static_cast<double>(result.tokens) / seconds;
  observer_.OnStep(metrics);
  const bool first = state_.step == 1 && in_.arguments.logging_first_step;
  if (first || AtInterval(in_.plan.logging_steps)) Log(metrics);
}

void Trainer::Log(StepMetrics metrics) {
  metrics.loss = state_.logged_loss / static_cast<double>(std::max<int64_t>(1, state_.logged_updates));
  metrics.tokens_per_second = static_cast<double>(state_.logged_tokens) / state_.logged_seconds;
  state_.history.push_back(ToJson(metrics));
  observer_.OnLog(metrics);
  state_.logged_loss = state_.logged_seconds = 0;
  state_.logged_tokens = state_.logged_updates = 0;
}

// At multiples of the interval and after the last update; 0: never.
bool Trainer::AtInterval(int64_t steps) const {
  return steps > 0 && (state_.step % steps == 0 || state_.step == in_.plan.steps.total_updates);
}

bool Trainer::Done() const { return state_.step >= in_.plan.steps.total_updates || state_.stopped_early; }

// Gives whether the metric is the best so far.
bool Trainer::RunEval() {
  if (in_.eval == nullptr) return false;
  EvalMetrics metrics = Evaluate(in_.decoder, in_.eval->examples, in_.arguments.tokens_in_flight);
  metrics.step = state_.step;
  metrics.epoch = state_.epoch;
  if (!std::isfinite(metrics.loss)) {
    RefuseDamagedWeights();
    Failed("the held-out loss after step {} is not finite: {} {}", state_.step,
           saved_step_ > 0 ? fmt::format("nothing of this is saved, {} is intact.", saver_.FolderOf(saved_step_))
                           : "nothing of this is saved.",
           LikelyMend());
  }
  state_.history.push_back(ToJson(metrics));
  observer_.OnEval(metrics);
  if (in_.tokenizer != nullptr && !in_.plan.samples.empty()) {
    observer_.OnSamples(state_.step, AnswerPrompts(in_.decoder, *in_.tokenizer, in_.eos_ids, in_.plan.samples,
                                                   in_.arguments.eval_max_new_tokens));
  }
  if (state_.step == 0 || in_.arguments.eval_strategy == IntervalStrategy::kNo) return false;
  std::string name = in_.arguments.metric_for_best_model;
  if (!name.starts_with("eval_")) name = "eval_" + name;
  const double value = ToJson(metrics).at(name).get<double>();
  ObservePlateau(name, value);
  return TrackBest(name, value);
}

void Trainer::ObservePlateau(const std::string& name, double value) {
  const double before = schedule_.LearningRate(state_.step, state_.plateau);
  const int64_t reductions = state_.plateau.reductions;
  schedule_.Observe(value, &state_.plateau);
  if (state_.plateau.reductions == reductions) return;
  observer_.OnNote(fmt::format("learning rate {:g} after step {}, {:g} until here: {} has stopped getting better",
                               schedule_.LearningRate(state_.step, state_.plateau), state_.step, before, name));
}

bool Trainer::TrackBest(const std::string& name, double value) {
  const TrainingArguments& a = in_.arguments;
  const bool greater = a.greater_is_better.value_or(name == "eval_token_accuracy");
  const auto beats = [&](double other) { return greater ? value > other : value < other; };
  const bool improved = std::isfinite(value) && (!state_.best_metric || beats(*state_.best_metric));
  // As transformers' EarlyStoppingCallback: a gain below the threshold does not count.
  const bool gained =
      improved && (!state_.best_metric || std::fabs(value - *state_.best_metric) > a.early_stopping_threshold);
  state_.evals_without_gain = gained ? 0 : state_.evals_without_gain + 1;
  if (improved) {
    state_.best_metric = value;
    state_.best_step = state_.step;
  }
  if (a.early_stopping_patience > 0 && state_.evals_without_gain >= a.early_stopping_patience && !Done()) {
    state_.stopped_early = true;
    observer_.OnNote(fmt::format("stopped early after step {}: {} evaluations without a better {}", state_.step,
                                 state_.evals_without_gain, name));
  }
  return improved;
}

// What rotation must leave beside the newest.
std::string Trainer::CheckpointToKeep() const { return in_.arguments.load_best_model_at_end ? best_checkpoint() : ""; }

void Trainer::SaveCheckpoint() {
  if (saved_step_ == state_.step) return;
  const CheckpointContent content{in_.device, optimizer_,      state_,        in_.arguments,
                                  in_.plan,   in_.fingerprint, in_.save_model};
  saver_.Save(state_.step, CheckpointToKeep(), [&](const std::string& folder) { WriteCheckpoint(folder, content); });
  saved_step_ = state_.step;
  observer_.OnCheckpoint(saver_.FolderOf(state_.step));
}

void Trainer::StopIfRequested() {
  if (!in_.stop_requested || !in_.stop_requested() || Done()) return;
  SaveCheckpoint();
  saver_.Wait();
  Failed("interrupted after step {} of {}, saved in {}; go on with: attune resume {}", state_.step,
         in_.plan.steps.total_updates, saver_.FolderOf(state_.step), in_.arguments.output_dir);
}

void Trainer::Run() {
  const RunPlan& plan = in_.plan;
  const int64_t in_epoch = plan.steps.updates_per_epoch;
  if (state_.step == 0) RunEval();
  for (int64_t epoch = state_.step / in_epoch; !Done(); ++epoch) {
    const std::vector<Update> updates = plan.EpochUpdatesOf(epoch);
    int64_t micro_batches = 0;
    for (size_t u = 0; u < updates.size() && !Done(); ++u) {
      micro_batches += static_cast<int64_t>(updates[u].size());
      if (epoch * in_epoch + static_cast<int64_t>(u) < state_.step) continue;  // made before the run was resumed
      const double begin = Now();
      std::vector<int64_t> rows;
      for (const MicroBatch& batch : updates[u]) rows.insert(rows.end(), batch.begin(), batch.end());
      const UpdateResult result = RunUpdate(rows, epoch);
      FinishUpdate(result,
                   static_cast<double>(epoch) +
                       static_cast<double>(micro_batches) / static_cast<double>(plan.steps.micro_batches_per_epoch),
                   Now() - begin);
      const bool last = state_.step == plan.steps.total_updates;
      const bool due = AtInterval(plan.eval_steps) && state_.step >= plan.first_eval_step;
      const bool improved = (last || due) && RunEval();
      const bool save_best = improved && in_.arguments.save_strategy == IntervalStrategy::kBest;
      if (AtInterval(plan.save_steps) || save_best) {
        // As transformers, the best is one that is kept; what was better between two saves is gone. A save at an
        // interruption does not count: the run would end otherwise than without it.
        if (state_.best_metric && state_.best_step == state_.step) state_.best_saved_step = state_.step;
        SaveCheckpoint();
      }
      StopIfRequested();
    }
  }
  if (state_.stopped_early && plan.save_steps > 0) SaveCheckpoint();
  saver_.Wait();
  // A run that was killed between its last save and the rotation behind it has nothing left to save.
  if (saved_step_ > 0) {
    RotateCheckpoints(in_.arguments.output_dir, in_.arguments.save_total_limit, saved_step_, CheckpointToKeep());
  }
  const std::string best = best_checkpoint();
  if (in_.arguments.load_best_model_at_end && !best.empty() && state_.best_saved_step != state_.step) {
    in_.load_model(best);
    in_.decoder.RefreshTrained();
    observer_.OnNote(fmt::format("the best model by {}, of step {}, is kept", in_.arguments.metric_for_best_model,
                                 state_.best_saved_step));
  }
}

}  // namespace attune
