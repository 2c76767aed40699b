#include "app/bench_job.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>

#include "app/bench_clock.h"
#include "app/bundle.h"
#include "app/machine_rates.h"
#include "app/train_job.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/torch_random.h"
#include "eval/generate.h"
#include "models/adapter_model.h"
#include "ops/matmul_limit.h"
#include "plan/step_cost.h"
#include "store/run_log.h"
#include "store/run_summary.h"
#include "train/counted_work.h"

namespace attune {
namespace {

// A folder of its own under the system's temporary one, gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "attune-bench-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) Failed("{}: cannot be made", pattern);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string RandomRows(int64_t rows, int64_t length, int64_t vocab) {
  TorchGenerator random(1);
  std::string text;
  for (int64_t r = 0; r < rows; ++r) {
    nlohmann::json ids = nlohmann::json::array();
    for (int64_t t = 0; t < length; ++t) ids.push_back(random.Integer(0, vocab));
    text += nlohmann::json{{"input_ids", ids}}.dump() + "\n";
  }
  return text;
}

// Without head rows that are skipped: the last token of a sequence predicts nothing.
double StepFlops(const ModelSpec& spec, const StepWork& work, int64_t tokens) {
  return FlopsPerToken(spec, work) * static_cast<double>(tokens) -
         HeadFlopsPerToken(spec, work) * static_cast<double>(tokens / work.length);
}

int64_t AdapterParameters(const ModelSpec& spec, const LoraConfig& lora) {
  int64_t parameters = 0;
  const LoraConfig resolved = ResolveTargets(lora, DecoderModules(spec), spec.model_type);
  for (const AdapterModule& m : BuildAdapterSpec(spec, resolved, "bench").modules)
    parameters += m.rank * (m.in + m.out);
  return parameters;
}

// Rows of a profile, most expensive first.
nlohmann::ordered_json CostTable(const std::map<std::string, OpCost>& costs, const char* name, double limit) {
  std::vector<std::pair<std::string, OpCost>> rows(costs.begin(), costs.end());
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  for (const auto& [of, cost] : rows) {
    table.push_back({{name, of},
                     {"calls", cost.calls},
                     {"seconds", cost.seconds},
                     {"flops", cost.flops},
                     {"bytes", cost.bytes},
                     {"fraction_of_limit", cost.flops / cost.seconds / limit}});
  }
  return table;
}

double FourDigits(double value) {
  const double scale = std::pow(10, 3 - std::floor(std::log10(value)));
  return std::round(value * scale) / scale;
}

// What each kind of work reached, and what passed between ops.
WorkRates RatesOf(const StepClock& clock) {
  WorkRates rates;
  double seconds = 0, calls = 0;
  for (const auto& [kind, cost] : clock.sum().by_kind) {
    if (cost.amount > 0) rates[kind] = FourDigits(cost.amount / cost.seconds);
    seconds += cost.seconds;
    calls += static_cast<double>(cost.calls);
  }
  rates[kBetweenOps] =
      FourDigits(calls / std::max(1e-6, clock.seconds() * static_cast<double>(clock.steps()) - seconds));
  return rates;
}

}  // namespace

