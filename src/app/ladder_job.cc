#include "app/ladder_job.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "app/eval_metrics.h"
#include "app/ladder_rung.h"
#include "app/model_hash.h"
#include "app/prompt_file.h"
#include "app/prompt_job.h"
#include "app/use_job.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/system.h"
#include "data/each_line.h"
#include "data/evenly.h"
#include "formats/json.h"
#include "models/base_storage.h"
#include "store/run_data.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kMostHeldOut = 200;  // rows; more would take the time of training
constexpr int64_t kFewestHeldOut = 8;
constexpr double kLeastBudget = 60;
constexpr uint64_t kLadderSeed = 42;

// Rows as lines, prompt and completion as conversations: prompts need these, and all rungs must see the same. Text and
// tokens stay what they are; `are_conversations` is set to false then.
std::vector<std::string> RowLines(const std::string& path, bool has_chat_template, bool* are_conversations) {
  std::vector<std::string> lines;
  ForEachLine(path, [&](const JsonlLine& line, const std::string& file) {
    DataRow row = ReadDataRow(line, file, has_chat_template);
    const bool is_pair = has_chat_template && row.kind == DataRow::Kind::kPromptCompletion;
    if (is_pair) MakeConversation(&row);
    *are_conversations = *are_conversations && row.kind == DataRow::Kind::kMessages;
    lines.push_back(is_pair             ? Json{{"messages", row.messages}}.dump()
                    : IsPlainText(file) ? Json{{"text", row.text}}.dump()
                                        : std::string(line.text));
  });
  return lines;
}

void WriteLines(const std::string& path, const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  WriteFileAtomic(path, text);
}

// Every tenth row.
void SetRowsApart(std::vector<std::string>& rows, std::vector<std::string>& held_out, const std::string& path) {
  constexpr size_t kEvery = 10;
  if (std::ssize(rows) < kFewestHeldOut * static_cast<int64_t>(kEvery)) {
    BadInput("{}: has {} rows, too few to set {} apart; name held-out rows with --eval_data", path, rows.size(),
             kFewestHeldOut);
  }
  std::vector<std::string> kept;
  for (size_t i = 0; i < rows.size(); ++i) (i % kEvery == kEvery - 1 ? held_out : kept).push_back(std::move(rows[i]));
  rows = std::move(kept);
}

Json RungJson(const LadderRung& r) {
  Json losses = Json::array();
  for (const RowLoss& row : r.losses) losses.push_back({row.sum, row.tokens});
  return {{"name", r.name},
          {"what", r.what},
          {"skipped", r.skipped},
          {"eval_loss", r.loss},
          {"low", r.interval.low},
          {"high", r.interval.high},
          {"general_loss", r.general_loss},
          {"seconds", r.seconds},
          {"best_seconds", r.best_seconds},
          {"peak_rss_bytes", r.peak_bytes},
          {"kilowatt_hours", r.kilowatt_hours},
          {"cost", r.cost},
          {"path", r.path},
          {"losses", losses}};
}

// Throws Json::exception where it is not what RungJson writes.
LadderRung RungOf(const Json& json) {
  LadderRung r;
  r.name = json.at("name");
  r.what = json.at("what");
  r.skipped = json.at("skipped");
  r.loss = json.at("eval_loss");
  r.interval = {json.at("low"), json.at("high")};
  r.general_loss = json.at("general_loss");
  r.seconds = json.at("seconds");
  r.best_seconds = json.at("best_seconds");
  r.peak_bytes = json.at("peak_rss_bytes");
  r.kilowatt_hours = json.at("kilowatt_hours");
  r.cost = json.at("cost");
  r.path = json.at("path");
  for (const Json& row : json.at("losses")) r.losses.push_back({row.at(0), row.at(1)});
  return r;
}

