#include "app/plan_job.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "app/machine_rates.h"
#include "app/method_plan.h"
#include "app/program_memory.h"
#include "app/run_work.h"
#include "app/train_session.h"
#include "app/yaml_json.h"
#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "models/adapter_model.h"
#include "plan/embedded.h"
#include "plan/foreign_stack.h"
#include "plan/step_cost.h"

namespace attune {
namespace {

constexpr double kShardingFactor = 0.85;  // what is left of a device's rate when weights travel between several

const std::vector<std::string>& MethodNames() {
  static const std::vector<std::string> names = {"prompt", "lora", "qlora", "full"};
  return names;
}

// Operations over the rate that a step reaches on average.
double SecondsByFraction(const PlanReport& report, const RunWork& work, const MethodPlan& m,
                         int64_t adapter_parameters) {
  const ModelSpec& spec = report.model.spec;
  const PlanDevice& device = report.device;
  const StepWork step{m.method == "full", adapter_parameters, work.batch.length,
                      std::min<int64_t>(0, report.model.other_parameters)};
  double each = FlopsPerToken(spec, step) - (1 - work.TrainedShare()) * HeadFlopsPerToken(spec, step);
  if (report.training.gradient_checkpointing) each += RecomputedFlopsPerToken(spec, step);
  const double flops = each * work.TrainingTokens() + ForwardFlopsPerToken(spec, step) * work.EvaluationTokens();
  double rate = device.matmul_flops * device.fraction;
  if (report.devices > 1) rate *= static_cast<double>(report.devices) * kShardingFactor;
  if (m.method == "qlora" && device.fraction_method != "qlora") rate /= kDecodeFactor;
  return flops / rate;
}

// The sum over kinds of work where this machine's rates are known, else by the fraction.
void Estimate(const PlanReport& report, const RunWork& work, const MethodMemory& memory, MethodPlan* m) {
  const PlanDevice& device = report.device;
  double factor = device.error_factor;
  std::optional<WorkTime> time;
  if (!device.work_rates.empty() && report.model.lacking.empty()) {
    time = TimeOf(AmountsOf(work, memory.Inputs(report.training)), device.work_rates);
  }
  if (time) {
    m->seconds_by_kind = time->seconds_by_kind;
    m->seconds = time->seconds();
    factor = time->is_guessed ? std::max(kGuessedErrorFactor, device.work_error_factor) : device.work_error_factor;
  } else {
    m->seconds = SecondsByFraction(report, work, *m, memory.adapter_parameters());
  }
  m->seconds_low = m->seconds / factor;
  m->seconds_high = m->seconds * factor;
  const double watts = device.is_this_machine ? report.prices.this_machine_watts : device.watts;
  m->kilowatt_hours = watts * static_cast<double>(report.devices) * m->seconds / 3.6e6;
  m->electricity_cost = m->kilowatt_hours * report.prices.electricity_per_kwh;
  if (const auto per_hour = report.prices.PerHour(device.name)) {
    m->rent = *per_hour * static_cast<double>(report.devices) * m->seconds / 3600;
  }
}

// What the same run would take in another stack: as many tokens at once, in bf16.
int64_t StackBytes(const PlanReport& report, const MethodPlan& m, int64_t tokens) {
  const StackProfile& profile = FindStack(report.stack);
  const ModelSpec& spec = report.model.spec;
  StackRun run;
  run.parameters = report.model.parameters();
  run.linear_parameters = run.parameters - spec.vocab_size * spec.hidden_size * (spec.tie_word_embeddings ? 1 : 2);
  run.trained_parameters = m.trainable_parameters;
  run.hidden = spec.hidden_size;
  run.mlp = spec.intermediate_size;
  run.layers = spec.num_hidden_layers;
  run.vocabulary = spec.vocab_size;
  run.full = m.method == "full";
  run.state_bytes = run.full ? profile.full_state : profile.adapter_state;
  run.bits = m.method == "qlora" ? 4 : 0;
  run.checkpointing = report.training.gradient_checkpointing;
  run.chunked_loss = profile.logits == 0;
  run.tokens = tokens;
  run.devices = report.devices;
  run.shards = report.devices > 1;
  return static_cast<int64_t>(PredictStackPeak(profile, run));
}

// `session` may be null; what it has opened is what a run of its method holds. `files` are null where there are no
// weights.
MethodPlan PlanMethod(const std::string& method, const PlanReport& report, const RunConfig& config, const RunWork& work,
                      int64_t program_bytes, const TrainSession* session, const ModelFiles* files) {
  MethodPlan m;
  m.method = method;
  const TrainingArguments& a = config.training;
  if (method == "prompt") {
    m.memory = PromptMemory(report.model, report.device, report.devices, program_bytes, work.length);
    m.bytes = TotalBytes(m.memory);
    m.fits = m.bytes <= report.device.memory_bytes;
    return m;
  }
  const bool is_session = session != nullptr && report.device.is_this_machine && method == config.method;
  const BaseStorage storage =
      is_session ? session->inputs().storage : StorageOf(method, report.model, files, config, report.device.compute);
  const MethodMemory memory(method, report.model, config, report.device, report.devices, program_bytes, storage);
  const ChunkLimits limits = work.limits(a);
  m.memory = memory.Table(a, limits);
  m.bytes = TotalBytes(m.memory);
  m.fits = m.bytes <= report.device.memory_bytes;
  m.trainable_parameters = memory.trainable_parameters();
  m.rows_at_once = std::max<int64_t>(1, limits.tokens / limits.length);
  m.largest_rows = memory.LargestRows(a, work.length);
  m.largest_context = memory.LargestContext(a);
  m.to_fit = memory.StepsToFit(a, work.limits);
  if (!report.stack.empty()) m.stack_bytes = StackBytes(report, m, limits.tokens);
  if (work.tokens > 0) Estimate(report, work, memory, &m);
  return m;
}

// LoRA where it fits, as it is or with settings that cost no text; else with the weights in 4 bits; else what comes
// nearest.
std::string Recommended(const std::vector<MethodPlan>& methods) {
  const auto can = [&](const std::string& name, bool changed) {
    for (const MethodPlan& m : methods) {
      if (m.method == name) return m.fits || (changed && !m.to_fit.empty() && m.to_fit.back().fits);
    }
    return false;
  };
  if (can("lora", false)) return "lora";
  if (can("qlora", false)) return "qlora";
  return can("lora", true) ? "lora" : "qlora";
}

// What someone asked for, or rows that are there; a default above the model's positions only means that rows are
// shorter.
void CheckContext(const RunConfig& config, const PlannedModel& model, const RunWork& work) {
  const int64_t positions = model.spec.max_position_embeddings;
  const bool is_set = config.source.contains("training") && config.source["training"].contains("max_length");
  const int64_t longest = config.train_data.empty() && is_set ? config.training.max_length : work.length;
  if (longest > positions) BadInput("max_length: {} is beyond the {} positions of {}", longest, positions, model.name);
}

PlanDevice DeviceOf(const PlanJob& job, const RunConfig& config, const std::string& method) {
  if (job.devices < 1) BadInput("--devices: must be 1 or more, not {}", job.devices);
  if (job.device != "auto") return FindDevice(job.device);
  if (job.devices > 1) BadInput("--devices {}: this machine is one; name a --device of the catalogue", job.devices);
  return ThisMachine(method, !config.training.bf16 && !config.training.fp16);
}

// "auto" where neither the job nor a configuration says.
std::string AskedMethod(const RunConfig& config, const PlanJob& job) {
  if (job.method != "auto") return job.method;
  return !job.config.empty() || config.method == "full" ? config.method : "auto";
}

void AddNotes(const RunConfig& config, PlanReport* report) {
  if (!report->device.is_this_machine) {
    report->notes.push_back(
        "the engine runs on processors only so far: figures of an accelerator are estimates from the same "
        "step plan in bf16, for a backend that keeps what this one keeps");
  }
  if (!report->model.lacking.empty()) {
    report->notes.push_back("attune cannot train this model yet (" + report->model.lacking +
                            "): its activations are counted as those of the nearest decoder block");
  }
  if (LacksTargets(config, report->model)) {
    report->notes.push_back("target_modules: there is no default for " + report->model.spec.model_type +
                            "; adapters are counted on all-linear");
  }
  const auto recalled = [&](const std::string& what, std::vector<std::string> fields) {
    std::erase(fields, "licence");  // nothing here follows from it
    if (!fields.empty())
      report->notes.push_back(fmt::format("{}: not confirmed by a source: {}", what, fmt::join(fields, ", ")));
  };
  recalled(report->model.name, report->model.recalled);
  recalled(report->device.name, report->device.recalled);
}

}  // namespace

const MethodPlan& PlanReport::Chosen() const {
  for (const MethodPlan& m : methods) {
    if (m.method == method) return m;
  }
  return methods.front();
}

Prices LoadPrices(const std::string& path) {
  const std::string where = path.empty() ? "catalogue/prices.yaml" : path;
  try {
    return Prices::FromJson(
        YamlToJson(YAML::Load(path.empty() ? std::string(EmbeddedPrices()) : ReadFile(path)), where), where);
  } catch (const YAML::Exception& error) {
    BadInput("{}:{}: not valid YAML: {}", where, error.mark.line + 1, error.msg);
  }
}

PlanReport PlanOf(const RunConfig& given, const PlanJob& job, const TrainSession* session) {
  RunConfig config = given;
  if (!config.adapter.empty()) config.lora = AdapterFolder::Open(config.adapter).config;
  PlanReport report;
  report.prices = LoadPrices(job.prices);
  report.training = config.training;
  report.devices = job.devices;
  report.stack = job.stack;
  const std::string asked = AskedMethod(config, job);
  report.device = DeviceOf(job, config, asked == "auto" ? "lora" : asked);
  report.model = FindModel(config.model.empty() ? config.init_from_config : config.model);
  const RunWork work = session != nullptr ? WorkOfRows(*session, config.training)
                                          : WorkWithoutRows(config, report.model.spec, job.tokens);
  CheckContext(config, report.model, work);
  const int64_t program =
      session != nullptr ? session->inputs().resident_bytes : ProgramBytes(report.model.spec.vocab_size, {}, nullptr);
  std::optional<ModelFiles> files;  // headers alone are read
  if (report.model.stored_bytes > 0 && !config.model.empty()) {
    files = ModelFiles::Open(config.model.ends_with(".json") ? ParentOf(config.model) : config.model);
  }
  for (const std::string& method : MethodNames()) {
    report.methods.push_back(PlanMethod(method, report, config, work, program, session, files ? &*files : nullptr));
  }
  report.is_recommended = asked == "auto";
  report.method = report.is_recommended ? Recommended(report.methods) : asked;
  report.has_data = session != nullptr;
  report.tokens = work.tokens;
  report.max_length = work.length;
  report.steps = work.steps.total_updates;
  report.epochs =
      work.tokens > 0 ? work.TrainingTokens() / static_cast<double>(work.tokens) : config.training.num_train_epochs;
  AddNotes(config, &report);
  return report;
}

PlanReport MakePlan(const PlanJob& job) {
  std::vector<std::string> known = MethodNames();
  known.emplace_back("auto");
  if (std::find(known.begin(), known.end(), job.method) == known.end()) {
    const std::string nearest = NearestName(job.method, known);
    BadInput("--method {}: use {}{}", job.method, fmt::join(known, ", "),
             nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?");
  }
  if (job.tokens < 0) BadInput("--tokens: must be above 0, not {}", job.tokens);
  const RunConfig config = LoadConfig(job.config, job.settings, ConfigUse::kPlan);
  if (job.tokens > 0 && !config.train_data.empty())
    BadInput("--tokens and data.train exclude each other: the rows are counted");
  TrainEvents silent;
  std::unique_ptr<TrainSession> session;
  FindModel(config.model.empty() ? config.init_from_config
                                 : config.model);  // with the catalogue's nearest name where it is not there
  if (!config.train_data.empty()) session = std::make_unique<TrainSession>(config, silent, TrainSession::Use::kPlan);
  PlanReport report = PlanOf(config, job, session.get());
  if (!session || !report.device.is_this_machine) return report;
  for (MethodPlan& m : report.methods) {  // of the run itself, the very plan that it will allocate
    if (m.method != config.method) continue;
    m.memory = session->plan().memory;
    m.bytes = session->plan().planned_bytes;
    m.fits = m.bytes <= report.device.memory_bytes;
  }
  return report;
}

}  // namespace attune
