#include "app/advise_job.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "app/output_dir.h"
#include "app/train_session.h"
#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "models/adapter_model.h"

namespace attune {
namespace {

constexpr const char* kLoraDropout = "0.05";

int64_t CountDuplicates(const std::vector<Example>& examples) {
  std::unordered_set<std::string_view> seen;
  int64_t duplicates = 0;
  for (const Example& e : examples) {
    const std::string_view bytes(reinterpret_cast<const char*>(e.input_ids.data()),
                                 e.input_ids.size() * sizeof(int32_t));
    duplicates += seen.insert(bytes).second ? 0 : 1;
  }
  return duplicates;
}

const MethodPlan& Of(const PlanReport& report, const std::string& method) {
  for (const MethodPlan& m : report.methods) {
    if (m.method == method) return m;
  }
  return report.methods.front();
}

// As it is, or with settings that leave the text whole.
bool FitsWithAllText(const MethodPlan& m) {
  for (const FitStep& step : m.to_fit) {
    if (step.fits) return !step.setting.starts_with("max_length");
  }
  return m.fits;
}

RunConfig AdvisedBase(const AdviseJob& job) {
  std::vector<Setting> settings = {{"model", job.model},
                                   {"data", job.data},
                                   {"target_modules", "all-linear"},
                                   {"r", "16"},
                                   {"lora_dropout", kLoraDropout}};
  if (!job.eval_data.empty()) settings.emplace_back("eval_data", job.eval_data);
  return LoadConfig("", settings, ConfigUse::kPlan);
}

AdviceFacts FactsOf(const AdviseJob& job, const TrainSession& session, const PlanReport& report) {
  AdviceFacts f;
  f.goal = job.goal;
  f.rows = std::ssize(session.inputs().train);
  f.duplicates = CountDuplicates(session.inputs().train);
  f.tokens = report.tokens;
  f.trained_tokens = session.train_stats().trained_tokens;
  f.has_held_out = session.eval() != nullptr;
  f.lora_fits = FitsWithAllText(Of(report, "lora"));
  f.qlora_fits = FitsWithAllText(Of(report, "qlora"));
  f.full_fits = FitsWithAllText(Of(report, "full"));
  f.hours = Of(report, "lora").seconds / std::max(report.epochs, 1e-9) / 3600;
  f.budget_hours = job.budget_hours;
  for (const ModuleInfo& m : DecoderModules(report.model.spec)) {
    if (m.is_linear && !m.is_output_head) f.parameters_a_rank += m.in + m.out;
  }
  return f;
}

// Rows of ready tokens may come without a tokenizer, and then there is no general text to compare with.
void MeasureLosses(const AdviseJob& job, const TrainSession& session, const OnProgress& on_progress,
                   AdviseResult* result) {
  if (job.loss_seconds == 0 || session.bundle().tokenizer == nullptr) return;
  result->losses = MeasureLossContrast(session.bundle(), session.inputs().train, job.loss_seconds, on_progress);
  result->facts.has_losses = true;
  result->facts.loss_on_rows = result->losses->rows;
  result->facts.loss_on_general = result->losses->general;
}

// YAML reads JSON's texts, whatever is in them.
std::string Quoted(const std::string& text) { return nlohmann::json(text).dump(); }

std::string FitLines(const MethodPlan& m) {
  std::string lines;
  for (const auto& [key, value] : FitSettings(m)) lines += fmt::format("  {}: {}   # so that it fits\n", key, value);
  return lines;
}

std::string ConfigText(const AdviseJob& job, const AdviceChoice& c, const PlanReport& report) {
  std::string text =
      fmt::format("# Made by attune advise for the goal \"{}\". Every key is in docs/training.md.\n", job.goal);
  text += fmt::format("method: {}\nmodel:\n  name_or_path: {}\ndata:\n  train: {}\n", c.method, Quoted(job.model),
                      Quoted(job.data));
  if (!job.eval_data.empty()) text += fmt::format("  eval: {}\n", Quoted(job.eval_data));
  if (c.method != "full") {
    text += "lora:\n";
    for (const auto& [key, value] : LoraSettings(c)) text += fmt::format("  {}: {}\n", key, value);
  }
  if (c.method == "qlora") text += "quantization:\n  load_in_4bit: true\n  bnb_4bit_quant_type: nf4\n";
  const int64_t micro = RowsOfMicroBatch(c);
  text += fmt::format(
      "training:\n  output_dir: results\n  num_train_epochs: {:g}\n  per_device_train_batch_size: {}\n"
      "  gradient_accumulation_steps: {}\n  learning_rate: {:g}\n  lr_scheduler_type: cosine\n  warmup_ratio: 0.05\n",
      c.epochs, micro, c.batch / micro, c.learning_rate);
  if (!job.eval_data.empty()) text += "  eval_strategy: epoch\n";
  return text + FitLines(Of(report, c.method));
}

}  // namespace

int64_t RowsOfMicroBatch(const AdviceChoice& choice) { return std::min<int64_t>(choice.batch, 4); }

std::vector<Setting> LoraSettings(const AdviceChoice& choice) {
  return {{"r", std::to_string(choice.rank)},
          {"lora_alpha", std::to_string(2 * choice.rank)},
          {"lora_dropout", kLoraDropout},
          {"target_modules", "all-linear"}};
}

double UsualRate(const AdviceChoice& choice, const std::string& method) {
  if ((choice.method == "full") == (method == "full")) return choice.learning_rate;
  return method == "full" ? choice.learning_rate / 10 : choice.learning_rate * 10;
}

std::vector<Setting> FitSettings(const MethodPlan& plan) {
  std::vector<Setting> settings;
  for (const FitStep& step : plan.to_fit) {  // "max_length: 512, tokens_in_flight: 512"
    for (size_t begin = 0; begin < step.setting.size();) {
      const size_t end = std::min(step.setting.find(", ", begin), step.setting.size()),
                   colon = step.setting.find(": ", begin);
      const std::string key = step.setting.substr(begin, colon - begin);
      std::erase_if(settings, [&](const Setting& earlier) { return earlier.first == key; });
      settings.emplace_back(key, step.setting.substr(colon + 2, end - colon - 2));
      begin = end + 2;
    }
    if (step.fits) break;
  }
  return settings;
}

AdviseResult RunAdvise(const AdviseJob& job, const OnProgress& on_progress) {
  const std::vector<std::string>& goals = AdviceGoals();
  if (std::find(goals.begin(), goals.end(), job.goal) == goals.end()) {
    const std::string nearest = NearestName(job.goal, goals);
    BadInput("--goal {}: use {}{}", job.goal, fmt::join(goals, ", "),
             nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
  }
  if (!(job.budget_hours >= 0)) BadInput("--budget_hours: must be 0 or more, not {}", job.budget_hours);
  if (!(job.loss_seconds >= 0)) BadInput("--loss_seconds: must be 0 or more, not {}", job.loss_seconds);
  if (!job.output.empty()) RequireNewFile(job.output);
  RunConfig config = AdvisedBase(job);
  PlanJob plan;
  plan.device = job.device;
  TrainEvents silent;
  const TrainSession session(config, silent, TrainSession::Use::kPlan);
  AdviseResult result;
  result.plan = PlanOf(config, plan, &session);
  result.facts = FactsOf(job, session, result.plan);
  MeasureLosses(job, session, on_progress, &result);
  result.advice = FollowRules(result.facts);
  const AdviceChoice& choice = result.advice.choice;
  // Once more with what was chosen, for rank and epochs change memory and time.
  config.lora.r = choice.rank;
  config.training.num_train_epochs = choice.epochs;
  config.training.per_device_train_batch_size = RowsOfMicroBatch(choice);
  config.training.gradient_accumulation_steps = choice.batch / RowsOfMicroBatch(choice);
  plan.method = choice.method;
  result.plan = PlanOf(config, plan, &session);
  result.config = ConfigText(job, choice, result.plan);
  if (!job.output.empty()) WriteFileAtomic(job.output, result.config);
  return result;
}

nlohmann::ordered_json AdviceRulesJson() {
  nlohmann::ordered_json rules = nlohmann::ordered_json::array();
  for (const AdviceRule& r : AdviceRules()) {
    rules.push_back({{"id", r.id}, {"condition", r.condition}, {"advice", r.advice}, {"source", r.source}});
  }
  return rules;
}

nlohmann::ordered_json ToJson(const AdviseResult& r) {
  nlohmann::ordered_json fired = nlohmann::ordered_json::array();
  for (const AdviceRule* rule : r.advice.fired) {
    fired.push_back(
        {{"id", rule->id}, {"condition", rule->condition}, {"advice", rule->advice}, {"source", rule->source}});
  }
  const AdviceChoice& c = r.advice.choice;
  nlohmann::ordered_json losses;
  if (r.losses) {
    losses = {{"rows", r.losses->rows},
              {"general", r.losses->general},
              {"rows_measured", r.losses->rows_measured},
              {"row_tokens", r.losses->row_tokens},
              {"general_tokens", r.losses->general_tokens}};
  }
  return {{"first", c.first},
          {"method", c.method},
          {"facts",
           {{"goal", r.facts.goal},
            {"rows", r.facts.rows},
            {"duplicates", r.facts.duplicates},
            {"tokens", r.facts.tokens},
            {"trained_tokens", r.facts.trained_tokens},
            {"held_out", r.facts.has_held_out},
            {"lora_fits", r.facts.lora_fits},
            {"qlora_fits", r.facts.qlora_fits},
            {"full_fits", r.facts.full_fits},
            {"hours_a_pass", r.facts.hours}}},
          {"losses", losses},
          {"settings",
           {{"r", c.rank},
            {"learning_rate", c.learning_rate},
            {"num_train_epochs", c.epochs},
            {"rows_an_update", c.batch}}},
          {"rules", fired},
          {"config", r.config},
          {"plan", ToJson(r.plan)}};
}

}  // namespace attune