class Ladder {
 public:
  Ladder(const LadderJob& job, const OnRung& on_rung, const OnProgress& on_progress)
      : job_(job),
        on_rung_(on_rung),
        on_progress_(on_progress),
        bundle_(OpenModel(job.advise.model)),
        prices_(LoadPrices("")) {
    if (job.output_dir.empty()) BadInput("--measure: needs --output_dir, a folder for its runs");
    if (!job.advise.output.empty() || job.advise.device != "auto")
      BadInput("--measure: runs on this machine and writes into --output_dir; leave out --output and --device");
    if (!(job.budget_seconds >= kLeastBudget))
      BadInput("--budget: must be a minute or more, not {:g} s", job.budget_seconds);
    train_ = RowLines(job.advise.data, bundle_.chat_template != nullptr, &are_conversations_);
    if (job.advise.eval_data.empty()) {
      SetRowsApart(train_, held_out_, job.advise.data);
    } else {
      held_out_ = RowLines(job.advise.eval_data, bundle_.chat_template != nullptr, &are_conversations_);
    }
    held_out_ = EvenlyFrom(std::move(held_out_), kMostHeldOut);
    OpenFolder();
  }

  LadderResult Run() {
    LadderResult result;
    AdviseJob advise = job_.advise;
    advise.data = train_path_;
    advise.eval_data = held_out_path_;
    advise.output.clear();
    advise.loss_seconds = std::min(advise.loss_seconds, job_.budget_seconds / 30);
    result.advice = RunAdvise(advise, on_progress_);
    advice_ = &result.advice;
    ReadHeldOut();
    const auto add = [&](const std::string& name, double share) {
      result.rungs.push_back(RungOrKept(name, share));
      on_rung_(result.rungs.back());
    };
    const auto left = [&] { return job_.budget_seconds - Spent(result.rungs); };
    const std::vector<std::string> trained = {"lora", "qlora", "full"};
    const auto runnable = static_cast<double>(
        std::count_if(trained.begin(), trained.end(), [&](const std::string& m) { return WhyNot(m).empty(); }));
    add("base", left());
    add("prompt", left() / (1 + runnable));
    const double share = left() / std::max(1.0, runnable);
    for (const std::string& method : trained) add(method, share);
    result.model = job_.advise.model;
    result.data = job_.advise.data;
    result.currency = prices_.currency;
    result.train_rows = std::ssize(train_);
    result.rows = std::ssize(held_out_);
    result.budget_seconds = job_.budget_seconds;
    Judge(result);
    state_["result"] = ToJson(result);
    Keep();
    WriteFileAtomic(job_.output_dir + "/ladder.html", LadderPage(result));
    return result;
  }

 private:
  static double Spent(const std::vector<LadderRung>& rungs) {
    return std::accumulate(rungs.begin(), rungs.end(), 0.0,
                           [](double sum, const LadderRung& r) { return sum + r.seconds; });
  }

  void OpenFolder() {
    const std::string folder = AbsolutePath(job_.output_dir);
    train_path_ = folder + "/train.jsonl";
    held_out_path_ = folder + "/held-out.jsonl";
    path_ = folder + "/ladder.json";
    const Json identity = {{"model", QuickModelHash(job_.advise.model)},
                           {"data", HashOfDataFiles(job_.advise.data)},
                           {"eval_data", job_.advise.eval_data.empty() ? "" : HashOfDataFiles(job_.advise.eval_data)},
                           {"goal", job_.advise.goal},
                           {"systems", job_.systems},
                           {"budget_seconds", job_.budget_seconds}};
    if (FileExists(path_)) {
      state_ = ParseOrderedJsonFile(path_);
      if (!state_.is_object() || state_.value("identity", Json()) != identity) {
        BadInput("{}: holds a ladder of another model, other rows or another budget; name a new output_dir",
                 job_.output_dir);
      }
      return;
    }
    RequireNewFolder(job_.output_dir);
    MakeDirectories(job_.output_dir);
    state_ = {{"identity", identity}, {"rungs", Json::object()}, {"trained", Json::object()}};
    WriteLines(train_path_, train_);
    WriteLines(held_out_path_, held_out_);
    Keep();
  }
  void Keep() const { WriteFileAtomic(path_, state_.dump(2) + "\n"); }

