#include "app/train_session.h"

#include <algorithm>

#include "app/data_encoder.h"
#include "app/model_hash.h"
#include "app/program_memory.h"
#include "app/run_record.h"
#include "app/train_data_check.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/system.h"
#include "data/data_files.h"
#include "data/overlap.h"
#include "data/packed_dataset.h"
#include "models/adapter_values.h"
#include "models/damaged_weights.h"
#include "quant/bnb_state.h"

namespace attune {
namespace {

// The first example with something to learn, cut into stretches that are trained or not.
std::vector<PreviewPiece> Preview(const Dataset& data, const Tokenizer& tokenizer) {
  constexpr size_t kLongest = 400;  // tokens: a packed row would fill screens
  std::vector<PreviewPiece> pieces;
  const auto example =
      std::find_if(data.examples.begin(), data.examples.end(), [](const Example& e) { return TrainedTokens(e) > 0; });
  if (example == data.examples.end()) return pieces;
  const size_t length = std::min(example->input_ids.size(), kLongest);
  for (size_t begin = 0; begin < length;) {
    const bool trained = example->labels[begin] != kIgnoredLabel;
    size_t end = begin;
    while (end < length && (example->labels[end] != kIgnoredLabel) == trained) ++end;
    pieces.push_back({tokenizer.Decode(std::span(example->input_ids).subspan(begin, end - begin), false), trained});
    begin = end;
  }
  if (length < example->input_ids.size()) pieces.push_back({" ...", false});
  return pieces;
}

// What the rows came to, whatever made it so: another tokenizer, chat template or encoder is another run.
std::string HashOfTokens(const Dataset& data) {
  Xxh3 hash;
  for (const Example& example : data.examples) {
    const uint64_t sizes[2] = {example.input_ids.size(), example.starts.size()};
    hash.Add(std::as_bytes(std::span(sizes)));
    for (const auto* part : {&example.input_ids, &example.labels, &example.starts})
      hash.Add(std::as_bytes(std::span(*part)));
  }
  return hash.Hex();
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

// Watches the run on its way to the caller's observer and into the records.
class Recorder : public TrainObserver {
 public:
  Recorder(TrainEvents& events, RunRecord& record, TrainResult& result)
      : events_(events), record_(record), result_(result) {}

  void OnNote(const std::string& line) override { events_.OnNote(line); }
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
  void OnSamples(int64_t step, const std::vector<SampleAnswer>& samples) override {
    std::vector<RunSample> recorded;
    for (const SampleAnswer& s : samples) recorded.push_back({step, s.prompt, s.reference, s.answer});
    record_.AppendSamples(step, recorded);
    (step == 0 ? result_.samples_before : result_.samples_after) = samples;
    events_.OnSamples(step, samples);
  }
  void OnCheckpoint(const std::string& folder) override { events_.OnCheckpoint(folder); }

 private:
  TrainEvents& events_;
  RunRecord& record_;
  TrainResult& result_;
};

}  // namespace

TrainSession::TrainSession(const RunConfig& config, TrainEvents& events, Use use)
    : config_(config),
      events_(events),
      bundle_(OpenModel(ModelPathsOf(config))),
      device_(MakeCpuDevice({})),
      method_(MakeTrainMethod(config_, bundle_)),
      no_tokenizer_(bundle_.files.path()) {
  std::string note;
  compute_ = ChooseCompute(config_.training, *device_, &note);
  storage_ = StorageWith(config_.offload);
  if (config_.offload && ModelWeights::MappedBytes(bundle_.files.spec(), method_->spec(), storage_) == 0) {
    BadInput("model.offload: no frozen weight of {} is used as it lies in its file; leave it out",
             bundle_.files.path());
  }
  CheckTorchDtype();
  LoadData();
  const std::string rows_note = method_->Settle(train_.examples, config_.training, storage_);
  program_bytes_ = ProgramBytes(tokenizer().VocabularySize(), train_.examples, eval());
  plan_ = PlanRun(inputs());
  if (use == Use::kPlan) return;
  CheckFit();
  const int64_t paged = Optimizer::PlannedBytes(method_->trainables(), config_.training).file;
  if (paged > 0) RequireDiskSpace(config_.training.output_dir, "the file of the optimiser's states", paged);
  MakeFingerprint();
  LookAtData();
  if (!rows_note.empty()) events_.OnNote(rows_note);
  TellNotes(note);
}

PlanInputs TrainSession::inputs() const {
  return {bundle_.files.spec(),
          method_->spec(),
          method_->trainables(),
          config_.training,
          config_.shuffle,
          train_.examples,
          eval(),
          storage_,
          device_->scratch_bytes(),
          program_bytes_};
}

const Tokenizer& TrainSession::tokenizer() const {
  return bundle_.tokenizer != nullptr ? *bundle_.tokenizer : static_cast<const Tokenizer&>(no_tokenizer_);
}

void TrainSession::LoadData() {
  const TrainingArguments& training = config_.training;
  EncodeOptions options = EncodeOptionsOf(training, bundle_.files.spec());
  const RowEncoder plain(tokenizer(), bundle_.chat_format(), bundle_.eos_token(), options);
  if (!config_.eval_data.empty()) eval_ = LoadDataset(config_.eval_data, plain);
  if (!training.packing) {
    train_ = LoadDataset(config_.train_data, plain);
    return;
  }
  options.max_length = 0;  // packing cuts, and what it cuts depends on the strategy
  const RowEncoder whole(tokenizer(), bundle_.chat_format(), bundle_.eos_token(), options);
  train_ = LoadDataset(config_.train_data, whole);
  train_.examples =
      PackExamples(std::move(train_.examples), training.max_length, ParsePackingStrategy(training.packing_strategy));
  std::erase_if(train_.examples, [](const Example& e) { return ShapeOf(e).labelled == 0; });
  if (train_.examples.empty()) BadInput("{}: packed rows hold no token to train on", config_.train_data);
  packing_efficiency_ = PackingEfficiency(train_.examples, training.max_length);
}

void TrainSession::CheckFit() const {
  const int64_t available = AvailableBytes() + ResidentBytes();
  if (plan_.planned_bytes <= available) return;
  std::string fits = SettingThatFits(inputs(), available);
  if (fits.empty() && !config_.offload) fits = OffloadThatFits(available);
  BadInput("the run needs {:.2f} GiB and {:.2f} GiB are free: {}", static_cast<double>(plan_.planned_bytes) / (1 << 30),
           static_cast<double>(available) / (1 << 30),
           fits.empty()
               ? fmt::format("no setting of tokens_in_flight and gradient_checkpointing makes it fit; {}, or choose a "
                             "smaller model (attune plan compares them)",
                             config_.method == "full" ? "use method: lora" : "lower max_length or lora.r")
               : "it fits with " + fits);
}

// What is trained is float32 whatever is asked, and quantised weights stay as they are.
void TrainSession::CheckTorchDtype() const {
  if (!config_.torch_dtype) return;
  const bool is_trained = config_.method == "full" && *config_.torch_dtype == DType::kF32;
  if (is_trained ||
      ModelWeights::BytesHeldAs(*config_.torch_dtype, bundle_.files.spec(), method_->spec(), storage_) > 0)
    return;
  BadInput(
      "model.torch_dtype {}: no matrix of {} can be held in it: quantised ones stay as they are, and what is trained "
      "is "
      "float32; leave it out",
      TorchName(*config_.torch_dtype), bundle_.files.path());
}

BaseStorage TrainSession::StorageWith(bool offload) const {
  return {bundle_.files, compute_, {config_.method == "qlora", config_.quantization, offload, config_.torch_dtype}};
}

// The base in its files, where that is enough.
std::string TrainSession::OffloadThatFits(int64_t available) const {
  const auto weights = [&](const BaseStorage& storage) {
    return ModelWeights::PlannedBytes(bundle_.files.spec(), method_->spec(), storage);
  };
  const bool fits = plan_.planned_bytes - weights(storage_) + weights(StorageWith(true)) <= available;
  return fits ? "model.offload: true, which reads the weights from the disk as it goes" : "";
}

void TrainSession::TellNotes(const std::string& compute_note) {
  if (!compute_note.empty()) events_.OnNote(compute_note);
  if (config_.offload) {
    const double gigabytes =
        static_cast<double>(ModelWeights::MappedBytes(bundle_.files.spec(), method_->spec(), storage_)) / 1e9;
    events_.OnNote(
        fmt::format("offload: {:.1f} GB of the base stay in the model's files and are read twice for every {} tokens: "
                    "where memory cannot cache them, {:.0f} s at 1 GB/s",
                    gigabytes, plan_.settings.max_tokens, 2 * gigabytes));
  }
  if (bundle_.files.spec().attention_dropout > 0) {
    events_.OnNote(fmt::format("attention_dropout {:g} of the model's config.json is not applied",
                               bundle_.files.spec().attention_dropout));
  }
  if (!bundle_.files.ignored_tensors().empty()) {
    events_.OnNote(fmt::format("{} tensors of the model's files are not used, the first of them {}",
                               bundle_.files.ignored_tensors().size(), bundle_.files.ignored_tensors().front()));
  }
  if (eval_ && !config_.training.packing) {
    const Overlap overlap = CountOverlap(train_, *eval_);
    if (overlap.rows > 0) {
      events_.OnNote(
          fmt::format("warning: {} of {} evaluation rows are training rows too (first: {} and {}); their loss says "
                      "nothing of what was learned",
                      overlap.rows, overlap.eval_rows, overlap.eval_row, overlap.train_row));
    }
  }
  events_.OnReady(Ready());
}

TrainReady TrainSession::Ready() const {
  TrainReady ready;
  ready.trainable_parameters = TrainedParameters(method_->trainables());
  ready.total_parameters = TotalParameters(bundle_.files.spec());
  if (config_.method != "full") ready.total_parameters += ready.trainable_parameters;
  ready.train_stats = train_.stats;
  if (eval_) ready.eval_stats = eval_->stats;
  ready.packed_rows = packing_efficiency_ ? static_cast<int64_t>(train_.examples.size()) : 0;
  ready.packing_efficiency = packing_efficiency_.value_or(0);
  ready.memory = plan_.memory;
  ready.planned_bytes = plan_.planned_bytes;
  if (bundle_.tokenizer != nullptr) ready.preview = Preview(train_, *bundle_.tokenizer);
  ready.total_steps = plan_.steps.total_updates;
  ready.warmup_steps = plan_.warmup_steps;
  ready.chunk_tokens = plan_.settings.max_tokens;
  ready.compute = compute_ == DType::kBF16 ? "bf16" : "f32";
  return ready;
}

// What is found is told and kept; nothing of the run depends on it.
void TrainSession::LookAtData() {
  std::vector<std::string> paths = {config_.train_data};
  if (!config_.eval_data.empty()) paths.push_back(config_.eval_data);
  DataNotes notes = CheckManifests(paths);
  if (!notes.record.empty()) data_record_["manifests"] = notes.record;
  if (config_.check_data) {
    DataNotes found = CheckTrainData(config_.train_data);
    data_record_["check"] = found.record;
    notes.lines.insert(notes.lines.end(), found.lines.begin(), found.lines.end());
  }
  for (const std::string& line : notes.lines) events_.OnNote(line);
}

// The first weight that training starts from and that is not finite, with where it is; "": none.
std::string TrainSession::DamagedWeight() const {
  const std::string name = config_.model.empty() ? "" : FirstNonFiniteWeight(bundle_.files, device_->threads());
  if (!name.empty()) return fmt::format("{}: \"{}\"", bundle_.files.path(), name);
  if (config_.adapter.empty()) return "";
  const AdapterValues adapter = ReadAdapter(bundle_.files, config_.adapter);
  for (size_t i = 0; i < adapter.tensors.size(); ++i) {
    if (!AllFinite(adapter.values[i])) return fmt::format("{}: \"{}\"", config_.adapter, adapter.tensors[i].key);
  }
  return "";
}

void TrainSession::MakeFingerprint() {
  fingerprint_ = {{"model", QuickModelHash(config_.model.empty() ? config_.init_from_config : config_.model)},
                  {"train_sha256", HashOfDataFiles(config_.train_data)},
                  {"eval_sha256", config_.eval_data.empty() ? "" : HashOfDataFiles(config_.eval_data)},
                  {"train_tokens", HashOfTokens(train_)},
                  {"trained", method_->Fingerprint()},
                  {"compute", compute_ == DType::kBF16 ? "bf16" : "f32"},
                  {"settings", config_.source}};
}

TrainResult TrainSession::Run(const ResumePoint* point, const std::function<bool()>& stop_requested, Profile* profile) {
  const std::string& output_dir = config_.training.output_dir;
  RunRecordOptions options;
  if (point != nullptr) options.resume_step = point->state.step;
  options.fingerprint = fingerprint_;
  options.data = data_record_;
  options.compute = compute_ == DType::kBF16 ? "bf16" : "f32";
  options.on_note = [this](const std::string& line) { events_.OnNote(line); };
  const ModelWeights weights(*device_, bundle_.files, method_->spec(), storage_);
  method_->PrepareBase(*device_, weights, point != nullptr ? point->path : "");
  const TrainableVectors vectors(*device_, method_->trainables());
  if (point == nullptr) method_->Initialize(*device_, vectors);
  Decoder decoder(*device_, bundle_.files.spec(), weights, method_->spec(), method_->trainables(), &vectors,
                  plan_.settings);
  if (point == nullptr) method_->FinishInitialization(decoder);
  // Not before: what the model's files hold has been read now, and nothing is written of a run that it refuses.
  RunRecord record(config_, bundle_.files.spec(), plan_.planned_bytes, options);
  TrainResult result;
  result.output_dir = output_dir;
  result.noun = method_->noun();
  result.seconds_to_first_step = SecondsSinceProcessStart();
  Recorder recorder(events_, record, result);
  Trainer trainer({*device_, decoder, vectors, method_->trainables(), config_.training, plan_, train_,
                   eval_ ? &*eval_ : nullptr, bundle_.tokenizer.get(), bundle_.eos_ids, fingerprint_,
                   [&](const std::string& folder) { method_->Save(*device_, vectors, folder); },
                   [&](const std::string& folder) { method_->Load(*device_, vectors, folder); }, stop_requested,
                   [&] { return DamagedWeight(); }},
                  recorder);
  try {
    if (point != nullptr) trainer.Resume(*point);
    device_->SetProfile(profile);
    trainer.Run();
    method_->Save(*device_, vectors, output_dir);
  } catch (const Error& error) {
    const bool interrupted = stop_requested && stop_requested();
    const bool refused = error.kind() == ErrorKind::kBadInput && trainer.state().step == 0;
    try {
      refused ? record.Refuse(error.what()) : record.Stop(interrupted ? "interrupted" : "failed", error.what());
    } catch (const Error&) {
      // The disk that is full, again: the first error is the one to tell.
    }
    throw;
  }
  device_->SetProfile(nullptr);
  result.steps = trainer.state().step;
  result.num_tokens = trainer.state().tokens_seen;
  result.train_loss = trainer.mean_loss();
  result.train_seconds = trainer.state().train_seconds;
  result.tokens_per_second = static_cast<double>(result.num_tokens) / result.train_seconds;
  result.best_checkpoint = trainer.best_checkpoint();
  result.planned_bytes = plan_.planned_bytes;
  result.peak_rss_bytes = PeakResidentBytes();
  record.Finish(ToJson(result));
  return result;
}

}  // namespace attune
