#include "app/ladder_rung.h"

#include <algorithm>

#include "app/sweep_job.h"
#include "app/train_job.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"

namespace attune {
namespace {

constexpr int64_t kTriedSteps = 4;
constexpr double kUsable = 0.8;     // of the time: later steps may be slower than those that were tried
constexpr double kGrace = 1.2;      // and a run that is nearly done may take some of the next rung's
constexpr double kMostTried = 0.3;  // of the time, for trying
// A sweep by halving: three trials of half the steps, then one of all.
constexpr double kSweepRuns = 4, kSweepSteps = 2.5;
constexpr int64_t kFewestSwept = 8;  // with fewer steps three rates say less than one run of twice as many

// When what happened, to tell a step's time from the rest.
class Stopwatch : public TrainEvents {
 public:
  Stopwatch(double end, const OnProgress& on_progress) : end_(end), on_progress_(on_progress) {}
  void OnEval(const EvalMetrics& m) override {
    if (m.step == 0) first_ = Now();
  }
  void OnStep(const StepMetrics& m) override {
    last_ = Now();
    steps_ = m.step;
    if (on_progress_) on_progress_("trying what a step takes", m.step, m.total_steps);
    if (m.step >= m.total_steps || last_ <= end_) return;
    is_cut_short_ = true;
    Failed("long enough to know");
  }
  int64_t steps() const { return steps_; }
  bool is_cut_short() const { return is_cut_short_; }
  double seconds_a_step() const { return (last_ - first_) / static_cast<double>(steps_); }
  double before(double begin) const { return first_ - begin; }

 private:
  double end_, first_ = 0, last_ = 0;
  const OnProgress& on_progress_;
  int64_t steps_ = 0;
  bool is_cut_short_ = false;
};

std::vector<Setting> With(std::vector<Setting> settings, const std::vector<Setting>& more) {
  settings.insert(settings.end(), more.begin(), more.end());
  return settings;
}

void TrySteps(const TrainedRungJob& job, TrainedRungState& state, const OnProgress& on_progress) {
  const std::string folder = job.folder + "/tried";
  RunConfig config = LoadConfig("", With(job.settings, {{"learning_rate", fmt::format("{:g}", job.learning_rate)},
                                                        {"max_steps", std::to_string(kTriedSteps)},
                                                        {"output_dir", folder},
                                                        {"overwrite_output_dir", "true"}}));
  config.is_recorded = false;
  const double begin = Now();
  Stopwatch watch(begin + kMostTried * job.seconds, on_progress);
  try {
    Train(config, watch);
  } catch (const Error&) {
    if (!watch.is_cut_short()) throw;
  }
  const double seconds = Now() - begin;
  state.seconds_a_step = watch.seconds_a_step();
  state.seconds_a_run = watch.is_cut_short() ? 2 * watch.before(begin)
                                             : seconds - static_cast<double>(watch.steps()) * state.seconds_a_step;
  state.spent += seconds;
  RemoveTree(folder);
}

// How many steps end in time, with a sweep where it is worth it; 0: not one.
void ChooseSteps(const TrainedRungJob& job, TrainedRungState& state) {
  const double left = kUsable * (job.seconds - state.spent);
  // One run's overhead more: the best one is evaluated again, row by row.
  const auto steps = [&](double runs, double times) {
    return static_cast<int64_t>((left - (runs + 1) * state.seconds_a_run) / (times * state.seconds_a_step));
  };
  state.steps = std::min(job.most_steps, steps(kSweepRuns, kSweepSteps));
  state.is_swept = state.steps >= std::min(kFewestSwept, job.most_steps);
  if (!state.is_swept) state.steps = std::clamp<int64_t>(steps(1, 1), 0, job.most_steps);
}

}  // namespace

nlohmann::ordered_json ToJson(const TrainedRungState& s) {
  return {{"seconds_a_step", s.seconds_a_step},
          {"seconds_a_run", s.seconds_a_run},
          {"steps", s.steps},
          {"is_swept", s.is_swept},
          {"spent", s.spent}};
}

TrainedRungState RungStateOf(const nlohmann::ordered_json& json) {
  return {json.value("seconds_a_step", 0.0), json.value("seconds_a_run", 0.0), json.value("steps", int64_t{0}),
          json.value("is_swept", false), json.value("spent", 0.0)};
}

TrainedRungResult RunTrainedRung(const TrainedRungJob& job, TrainedRungState& state, const std::function<void()>& keep,
                                 const OnProgress& on_progress) {
  TrainedRungResult result;
  if (state.steps == 0) {
    TrySteps(job, state, on_progress);
    ChooseSteps(job, state);
    if (state.steps == 0) {
      result.skipped = fmt::format(
          "there is no time for it: a run takes {:.0f} s beside its steps, and a step {:.1f} s, of {:.0f} s",
          state.seconds_a_run, state.seconds_a_step, job.seconds);
      return result;
    }
    keep();
  }
  SweepJob sweep;
  sweep.settings =
      With(job.settings, {{"max_steps", std::to_string(state.steps)}, {"output_dir", job.folder + "/sweep"}});
  std::vector<std::string> rates;
  for (const double factor : {1.0, 1.0 / 3, 3.0}) {
    if (factor == 1 || state.is_swept) rates.push_back(fmt::format("{:.2g}", factor * job.learning_rate));
  }
  sweep.grid = {{"learning_rate", rates}};
  sweep.halving = state.is_swept;
  sweep.seconds = std::max(1.0, kGrace * job.seconds - state.spent - state.seconds_a_run);
  double begin = Now();
  const auto on_trial = [&](const SweepTrial&, int64_t, int64_t) {
    state.spent += Now() - begin;
    begin = Now();
    ++result.trials;
    keep();
  };
  const SweepTrial best = RunSweep(sweep, on_trial, on_progress).best();
  result.output_dir = best.output_dir;
  result.learning_rate = best.settings.front().second;
  result.steps = best.steps;
  result.seconds = best.seconds;
  result.skipped = best.error;
  return result;
}

}  // namespace attune