  // Held-out rows and general text, as every rung is judged on them.
  void ReadHeldOut() {
    const NoTokenizer none(bundle_.files.path());
    const RowEncoder encoder = WholeRowEncoder(bundle_, none);
    ForEachLine(held_out_path_, [&](const JsonlLine& line, const std::string& file) {
      Example example = encoder.Encode(ReadDataRow(line, file, encoder.has_chat_template()));
      if (TrainedTokens(example) > 0) examples_.push_back(std::move(example));
    });
    if (examples_.empty()) BadInput("{}: holds no answer to score", held_out_path_);
    rows_ = examples_.size();
    if (bundle_.tokenizer == nullptr) return;
    const std::vector<Example> general = GeneralText(bundle_, kBuiltInText);
    examples_.insert(examples_.end(), general.begin(), general.end());
  }

  std::optional<LadderRung> KeptRung(const std::string& name) const {
    try {
      const Json& rungs = state_.at("rungs");
      if (!rungs.is_object()) NotOurs();
      if (!rungs.contains(name)) return std::nullopt;
      LadderRung rung = RungOf(rungs.at(name));
      // Judge draws the same rows for all rungs, and there is a base to compare with.
      const bool is_whole = rung.skipped.empty() ? rung.losses.size() == rows_ : name != "base";
      if (is_whole) return rung;
    } catch (const Json::exception&) {  // told below, with the file's name
    }
    NotOurs();
  }

  // What a trained rung had found out when the ladder was stopped.
  TrainedRungState KeptState(const std::string& name) const {
    try {
      return RungStateOf(state_.at("trained").value(name, Json::object()));
    } catch (const Json::exception&) {
      NotOurs();
    }
  }
  [[noreturn]] void NotOurs() const {
    BadInput("{}: is not as attune advise --measure writes it; name a new output_dir", path_);
  }

  LadderRung RungOrKept(const std::string& name, double share) {
    if (std::optional<LadderRung> kept = KeptRung(name)) return *std::move(kept);
    ReturnFreedMemory();
    ResetPeakResident();
    const double begin = Now();
    LadderRung rung;
    rung.name = name;
    if (name == "base") {
      rung.what = "no prompt, no training";
      Score(bundle_, {"", 1024, bf16()}, rung);
    } else if (name == "prompt") {
      RunPromptRung(share, rung);
    } else {
      RunTrained(share, rung);
    }
    // Of one that was gone on with also what was spent before.
    rung.seconds += Now() - begin;
    rung.peak_bytes = PeakResidentBytes();
    rung.kilowatt_hours = prices_.this_machine_watts * rung.seconds / 3.6e6;
    rung.cost = rung.kilowatt_hours * prices_.electricity_per_kwh;
    state_["rungs"][name] = RungJson(rung);
    Keep();
    return rung;
  }

  bool bf16() const { return advice_->plan.device.compute == DType::kBF16; }

  void Score(const ModelBundle& bundle, const EvalSystem& system, LadderRung& rung) const {
    std::vector<RowLoss> losses;
    EvaluateExamples(bundle, system, examples_, &losses, [&](int64_t done) {
      if (on_progress_) on_progress_((rung.name + ": losses of held-out rows").c_str(), done, std::ssize(examples_));
    });
    rung.losses.assign(losses.begin(), losses.begin() + static_cast<std::ptrdiff_t>(rows_));
    rung.general_loss = LossSums(std::span(losses).subspan(rows_)).Figure();
    rung.loss = LossSums(rung.losses).Figure();
  }

  void RunPromptRung(double share, LadderRung& rung) const {
    if (bundle_.chat_template == nullptr)
      rung.skipped = "the model has no chat template, so a prompt cannot be put before a question";
    if (!are_conversations_) rung.skipped = "not all rows are questions with answers, which a prompt needs";
    if (!rung.skipped.empty()) return;
    const std::string output = AbsolutePath(job_.output_dir) + "/prompt.json";
    RemoveTree(output);  // of a ladder that was stopped before it was counted
    PromptJob job;
    job.model = job_.advise.model;
    job.data = train_path_;
    job.eval_data = held_out_path_;
    job.systems = job_.systems;
    job.shots = {2, 4, 8};
    job.max_rows = 0;
    job.bf16 = bf16();
    job.seconds = share;
    job.output = output;
    const PromptResult found = RunPrompt(
        job, [](const PromptCandidate&) {}, on_progress_);
    const PromptCandidate& best = found.candidates[found.best_prompt];
    rung.what = best.name;
    rung.losses = best.losses;
    rung.loss = best.metrics.loss;
    rung.path = output;
  }

