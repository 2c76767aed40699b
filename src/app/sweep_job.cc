#include "app/sweep_job.h"

#include <algorithm>
#include <limits>
#include <set>

#include "app/plan_job.h"
#include "app/train_job.h"
#include "app/train_session.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "store/run_summary.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostTrials = 1000;

std::vector<std::vector<Setting>> Combinations(const SweepJob& job) {
  std::vector<std::vector<Setting>> combinations = {{}};
  std::set<std::string> keys;
  for (const auto& [key, values] : job.grid) {
    if (values.empty()) BadInput("--grid {}: needs values, as in --grid {}=A,B", key, key);
    if (!keys.insert(key).second)
      BadInput("--grid {}: is given twice; list its values in one, as in --grid {}=A,B", key, key);
    std::vector<std::vector<Setting>> longer;
    for (const std::vector<Setting>& begin : combinations) {
      for (const std::string& value : values) {
        longer.push_back(begin);
        longer.back().emplace_back(key, value);
      }
    }
    if (longer.size() > kMostTrials) BadInput("--grid: gives more than {} trials", kMostTrials);
    combinations = std::move(longer);
  }
  return combinations;
}

// One trial on its way: what it sets, and the folder it has in each rung.
struct Candidate {
  std::vector<Setting> settings;
  size_t number;  // from 1, in the order of the grid
};

// Tells of every update, and ends a trial whose time is up.
class TrialEvents : public TrainEvents {
 public:
  TrialEvents(const OnProgress& on_progress, std::string title, double end)
      : on_progress_(on_progress), title_(std::move(title)), end_(end) {}
  void OnStep(const StepMetrics& m) override {
    if (on_progress_) on_progress_(title_.c_str(), m.step, m.total_steps);
    if (m.step < m.total_steps && Now() > end_) Failed("its time was up after {} of {} steps", m.step, m.total_steps);
  }

 private:
  const OnProgress& on_progress_;
  std::string title_;
  double end_;
};

class Sweep {
 public:
  Sweep(const SweepJob& job, const OnTrial& on_trial, const OnProgress& on_progress)
      : job_(job),
        on_trial_(on_trial),
        on_progress_(on_progress),
        end_(job.seconds > 0 ? Now() + job.seconds : std::numeric_limits<double>::infinity()) {
    if (job.grid.empty()) BadInput("sweep: needs --grid KEY=A,B,...");
    for (const std::vector<Setting>& settings : Combinations(job))
      candidates_.push_back({settings, candidates_.size() + 1});
    // Everything is checked before anything is spent; a plan says what the model and these settings do not allow.
    for (const Candidate& c : candidates_) PlanOf(ConfigOf(c, 0, ""), {}, nullptr);
    const RunConfig first = ConfigOf(candidates_.front(), 0, "");
    folder_ = first.training.output_dir;
    if (first.eval_data.empty()) BadInput("sweep: trials are ranked on held-out rows: set data.eval");
    const Json identity = IdentityOf(first.source);
    const bool is_new = CheckFolder(identity);
    TrainEvents silent;
    steps_ = TrainSession(first, silent).plan().steps.total_updates;
    if (!is_new) return;
    MakeDirectories(folder_);
    WriteFileAtomic(GridPath(), identity.dump(2) + "\n");
  }

  SweepResult Run() {
    int rungs = 1;
    while (job_.halving && (candidates_.size() >> rungs) > 0 && (steps_ >> rungs) > 0) ++rungs;
    for (int rung = 0; rung < rungs; ++rung) total_ += static_cast<int64_t>(candidates_.size() >> rung);
    SweepResult result;
    for (int rung = 0; rung < rungs; ++rung) {
      std::vector<SweepTrial> trials = RunRung(rung, std::max<int64_t>(1, steps_ >> (rungs - 1 - rung)));
      const std::string error = trials.front().error;
      if (!error.empty() && job_.seconds == 0) Failed("sweep: every trial failed, the first: {}", error);
      if (error.empty() || rung == 0) result.rungs.push_back(std::move(trials));
      if (!error.empty()) break;
      KeepBetterHalf(result.rungs.back());
    }
    WriteFileAtomic(folder_ + "/sweep.json", ToJson(result).dump(2) + "\n");
    return result;
  }

 private:
  // `steps` 0: as the configuration says. `folder` empty: that of the sweep.
  RunConfig ConfigOf(const Candidate& c, int64_t steps, const std::string& folder) const {
    std::vector<Setting> settings = job_.settings;
    settings.insert(settings.end(), c.settings.begin(), c.settings.end());
    if (steps > 0) settings.emplace_back("max_steps", std::to_string(steps));
    if (!folder.empty()) {
      settings.emplace_back("output_dir", folder);
      settings.emplace_back("overwrite_output_dir", "true");  // a trial that failed before is tried again
    }
    return LoadConfig(job_.config, settings);
  }

