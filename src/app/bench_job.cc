#include "app/bench_job.h"

#include <algorithm>
#include <filesystem>

#include "app/bundle.h"
#include "app/train_job.h"
#include "base/error.h"
#include "base/file.h"
#include "base/torch_random.h"
#include "eval/generate.h"
#include "models/adapter_model.h"
#include "ops/matmul_limit.h"

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

// Step times, and the machine's limit measured beside each step, for it drifts.
class StepClock : public TrainEvents {
 public:
  StepClock(DType compute, int threads) : compute_(compute), threads_(threads) {}

  void OnStep(const StepMetrics& m) override {
    if (m.step > 1) rates_.push_back(m.tokens_per_second);  // the first step warms caches and pages
    if (m.step == 1) peak_ = m.peak_rss_bytes;  // every buffer has been touched; oneDNN's own memory has not come yet
    limits_.push_back(MeasureMatmulLimit(compute_, threads_));
  }

  static double Median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }
  double tokens_per_second() const { return Median(rates_); }
  int64_t peak() const { return peak_; }
  double limit() const { return *std::max_element(limits_.begin(), limits_.end()); }

 private:
  DType compute_;
  int threads_;
  std::vector<double> rates_, limits_;
  int64_t peak_ = 0;
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

// The count of DESIGN: 4 N (6 N where the weights are trained) and 6 of the adapter's parameters, and causal attention, a
// token; without head rows that are skipped.
double StepFlops(const ModelSpec& spec, bool full, int64_t adapter_parameters, int64_t tokens, int64_t length) {
  const double each = full ? 6.0 : 4.0;
  double n = static_cast<double>(spec.vocab_size) * static_cast<double>(spec.hidden_size);
  for (const ExpectedTensor& t : ExpectedTensors(spec)) {
    if (t.shape.size() == 2 && t.name.starts_with("model.layers.")) {
      n += static_cast<double>(t.shape[0]) * static_cast<double>(t.shape[1]);
    }
  }
  const double attention = 6.0 * static_cast<double>(spec.num_hidden_layers) * static_cast<double>(length) *
                           static_cast<double>(spec.num_attention_heads * spec.head_dim);
  const double head = each * static_cast<double>(spec.vocab_size) * static_cast<double>(spec.hidden_size);
  const double skipped = head * static_cast<double>(tokens / length);  // the last token of a sequence predicts nothing
  return (each * n + 6.0 * static_cast<double>(adapter_parameters) + attention) * static_cast<double>(tokens) - skipped;
}

int64_t AdapterParameters(const ModelSpec& spec, const LoraConfig& lora) {
  int64_t parameters = 0;
  const LoraConfig resolved = ResolveTargets(lora, DecoderModules(spec), spec.model_type);
  for (const AdapterModule& m : BuildAdapterSpec(spec, resolved, "bench").modules) parameters += m.rank * (m.in + m.out);
  return parameters;
}