  const MethodPlan& PlanFor(const std::string& method) const {
    const std::vector<MethodPlan>& methods = advice_->plan.methods;
    return *std::find_if(methods.begin(), methods.end(), [&](const MethodPlan& m) { return m.method == method; });
  }

  // What keeps a method from being run here; empty: nothing.
  std::string WhyNot(const std::string& method) const {
    const MethodPlan& plan = PlanFor(method);
    if (!plan.fits && (plan.to_fit.empty() || !plan.to_fit.back().fits)) {
      return fmt::format("it does not fit: {:.1f} GiB are needed of {:.1f}",
                         static_cast<double>(plan.bytes) / (1 << 30),
                         static_cast<double>(advice_->plan.device.memory_bytes) / (1 << 30));
    }
    if (method != "qlora") return "";
    const DType compute = advice_->plan.device.compute;
    const BaseStorage as_it_is(bundle_.files, compute);
    const BaseStorage quantized(bundle_.files, compute, {.is_qlora = true});
    for (const ExpectedTensor& t : ExpectedTensors(bundle_.files.spec())) {
      if (as_it_is.BytesOfTensor(t) != quantized.BytesOfTensor(t)) return "";
    }
    return "the same as lora: the model's file is quantised already";
  }

  std::vector<Setting> SettingsOf(const MethodPlan& plan) const {
    const AdviceChoice& c = advice_->advice.choice;
    const int64_t micro = RowsOfMicroBatch(c);
    std::vector<Setting> settings = {{"model", job_.advise.model},
                                     {"data", train_path_},
                                     {"eval_data", held_out_path_},
                                     {"method", plan.method},
                                     {"per_device_train_batch_size", std::to_string(micro)},
                                     {"gradient_accumulation_steps", std::to_string(c.batch / micro)},
                                     {"lr_scheduler_type", "cosine"},
                                     {"warmup_ratio", "0.05"},
                                     {"save_strategy", "no"},
                                     {"eval_samples", "0"}};
    if (plan.method != "full") {
      for (const Setting& s : LoraSettings(c)) settings.push_back(s);
    }
    for (const Setting& s : FitSettings(plan)) settings.push_back(s);
    return settings;
  }

