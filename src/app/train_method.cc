#include "app/train_method.h"

#include "app/merged_model.h"
#include "base/error.h"
#include "base/file.h"
#include "base/heap.h"
#include "base/system.h"
#include "data/sampler.h"
#include "formats/json.h"
#include "models/adapter_model.h"
#include "models/decoder.h"
#include "models/full_finetuning.h"
#include "train/eva.h"

namespace attune {
namespace {

// The rows of the first epoch, in batches as they will come.
std::vector<Chunk> EvaChunks(const std::vector<Example>& rows, const TrainingArguments& training, bool shuffle) {
  const std::vector<RowShape> shapes = ShapesOf(rows);
  const std::vector<int64_t> order =
      EpochOrder(std::ssize(rows), training.data_seed.value_or(training.seed), 0, shuffle);
  std::vector<Chunk> chunks;
  for (const Update& update : EpochUpdates(order, training.per_device_train_batch_size, 1, false)) {
    for (Chunk& chunk : CutIntoChunks(update.front(), shapes, training.tokens_in_flight))
      chunks.push_back(std::move(chunk));
  }
  return chunks;
}

class LoraMethod : public TrainMethod {
 public:
  LoraMethod(const RunConfig& config, const ModelBundle& bundle)
      : bundle_(bundle),
        lora_(config.lora),
        seed_(config.training.seed),
        shuffle_(config.shuffle),
        first_(config.adapter) {
    const ModelSpec& spec = bundle.files.spec();
    if (!first_.empty()) {
      if (config.source.contains("lora")) {
        BadInput("model.adapter {}: its own adapter_config.json counts; remove the section lora", first_);
      }
      lora_ = AdapterFolder::Open(first_).config;
      if (lora_.ChangesBase()) {
        BadInput(
            "model.adapter {}: init_lora_weights {}: it belongs to a base that was changed when it was made; save it "
            "from PEFT with path_initial_model_for_weight_conversion",
            first_, lora_.ToJson()["init_lora_weights"].dump());
      }
    }
    if (!lora_.task_type) lora_.task_type = "CAUSAL_LM";
    lora_ = ResolveTargets(lora_, DecoderModules(spec), spec.model_type);
    if (!lora_.base_model_name_or_path) lora_.base_model_name_or_path = bundle.files.base_name();
    SetSpec(BuildAdapterSpec(spec, lora_, "lora"));
    if (TrainMethod::spec().changes_base) RefuseQuantizedBase(config.method == "qlora");
    if (!first_.empty())
      OpenTrainedFile(trainables(), AdapterFolder::WeightsPath(first_));  // refused before anything is written
  }

  std::string Settle(const std::vector<Example>& rows, const TrainingArguments& training,
                     const BaseStorage& storage) override {
    if (first_.empty() && lora_.init_lora_weights == LoraConfig::Init::kLoftq) RequireQuantizing(storage);
    if (!first_.empty() || lora_.init_lora_weights != LoraConfig::Init::kEva) return "";
    ReturnLargeBlocksWhenFreed();
    EvaStart start = FindEvaStart({bundle_.files, lora_, spec(), rows, EvaChunks(rows, training, shuffle_), storage});
    lora_ = ResolveTargets(start.config, DecoderModules(bundle_.files.spec()), bundle_.files.spec().model_type);
    const size_t modules = spec().modules.size();
    SetSpec(BuildAdapterSpec(bundle_.files.spec(), lora_, "lora"));
    initial_ = std::move(start.adapter);
    ReturnFreedMemory();
    return fmt::format("eva: ranks shared out over {} of {} modules from {} tokens{}", spec().modules.size(), modules,
                       start.tokens, start.converged ? "" : "; the rows ran out before every component stood still");
  }
  void PrepareBase(Device& device, const ModelWeights& weights, const std::string& checkpoint) override {
    if (!first_.empty() || initial_ || !lora_.IsWorkedOut() || (!checkpoint.empty() && !lora_.ChangesBase())) return;
    ReturnLargeBlocksWhenFreed();
    if (lora_.init_lora_weights == LoraConfig::Init::kLoftq) {
      initial_ = InitialAdapter::FromResidual(device, weights, bundle_.files, spec());
    } else if (checkpoint.empty()) {
      initial_ = InitialAdapter::FromWeights(bundle_.files, spec(), lora_, seed_, device.threads());
    } else {
      initial_ = InitialAdapter::FromFile(spec(), trainables(), AdapterFolder::WeightsPath(checkpoint));
    }
    if (lora_.ChangesBase()) initial_->SubtractFrom(device, weights, bundle_.files, spec());
    ReturnFreedMemory();  // decompositions leave more behind than the plan has room for
  }
  void Initialize(Device& device, const TrainableVectors& vectors) const override {
    if (!first_.empty()) return Load(device, vectors, first_);
    InitializeTrained(device, vectors, trainables(), lora_, spec().tokens, bundle_.files, seed_);
    if (initial_) initial_->Upload(device, vectors, trainables());
  }
  void FinishInitialization(Decoder& decoder) override {
    if (first_.empty()) decoder.InitializeMagnitudes();
    if (!lora_.ChangesBase()) initial_.reset();  // only what was taken out of the base is needed again
  }
  void Save(Device& device, const TrainableVectors& vectors, const std::string& folder) const override {
    SaveAdapter(device, vectors, trainables(), lora_, lora_.ChangesBase() ? &*initial_ : nullptr, folder);
    WriteTextFiles(bundle_, folder);
  }
  void Load(Device& device, const TrainableVectors& vectors, const std::string& folder) const override {
    const std::string path = AdapterFolder::WeightsPath(folder);
    if (lora_.ChangesBase()) return InitialAdapter::Load(device, vectors, trainables(), path);
    LoadTrainedFile(device, vectors.value(), trainables(), OpenTrainedFile(trainables(), path));
  }
  nlohmann::ordered_json Fingerprint() const override { return nlohmann::ordered_json::parse(lora_.ToText()); }
  const char* noun() const override { return "the adapter"; }

