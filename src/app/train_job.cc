#include "app/train_job.h"

#include <algorithm>
#include <filesystem>

#include "app/bundle.h"
#include "app/run_record.h"
#include "base/error.h"
#include "base/file.h"
#include "base/system.h"

namespace attune {
namespace {

EncodeOptions EncodeOptionsOf(const TrainingArguments& training, const ModelSpec& spec) {
  EncodeOptions options;
  options.completion_only_loss = training.completion_only_loss;
  options.assistant_only_loss = training.assistant_only_loss;
  options.max_length = training.max_length;
  options.truncation_mode =
      training.truncation_mode == "keep_end" ? TruncationMode::kKeepEnd : TruncationMode::kKeepStart;
  options.vocab_size = spec.vocab_size;
  return options;
}

// The first example with something to learn, cut into stretches that are trained or not.
std::vector<PreviewPiece> Preview(const Dataset& data, const Tokenizer* tokenizer) {
  std::vector<PreviewPiece> pieces;
  if (tokenizer == nullptr) return pieces;
  const auto example = std::find_if(data.examples.begin(), data.examples.end(),
                                    [](const Example& e) { return TrainedTokens(e) > 0; });
  if (example == data.examples.end()) return pieces;
  size_t begin = 0;
  while (begin < example->input_ids.size()) {
    const bool trained = example->labels[begin] != kIgnoredLabel;
    size_t end = begin;
    while (end < example->input_ids.size() && (example->labels[end] != kIgnoredLabel) == trained) ++end;
    pieces.push_back({tokenizer->Decode(std::span(example->input_ids).subspan(begin, end - begin), false), trained});
    begin = end;
  }
  return pieces;
}

int64_t TotalParameters(const ModelSpec& spec) {
  int64_t total = 0;
  for (const ExpectedTensor& t : ExpectedTensors(spec)) {
    int64_t elements = 1;
    for (const int64_t size : t.shape) elements *= size;
    total += elements;
  }
  return total;
}

int64_t TrainedParameters(const std::vector<TrainableTensor>& tensors) {
  int64_t total = 0;
  for (const TrainableTensor& t : tensors) total += t.rows * t.cols;
  return total;
}

void RefuseWhatDoesNotFit(const RunPlan& plan, const TrainingArguments& training) {
  const int64_t resident = plan.memory.back().bytes;
  const int64_t available = AvailableBytes();
  if (plan.planned_bytes - resident <= available) return;
  BadInput("the run needs {:.2f} GiB beside what is already in use, and {:.2f} GiB are free: lower tokens_in_flight (now {}) "
           "or max_length (now {}), or set gradient_checkpointing: true",
           static_cast<double>(plan.planned_bytes - resident) / (1 << 30), static_cast<double>(available) / (1 << 30),
           training.tokens_in_flight, training.max_length);
}

// Watches the run on its way to the caller's observer and into the records.
class Recorder : public TrainObserver {
 public:
  Recorder(TrainEvents& events, RunRecord& record, TrainResult& result)
      : events_(events), record_(record), result_(result) {}

  void OnStep(const StepMetrics& m) override { events_.OnStep(m); }
  void OnLog(const StepMetrics& m) override {
    record_.Append(ToJson(m));
    events_.OnLog(m);
  }
  void OnEval(const EvalMetrics& m) override {
    record_.Append(ToJson(m));
    (m.step == 0 ? result_.eval_loss_before : result_.eval_loss_after) = m.loss;
    events_.OnEval(m);
  }
  void OnCheckpoint(const std::string& folder) override { events_.OnCheckpoint(folder); }