  void RunTrained(double share, LadderRung& rung) {
    rung.skipped = WhyNot(rung.name);
    if (!rung.skipped.empty()) return;
    const AdviceChoice& c = advice_->advice.choice;
    TrainedRungJob job{SettingsOf(PlanFor(rung.name)), UsualRate(c, rung.name),
                       std::max<int64_t>(1, advice_->plan.steps), share, job_.output_dir + "/" + rung.name};
    TrainedRungState state = KeptState(rung.name);
    rung.seconds = state.spent;
    const OnProgress progress = [&](const char* what, int64_t done, int64_t total) {
      if (on_progress_) on_progress_((rung.name + ": " + what).c_str(), done, total);
    };
    const auto keep = [&] {
      state_["trained"][rung.name] = ToJson(state);
      Keep();
    };
    TrainedRungResult found;
    try {
      found = RunTrainedRung(job, state, keep, progress);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kBadInput) throw;
      Failed("{}: {}; the whole ladder goes on when it is started again with this output_dir", rung.name, error.what());
    }
    rung.skipped = found.skipped;
    if (!found.skipped.empty()) return;
    rung.what = fmt::format("learning_rate {}, {} steps{}", found.learning_rate, found.steps,
                            state.is_swept ? ", the best of 3 rates" : "");
    rung.path = found.output_dir;
    rung.best_seconds = found.seconds;
    if (rung.name == "full") {
      Score(OpenModel(found.output_dir), {"", 1024, bf16()}, rung);
    } else {
      Score(bundle_, {found.output_dir, 1024, bf16(), rung.name == "qlora"}, rung);
    }
  }

  static void Judge(LadderResult& result) {
    std::vector<RowSums> tables;
    std::vector<size_t> run;  // the rungs behind the tables
    for (size_t i = 0; i < result.rungs.size(); ++i) {
      if (!result.rungs[i].skipped.empty()) continue;
      run.push_back(i);
      tables.push_back(LossSums(result.rungs[i].losses));
    }
    std::vector<const RowSums*> pointers;
    for (const RowSums& table : tables) pointers.push_back(&table);
    const std::vector<std::vector<double>> draws = Resample(pointers, kLadderSeed);
    for (size_t i = 0; i < run.size(); ++i) result.rungs[run[i]].interval = MiddleOf(draws[i]);
    std::vector<size_t> order(run.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return result.rungs[run[a]].loss < result.rungs[run[b]].loss; });
    result.best = result.recommended = run[order[0]];
    if (order.size() > 1) {
      result.runner_up = run[order[1]];
      result.difference = DifferenceOf(draws[order[1]], draws[order[0]]);
    }
    for (const size_t i : order) {  // the simplest that the draws cannot tell from the best
      const Difference d = DifferenceOf(draws[i], draws[order[0]]);
      if (d.interval.low <= 0) result.recommended = std::min(result.recommended, run[i]);
    }
  }

  const LadderJob& job_;
  const OnRung& on_rung_;
  const OnProgress& on_progress_;
  ModelBundle bundle_;
  Prices prices_;
  std::vector<std::string> train_, held_out_;
  std::string train_path_, held_out_path_, path_;
  bool are_conversations_ = true;  // all rows
  Json state_;
  std::vector<Example> examples_;
  size_t rows_ = 0;  // of the examples; general text follows
  const AdviseResult* advice_ = nullptr;
};

}  // namespace

LadderResult RunLadder(const LadderJob& job, const OnRung& on_rung, const OnProgress& on_progress) {
  return Ladder(job, on_rung, on_progress).Run();
}

Json ToJson(const LadderResult& r) {
  Json rungs = Json::array();
  for (const LadderRung& rung : r.rungs) {
    rungs.push_back(RungJson(rung));
    rungs.back().erase("losses");
  }
  Json json = {{"model", r.model},
               {"data", r.data},
               {"budget_seconds", r.budget_seconds},
               {"train_rows", r.train_rows},
               {"held_out_rows", r.rows},
               {"currency", r.currency},
               {"rungs", rungs},
               {"best", r.rungs[r.best].name},
               {"recommended", r.rungs[r.recommended].name}};
  if (r.runner_up) {
    json["runner_up"] = r.rungs[*r.runner_up].name;
    json["difference"] = {{"low", r.difference.interval.low},
                          {"high", r.difference.interval.high},
                          {"share_best_lower", r.difference.share_above}};
  }
  json["verdict"] = LadderVerdict(r);
  json["facts"] = ToJson(r.advice)["facts"];
  return json;
}

std::string LadderVerdict(const LadderResult& r) {
  const LadderRung &best = r.rungs[r.best], &use = r.rungs[r.recommended];
  if (!r.runner_up) return fmt::format("{}: nothing else came to an end in the time", use.name);
  const LadderRung& next = r.rungs[*r.runner_up];
  const Interval& i = r.difference.interval;
  const std::string figures = fmt::format(
      "{} is ahead of {} by {:.3f} a token (95 % interval {:.3f} to {:.3f} over {} held-out rows; ahead in {:.1f} % of "
      "draws)",
      best.name, next.name, next.loss - best.loss, i.low, i.high, r.rows, 100 * r.difference.share_above);
  if (r.recommended == r.best)
    return fmt::format("use {}: {}{}", use.name, figures,
                       i.low > 0 ? "" : fmt::format(", which is not sure, but {} asks for more", next.name));
  return fmt::format("use {}: {}; these rows cannot tell it from {}, which asks for more", use.name, figures,
                     best.name);
}

}  // namespace attune
