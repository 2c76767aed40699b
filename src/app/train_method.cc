#include "app/train_method.h"

#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "models/adapter_model.h"
#include "models/decoder.h"
#include "models/full_finetuning.h"

namespace attune {
namespace {

class LoraMethod : public TrainMethod {
 public:
  LoraMethod(const RunConfig& config, const ModelBundle& bundle)
      : bundle_(bundle), lora_(config.lora), seed_(config.training.seed), first_(config.adapter) {
    const ModelSpec& spec = bundle.files.spec();
    if (!first_.empty()) {
      if (config.source.contains("lora")) {
        BadInput("model.adapter {}: its own adapter_config.json counts; remove the section lora", first_);
      }
      lora_ = AdapterFolder::Open(first_).config;
    }
    if (!lora_.task_type) lora_.task_type = "CAUSAL_LM";
    lora_ = ResolveTargets(lora_, DecoderModules(spec), spec.model_type);
    if (!lora_.base_model_name_or_path) lora_.base_model_name_or_path = bundle.files.base_name();
    SetSpec(BuildAdapterSpec(spec, lora_, "lora"));
    if (!first_.empty()) OpenTrainedFile(trainables(), AdapterFolder::WeightsPath(first_));  // refused before anything is written
  }

  void Initialize(Device& device, const TrainableVectors& vectors) const override {
    if (!first_.empty()) return Load(device, vectors, first_);
    InitializeTrained(device, vectors, trainables(), lora_, bundle_.files, seed_);
  }
  void FinishInitialization(Decoder& decoder) const override {
    if (first_.empty()) decoder.InitializeMagnitudes();
  }
  void Save(Device& device, const TrainableVectors& vectors, const std::string& folder) const override {
    SaveAdapter(device, vectors, trainables(), lora_, folder);
    WriteTextFiles(bundle_, folder);
  }
  void Load(Device& device, const TrainableVectors& vectors, const std::string& folder) const override {
    LoadTrainedFile(device, vectors.value(), trainables(), OpenTrainedFile(trainables(), AdapterFolder::WeightsPath(folder)));
  }
  nlohmann::ordered_json Fingerprint() const override { return nlohmann::ordered_json::parse(lora_.ToText()); }
  const char* noun() const override { return "the adapter"; }

 private:
  const ModelBundle& bundle_;
  LoraConfig lora_;
  uint64_t seed_;
  std::string first_;  // a folder to go on from
};

class FullMethod : public TrainMethod {
 public:
  FullMethod(const RunConfig& config, const ModelBundle& bundle)
      : bundle_(bundle), from_scratch_(config.init_from_config), seed_(config.training.seed) {
    if (!from_scratch_.empty() && !(config.full.train.empty() && config.full.freeze.empty())) {
      BadInput("full: a model from scratch has random weights, so that none can be frozen; remove train and freeze");
    }
    SetSpec(BuildFullSpec(bundle.files.spec(), config.full, "full"));
  }

  void Initialize(Device& device, const TrainableVectors& vectors) const override {
    if (from_scratch_.empty()) return InitializeFromFiles(device, vectors, trainables(), bundle_.files);
    const double range = ParseJsonFile(from_scratch_).value("initializer_range", 0.02);  // transformers' default
    InitializeFromScratch(device, vectors, trainables(), range, seed_);
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
  std::string from_scratch_;  // a config.json
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