 private:
  TrainEvents& events_;
  RunRecord& record_;
  TrainResult& result_;
};

}  // namespace

DType ChooseCompute(const TrainingArguments& training, const Device& device, std::string* note) {
  if (training.bf16 && !training.fp16 && device.has_bf16()) return DType::kBF16;
  if (training.fp16 && device.has_bf16()) {
    *note = "fp16: this CPU has no fp16 matmul; bf16 mixed precision is used instead";
    return DType::kBF16;
  }
  if (training.bf16 || training.fp16) {
    *note = fmt::format("{}: this CPU has no bf16 matmul (AVX512-BF16); f32 is used instead, which is more exact",
                        training.fp16 ? "fp16" : "bf16");
  }
  return DType::kF32;
}

nlohmann::ordered_json ToJson(const TrainResult& r) {
  nlohmann::ordered_json json = {{"output_dir", r.output_dir},
                                 {"steps", r.steps},
                                 {"num_tokens", r.num_tokens},
                                 {"train_loss", r.train_loss},
                                 {"train_runtime", r.train_seconds},
                                 {"tokens_per_second", r.tokens_per_second}};
  if (r.eval_loss_before) json["eval_loss_before"] = *r.eval_loss_before;
  if (r.eval_loss_after) json["eval_loss"] = *r.eval_loss_after;
  json["planned_bytes"] = r.planned_bytes;
  json["peak_rss_bytes"] = r.peak_rss_bytes;
  json["seconds_to_first_step"] = r.seconds_to_first_step;
  return json;
}

TrainResult Train(const RunConfig& config, TrainEvents& events, Profile* profile) {
  const TrainingArguments& training = config.training;
  CheckOutputDir(training.output_dir, training.overwrite_output_dir);
  ModelBundle bundle = OpenModel(config.model);
  const ModelSpec& spec = bundle.files.spec();
  const auto device = MakeCpuDevice({});
  std::string note;
  const DType compute = ChooseCompute(training, *device, &note);

  LoraConfig lora = config.lora;
  std::vector<std::vector<float>> first_values;
  if (!config.adapter.empty()) lora = AdapterFolder::Open(config.adapter).config;
  if (!lora.task_type) lora.task_type = "CAUSAL_LM";
  lora = ResolveTargets(lora, DecoderModules(spec), spec.model_type);
  if (!lora.base_model_name_or_path) lora.base_model_name_or_path = bundle.files.base_name();
  const AdapterSpec adapter = BuildAdapterSpec(spec, lora, "lora");
  const std::vector<TrainableTensor> trainables = AdapterTrainables(adapter);
  if (!config.adapter.empty()) first_values = ReadTrainedValues(trainables, config.adapter);

  const NoTokenizer none(bundle.files.path());
  const Tokenizer& tokenizer = bundle.tokenizer != nullptr ? *bundle.tokenizer : static_cast<const Tokenizer&>(none);
  const RowEncoder encoder(tokenizer, bundle.chat_format(), bundle.eos_token(), EncodeOptionsOf(training, spec));
  const Dataset train = LoadDataset(config.train_data, encoder);
  std::optional<Dataset> eval;
  if (!config.eval_data.empty()) eval = LoadDataset(config.eval_data, encoder);

  const RunPlan plan = PlanRun(spec, adapter, trainables, training, config.shuffle, train, eval ? &*eval : nullptr,
                               compute, device->scratch_bytes(), ResidentBytes());
  RefuseWhatDoesNotFit(plan, training);
  if (!note.empty()) events.OnNote(note);
  if (spec.attention_dropout > 0) {
    events.OnNote(fmt::format("attention_dropout {:g} of the model's config.json is not applied", spec.attention_dropout));
  }
  if (!bundle.files.ignored_tensors().empty()) {
    events.OnNote(fmt::format("{} tensors of the model's files are not used, the first of them {}",
                              bundle.files.ignored_tensors().size(), bundle.files.ignored_tensors().front()));
  }
  TrainReady ready;
  ready.trainable_parameters = TrainedParameters(trainables);
  ready.total_parameters = TotalParameters(spec) + ready.trainable_parameters;
  ready.train_stats = train.stats;
  if (eval) ready.eval_stats = eval->stats;
  ready.memory = plan.memory;
  ready.planned_bytes = plan.planned_bytes;
  ready.preview = Preview(train, bundle.tokenizer.get());
  ready.total_steps = plan.steps.total_updates;
  ready.warmup_steps = plan.warmup_steps;
  ready.chunk_tokens = plan.settings.max_tokens;
  ready.compute = compute == DType::kBF16 ? "bf16" : "f32";
  events.OnReady(ready);

  RunRecord record(config, spec, plan.planned_bytes);
  const ModelWeights weights(*device, bundle.files, compute);
  const TrainableVectors vectors(*device, trainables);
  if (first_values.empty()) {
    InitializeTrained(*device, vectors, trainables, lora, bundle.files, training.seed);
  } else {
    LoadTrained(*device, vectors, trainables, first_values);
  }
  Decoder decoder(*device, spec, weights, adapter, trainables, &vectors, plan.settings);
  TrainResult result;
  result.output_dir = training.output_dir;
  result.seconds_to_first_step = SecondsSinceProcessStart();
  Recorder recorder(events, record, result);
  Trainer trainer({*device, decoder, vectors, trainables, lora, training, plan, train, eval ? &*eval : nullptr}, recorder);
  device->SetProfile(profile);
  trainer.Run();
  device->SetProfile(nullptr);
  SaveAdapter(*device, vectors, trainables, lora, training.output_dir);
  result.steps = plan.steps.total_updates;
  result.num_tokens = trainer.tokens_seen();
  result.train_loss = trainer.mean_loss();
  result.train_seconds = trainer.train_seconds();
  result.tokens_per_second = static_cast<double>(result.num_tokens) / result.train_seconds;
  result.planned_bytes = plan.planned_bytes;
  result.peak_rss_bytes = PeakResidentBytes();
  record.Finish(ToJson(result));
  return result;
}

}  // namespace attune