// The profile, most expensive first.
nlohmann::ordered_json OpTableOf(const Profile& profile, double limit) {
  std::vector<std::pair<std::string, OpCost>> ops(profile.begin(), profile.end());
  std::sort(ops.begin(), ops.end(), [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  nlohmann::ordered_json table = nlohmann::ordered_json::array();
  for (const auto& [name, cost] : ops) {
    table.push_back({{"op", name},
                     {"calls", cost.calls},
                     {"seconds", cost.seconds},
                     {"flops", cost.flops},
                     {"fraction_of_limit", cost.flops / cost.seconds / limit}});
  }
  return table;
}

}  // namespace

nlohmann::ordered_json BenchTrain(const BenchTrainJob& job) {
  if (job.length < 2 || job.tokens < job.length) BadInput("bench: tokens must be at least one sequence of length 2 or more");
  const int64_t rows = job.tokens / job.length;
  const TemporaryFolder folder;
  const ModelBundle bundle = OpenModel(job.model);
  const ModelSpec& spec = bundle.files.spec();
  // Ids that both know: a made-up model's tokenizer is smaller than its vocabulary.
  const int64_t ids = bundle.tokenizer != nullptr ? std::min<int64_t>(spec.vocab_size, bundle.tokenizer->VocabularySize()) : spec.vocab_size;
  WriteFileAtomic(folder.path() + "/rows.jsonl", RandomRows(rows * (job.steps + 1), job.length, ids));
  RunConfig config;
  config.source = nlohmann::ordered_json::object();
  config.method = job.method;
  config.is_recorded = false;
  config.model = job.model;
  config.train_data = folder.path() + "/rows.jsonl";
  config.shuffle = false;
  config.lora.r = 16;
  config.lora.lora_alpha = 32;
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
  StepClock clock(compute, device->threads());
  Profile profile;
  const TrainResult result = Train(config, clock, &profile);

  const bool full = job.method == "full";
  const double flops = StepFlops(spec, full, full ? 0 : AdapterParameters(spec, config.lora), rows * job.length, job.length);
  const double rate = clock.tokens_per_second();
  nlohmann::ordered_json json = {{"model", job.model},
                                 {"method", job.method},
                                 {"compute", compute == DType::kBF16 ? "bf16" : "f32"},
                                 {"tokens_per_step", rows * job.length},
                                 {"sequence_length", job.length},
                                 {"matmul_limit_flops", clock.limit()},
                                 {"step_flops", flops},
                                 {"tokens_per_second", rate},
                                 {"fraction_of_limit", flops / static_cast<double>(rows * job.length) * rate / clock.limit()},
                                 {"peak_rss_bytes", clock.peak()},
                                 {"planned_bytes", result.planned_bytes},
                                 {"seconds_to_first_step", result.seconds_to_first_step}};
  json["ops"] = OpTableOf(profile, clock.limit());
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
  for (int run = 0; run < 3; ++run) {
    model.Truncate(0);
    profile.clear();
    device->SetProfile(&profile);
    const Generation g = Generate(model, bundle.RequireTokenizer(), prompt, {}, options);
    prompt_rate = std::max(prompt_rate, static_cast<double>(job.prompt_tokens) / g.prompt_seconds);
    decode_rate = std::max(decode_rate, static_cast<double>(g.ids.size()) / g.decode_seconds);
  }
  return {{"model", job.model},
          {"prompt_tokens", job.prompt_tokens},
          {"new_tokens", job.new_tokens},
          {"prompt_tokens_per_second", prompt_rate},
          {"decode_tokens_per_second", decode_rate},
          {"ops", OpTableOf(profile, MeasureMatmulLimit(DType::kF32, device->threads()))}};
}

nlohmann::ordered_json BenchOps(const std::string& model, int64_t rows) {
  const ModelSpec spec = ModelFiles::Open(model).spec();
  const auto device = MakeCpuDevice({});
  const DType compute = device->has_bf16() ? DType::kBF16 : DType::kF32;
  const double limit = MeasureMatmulLimit(compute, device->threads());
  const auto matrix = [&](DType dtype, int64_t r, int64_t c) {
    return DenseMatrix(device->Allocate(BytesOf(dtype, r * c), "bench"), dtype, r, c);
  };
  Profile profile;
  const auto repeat = [&](const auto& op, const std::string& tag, double flops) {
    device->SetProfile(nullptr);
    device->Run(op);
    device->SetProfile(&profile);
    for (int i = 0; i < 5; ++i) device->Run(op, tag.c_str(), flops);
  };
  for (const ModuleInfo& m : DecoderModules(spec)) {
    if (!m.is_linear || (m.path.starts_with("model.layers.") && !m.path.starts_with("model.layers.0."))) continue;
    const std::string name = m.path.substr(m.path.rfind('.') + 1);
    const double flops = 2.0 * static_cast<double>(rows) * static_cast<double>(m.in) * static_cast<double>(m.out);
    Gemm forward;
    forward.a = matrix(compute, rows, m.in);
    forward.b = matrix(compute, m.out, m.in);
    forward.b_transposed = true;
    forward.c = matrix(DType::kF32, rows, m.out);
    repeat(forward, name + " forward", flops);
    Gemm backward;
    backward.a = matrix(compute, rows, m.out);
    backward.b = forward.b;
    backward.c = matrix(DType::kF32, rows, m.in);
    repeat(backward, name + " dx", flops);
  }
  const int64_t q = spec.num_attention_heads * spec.head_dim, kv = spec.num_key_value_heads * spec.head_dim;
  const AttentionShape shape{spec.num_attention_heads, spec.num_key_value_heads, spec.head_dim, 0, 0.125f};
  const Matrix starts = matrix(DType::kI32, 1, 2);
  const int32_t ends[2] = {0, static_cast<int32_t>(rows)};
  device->Upload(starts.data, ends, sizeof(ends));
  const Attention a{matrix(compute, rows, q), matrix(DType::kF32, rows, spec.num_attention_heads), matrix(compute, rows, q),
                    matrix(compute, rows, kv), matrix(compute, rows, kv), starts, shape};
  const double attention_flops = 2.0 * static_cast<double>(rows) * static_cast<double>(rows) * static_cast<double>(q);
  repeat(a, "attention", attention_flops);
  const Matrix dk_sum = matrix(DType::kF32, rows, kv), dv_sum = matrix(DType::kF32, rows, kv);
  const bool is_f32 = compute == DType::kF32;
  repeat(AttentionBackward{matrix(compute, rows, q), is_f32 ? dk_sum : matrix(compute, rows, kv),
                           is_f32 ? dv_sum : matrix(compute, rows, kv), dk_sum, dv_sum, a.out, matrix(compute, rows, q),
                           a.lse, a.q, a.k, a.v, starts, shape},
         "attention backward", 2.5 * attention_flops);
  return {{"model", model},
          {"compute", is_f32 ? "f32" : "bf16"},
          {"rows", rows},
          {"matmul_limit_flops", limit},
          {"ops", OpTableOf(profile, limit)}};
}

}  // namespace attune