  std::string GridPath() const { return folder_ + "/grid.json"; }

  // The sweep's own folder says what it is, so that another one's trials are never taken for its own.
  Json IdentityOf(Json settings) const {
    if (settings.contains("training")) settings["training"].erase("output_dir");
    Json grid = Json::array();
    for (const auto& [key, values] : job_.grid) grid.push_back({{"key", key}, {"values", values}});
    return {{"grid", grid}, {"halving", job_.halving}, {"settings", settings}};
  }

  // Gives whether the folder holds none yet.
  bool CheckFolder(const Json& identity) const {
    if (FileExists(folder_ + "/run.json")) BadInput("{}: holds a run; name a new output_dir for the sweep", folder_);
    if (!FileExists(GridPath())) return true;
    if (ParseOrderedJsonFile(GridPath()) != identity)
      BadInput("{}: holds a sweep with other settings; name a new output_dir", folder_);
    return false;
  }

  std::vector<SweepTrial> RunRung(int rung, int64_t steps) {
    std::vector<SweepTrial> trials;
    for (const Candidate& c : candidates_) {
      const std::string folder = fmt::format("{}/rung-{}/trial-{}", folder_, rung + 1, c.number);
      trials.push_back(RunTrial(c, ConfigOf(c, job_.halving ? steps : 0, folder)));
      on_trial_(trials.back(), ++done_, total_);
    }
    std::stable_sort(trials.begin(), trials.end(),
                     [](const SweepTrial& a, const SweepTrial& b) { return a.held_out_loss < b.held_out_loss; });
    return trials;
  }

  // A trial that failed by itself (a loss that is not finite) is a result too, and the worst; an interruption is not.
  SweepTrial RunTrial(const Candidate& c, const RunConfig& config) const {
    TrialEvents events(on_progress_, fmt::format("trial {} of {}", done_ + 1, total_), end_);
    const std::string& folder = config.training.output_dir;
    const std::string record = folder + "/run.json";
    SweepTrial trial{c.settings, folder};
    const std::string status = FileExists(record) ? StatusOf(ParseOrderedJsonFile(record)) : "";
    trial.was_there = status == "finished";
    if (!trial.was_there && Now() > end_) {
      trial.error = "no time was left for it";
      trial.held_out_loss = std::numeric_limits<double>::infinity();
      return trial;
    }
    try {
      const TrainResult result =
          status.empty() || status == "failed" ? Train(config, events) : Resume({folder, {}, false}, events);
      trial.steps = result.steps;
      trial.seconds = result.train_seconds;
      trial.held_out_loss = result.eval_loss_after.value();
    } catch (const Error& error) {
      if (!FileExists(record) || StatusOf(ParseOrderedJsonFile(record)) != "failed") throw;
      trial.error = error.what();
      trial.held_out_loss = std::numeric_limits<double>::infinity();
    }
    return trial;
  }

  void KeepBetterHalf(const std::vector<SweepTrial>& ranked) {
    std::vector<Candidate> kept;
    for (size_t i = 0; i < std::max<size_t>(1, ranked.size() / 2); ++i) {
      kept.push_back(*std::find_if(candidates_.begin(), candidates_.end(),
                                   [&](const Candidate& c) { return c.settings == ranked[i].settings; }));
    }
    candidates_ = std::move(kept);
  }

  const SweepJob& job_;
  const OnTrial& on_trial_;
  const OnProgress& on_progress_;
  double end_;  // in Now()'s seconds
  std::vector<Candidate> candidates_;
  std::string folder_;
  int64_t steps_ = 0, done_ = 0, total_ = 0;
};

}  // namespace

SweepResult RunSweep(const SweepJob& job, const OnTrial& on_trial, const OnProgress& on_progress) {
  return Sweep(job, on_trial, on_progress).Run();
}

Json ToJson(const SweepResult& result) {
  Json rungs = Json::array();
  for (const std::vector<SweepTrial>& rung : result.rungs) {
    Json trials = Json::array();
    for (const SweepTrial& t : rung) {
      Json settings = Json::object();
      for (const auto& [key, value] : t.settings) settings[key] = value;
      trials.push_back({{"settings", settings},
                        {"steps", t.steps},
                        {"eval_loss", t.error.empty() ? Json(t.held_out_loss) : Json(nullptr)},
                        {"train_runtime", t.seconds},
                        {"output_dir", t.output_dir},
                        {"error", t.error}});
    }
    rungs.push_back(trials);
  }
  return {{"best", rungs.back().front()}, {"rungs", rungs}};
}

}  // namespace attune