nlohmann::ordered_json BenchTrain(const BenchTrainJob& job) {
  if (job.length < 2 || job.tokens < job.length)
    BadInput("bench: tokens must be at least one sequence of length 2 or more");
  const int64_t rows = job.tokens / job.length;
  const TemporaryFolder folder;
  const ModelBundle bundle = OpenModel(job.model);
  const ModelSpec& spec = bundle.files.spec();
  // Ids that both know: a made-up model's tokenizer is smaller than its vocabulary.
  const int64_t ids = bundle.tokenizer != nullptr
                          ? std::min<int64_t>(spec.vocab_size, bundle.tokenizer->VocabularySize())
                          : spec.vocab_size;
  WriteFileAtomic(folder.path() + "/rows.jsonl", RandomRows(rows * (job.steps + 1), job.length, ids));
  RunConfig config;
  config.source = nlohmann::ordered_json::object();
  config.method = job.method;
  config.is_recorded = false;
  config.model = job.model;
  config.train_data = folder.path() + "/rows.jsonl";
  config.shuffle = false;
  config.lora.r = job.r;
  config.lora.lora_alpha = 2 * static_cast<double>(job.r);
  config.lora.lora_dropout = job.lora_dropout;
  config.lora.use_dora = job.use_dora;
  config.lora.target_modules =
      std::vector<std::string>{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
  config.training.output_dir = folder.path() + "/out";
  config.training.num_train_epochs = 1;
  config.training.per_device_train_batch_size = rows;
  config.training.learning_rate = 1e-4;
  config.training.max_length = job.length;
  config.training.save_strategy = IntervalStrategy::kNo;
  config.training.bf16 = !job.f32;
  config.training.gradient_checkpointing = job.gradient_checkpointing;
  config.training.tokens_in_flight = job.tokens_in_flight;
  const auto device = MakeCpuDevice({});
  std::string note;
  const DType compute = ChooseCompute(config.training, *device, &note);
  Profile profile;
  std::optional<Turns> turns;
  if (!job.turns.empty()) turns.emplace(job.turns);
  StepClock clock(*device, compute, rows * job.length, &profile, turns ? &*turns : nullptr, job.progress);
  const TrainResult result = Train(config, clock, &profile);
  clock.Finish();

  const bool full = job.method == "full";
  const StepWork work{full, full ? 0 : AdapterParameters(spec, config.lora), job.length};
  const double flops = StepFlops(spec, work, rows * job.length);
  const double rate = static_cast<double>(rows * job.length) / clock.seconds();
  nlohmann::ordered_json json = {
      {"model", job.model},
      {"method", job.method},
      {"compute", compute == DType::kBF16 ? "bf16" : "f32"},
      {"tokens_per_step", rows * job.length},
      {"sequence_length", job.length},
      {"matmul_limit_flops", clock.limit()},
      {"speed_flops", clock.speed()},
      {"step_flops", flops},
      {"tokens_per_second", rate},
      {"fraction_of_limit", flops / static_cast<double>(rows * job.length) * rate / clock.limit()},
      {"fraction_of_speed", flops / static_cast<double>(rows * job.length) * rate / clock.speed()},
      {"spread", clock.spread()},
      {"peak_rss_bytes", clock.peak()},
      {"planned_bytes", result.planned_bytes},
      {"seconds_to_first_step", result.seconds_to_first_step}};
  const double each =
      flops +
      (job.gradient_checkpointing ? RecomputedFlopsPerToken(spec, work) * static_cast<double>(rows * job.length) : 0);
  const double fraction = each / static_cast<double>(rows * job.length) * rate / clock.limit();
  try {
    RememberRate(job.method, compute,
                 {clock.limit(), fraction, clock.speed(), clock.spread(), RatesOf(clock), job.model,
                  TimeText(WallTime()).substr(0, 10)});
    json["remembered_in"] = MachineRatesPath();
  } catch (const Error& error) {  // what was measured is still worth telling
    json["not_remembered"] = error.what();
  }
  json["kinds"] = CostTable(clock.sum().by_kind, "kind", clock.limit());
  json["ops"] = CostTable(clock.sum().by_tag, "op", clock.limit());
  return json;
}

nlohmann::ordered_json BenchGenerate(const BenchGenerateJob& job) {
  const ModelBundle bundle = OpenModel(job.model);
  const auto device = MakeCpuDevice({});
  InferenceModel model(*device, bundle.files, nullptr, job.prompt_tokens + job.new_tokens + 1);
  TorchGenerator random(1);
  std::vector<int32_t> prompt;
  for (int64_t t = 0; t < job.prompt_tokens; ++t) {
    prompt.push_back(static_cast<int32_t>(random.Integer(0, bundle.files.spec().vocab_size)));
  }
  SamplingOptions options;
  options.max_new_tokens = job.new_tokens;
  double prompt_rate = 0, decode_rate = 0;
  Profile profile;
  for (int run = 0; run < 4; ++run) {
    model.Truncate(0);
    if (run == 3) device->SetProfile(&profile);  // counting ops takes time
    const Generation g = Generate(model, bundle.RequireTokenizer(), prompt, {}, options);
    prompt_rate = std::max(prompt_rate, static_cast<double>(job.prompt_tokens) / g.prompt_seconds);
    decode_rate = std::max(decode_rate, static_cast<double>(g.ids.size()) / g.decode_seconds);
  }
  return {{"model", job.model},
          {"prompt_tokens", job.prompt_tokens},
          {"new_tokens", job.new_tokens},
          {"prompt_tokens_per_second", prompt_rate},
          {"decode_tokens_per_second", decode_rate},
          {"ops", CostTable(profile.by_tag, "op", MatmulLimit(DType::kF32, device->threads()).Best())}};
}

nlohmann::ordered_json BenchOps(const std::string& model, int64_t rows) {
  const ModelSpec spec = ModelFiles::Open(model).spec();
  const auto device = MakeCpuDevice({});
  const DType compute = device->has_bf16() ? DType::kBF16 : DType::kF32;
  const double limit = MatmulLimit(compute, device->threads()).Best();
  const auto matrix = [&](DType dtype, int64_t r, int64_t c) {
    return DenseMatrix(device->Allocate(BytesOf(dtype, r * c), "bench"), dtype, r, c);
  };
  Profile profile;
  const auto repeat = [&](const auto& op, const std::string& tag) {
    device->SetProfile(nullptr);
    device->Run(op);
    device->SetProfile(&profile);
    for (int i = 0; i < 5; ++i) device->Run(op, tag.c_str());
  };
  for (const ModuleInfo& m : DecoderModules(spec)) {
    if (!m.is_linear || (m.path.starts_with("model.layers.") && !m.path.starts_with("model.layers.0."))) continue;
    const std::string name = m.path.substr(m.path.rfind('.') + 1);
    Gemm forward;
    forward.a = matrix(compute, rows, m.in);
    forward.b = matrix(compute, m.out, m.in);
    forward.b_transposed = true;
    forward.c = matrix(DType::kF32, rows, m.out);
    repeat(forward, name + " forward");
    Gemm backward;
    backward.a = matrix(compute, rows, m.out);
    backward.b = forward.b;
    backward.c = matrix(DType::kF32, rows, m.in);
    repeat(backward, name + " dx");
  }
  const int64_t q = spec.num_attention_heads * spec.head_dim, kv = spec.num_key_value_heads * spec.head_dim;
  const Matrix starts = matrix(DType::kI32, 1, 2);
  const int32_t ends[2] = {0, static_cast<int32_t>(rows)};
  const AttentionShape shape{spec.num_attention_heads, spec.num_key_value_heads, spec.head_dim, 0, 0.125f,
                             CountPairs(ends, 0)};
  device->Upload(starts.data, ends, sizeof(ends));
  const Attention a{matrix(compute, rows, q),
                    matrix(DType::kF32, rows, spec.num_attention_heads),
                    matrix(compute, rows, q),
                    matrix(compute, rows, kv),
                    matrix(compute, rows, kv),
                    starts,
                    shape};
  repeat(a, "attention");
  const Matrix dk_sum = matrix(DType::kF32, rows, kv), dv_sum = matrix(DType::kF32, rows, kv);
  const bool is_f32 = compute == DType::kF32;
  repeat(AttentionBackward{matrix(compute, rows, q), is_f32 ? dk_sum : matrix(compute, rows, kv),
                           is_f32 ? dv_sum : matrix(compute, rows, kv), dk_sum, dv_sum, a.out, matrix(compute, rows, q),
                           a.lse, a.q, a.k, a.v, starts, shape},
         "attention backward");
  return {{"model", model},
          {"compute", is_f32 ? "f32" : "bf16"},
          {"rows", rows},
          {"matmul_limit_flops", limit},
          {"ops", CostTable(profile.by_tag, "op", limit)}};
}

}  // namespace attune