 private:
  // First values are taken out of values: of 16 or 32 bits, or of a GGUF file's blocks, which method: lora decodes.
  void RefuseQuantizedBase(bool is_qlora) const {
    for (const AdapterModule& m : spec().modules) {
      const StoredTensor& stored = *bundle_.files.Find(m.path + ".weight");
      const bool is_blocks = LayoutOf(stored.dtype).block_elements > 1;
      if (is_blocks ? !is_qlora : !IsQuantized(stored)) continue;
      BadInput(
          "lora.init_lora_weights {} takes its first values out of the base, and {} is kept in few bits ({}): use a "
          "16-bit base{}, or init_lora_weights: true",
          lora_.ToJson()["init_lora_weights"].dump(), m.path, NameOf(stored.dtype),
          is_blocks ? ", or method: lora, which decodes it" : "");
    }
  }

  // LoftQ takes up what is lost where weights are quantised while they are read.
  void RequireQuantizing(const BaseStorage& storage) const {
    for (const AdapterModule& m : spec().modules) {
      const StoredTensor& stored = *bundle_.files.Find(m.path + ".weight");
      const DType held = storage.FormatOf({stored.name, "", stored.shape}).dtype;
      const bool is_quantized = held == DType::kBnb4 || held == DType::kInt8Rows;
      if (is_quantized && stored.dtype != held) continue;
      BadInput(
          "lora.init_lora_weights \"loftq\": {} is {}; what quantising loses is known where method: qlora quantises a "
          "16-bit base while it is read",
          m.path,
          is_quantized ? "quantised in the files already" : "not quantised here, so leave it out of target_modules");
    }
  }

  const ModelBundle& bundle_;
  LoraConfig lora_;
  uint64_t seed_;
  bool shuffle_;
  std::string first_;                      // a folder to go on from
  std::optional<InitialAdapter> initial_;  // where the first values are decomposed weights
};

// The standard deviation of random weights that a config.json asks for. Looked at before anything is written.
double InitializerRange(const std::string& config_path) {
  constexpr double kMost = 1000;
  const nlohmann::json config = ParseJsonFile(config_path);
  const auto range = config.find("initializer_range");
  if (range == config.end() || range->is_null()) return 0.02;  // transformers' default
  if (!range->is_number() || !(range->get<double>() > 0 && range->get<double>() <= kMost)) {
    BadInput("{}: \"initializer_range\" must be a number above 0, at most {:g}, not {}", config_path, kMost,
             range->dump());
  }
  return range->get<double>();
}

class FullMethod : public TrainMethod {
 public:
  FullMethod(const RunConfig& config, const ModelBundle& bundle)
      : bundle_(bundle), from_scratch_(config.init_from_config), seed_(config.training.seed) {
    if (!from_scratch_.empty() && !(config.full.train.empty() && config.full.freeze.empty())) {
      BadInput("full: a model from scratch has random weights, so that none can be frozen; remove train and freeze");
    }
    if (!from_scratch_.empty()) initializer_range_ = InitializerRange(from_scratch_);
    SetSpec(BuildFullSpec(bundle.files.spec(), config.full, "full"));
  }

  void Initialize(Device& device, const TrainableVectors& vectors) const override {
    if (from_scratch_.empty()) return InitializeFromFiles(device, vectors, trainables(), bundle_.files);
    InitializeFromScratch(device, vectors, trainables(), initializer_range_, seed_);
  }
  void Save(Device& device, const TrainableVectors& vectors, const std::string& folder) const override {
    SaveFullModel(device, vectors, trainables(), bundle_.files, folder);
    WriteTextFiles(bundle_, folder);
  }
  void Load(Device& device, const TrainableVectors& vectors, const std::string& folder) const override {
    LoadTrainedFile(device, vectors.value(), trainables(),
                    OpenTrainedFile(trainables(), folder + "/model.safetensors", OtherTensors::kIgnore));
  }
  nlohmann::ordered_json Fingerprint() const override {
    nlohmann::ordered_json names = nlohmann::ordered_json::array();
    for (const TrainableTensor& t : trainables()) names.push_back(t.key);
    return names;
  }
  const char* noun() const override { return "the model"; }

 private:
  const ModelBundle& bundle_;
  std::string from_scratch_;      // a config.json
  double initializer_range_ = 0;  // of its weights
  uint64_t seed_;
};

}  // namespace

void TrainMethod::SetSpec(AdapterSpec spec) {
  spec_ = std::move(spec);
  trainables_ = AdapterTrainables(spec_);
}

std::unique_ptr<TrainMethod> MakeTrainMethod(const RunConfig& config, const ModelBundle& bundle) {
  if (config.method == "full") return std::make_unique<FullMethod>(config, bundle);
  return std::make_unique<LoraMethod>(config, bundle);
}

}  // namespace attune
