#include "models/full_finetuning.h"

#include <map>
#include <utility>

#include "adapters/python_regex.h"
#include "base/error.h"
#include "base/file.h"
#include "base/torch_random.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "models/hf_config.h"
#include "models/trained_files.h"

namespace attune {
namespace {

using Kind = TrainableTensor::Kind;

// Patterns with a note of which have matched.
class Patterns {
 public:
  Patterns(const std::vector<std::string>& texts, const std::string& where) : texts_(texts), where_(where) {
    for (const std::string& text : texts) {
      expressions_.emplace_back("(?s:.*?)(?:" + text + ")", where);
      used_.push_back(false);
    }
  }

  bool Match(const std::string& name) {
    bool any = false;
    for (size_t i = 0; i < expressions_.size(); ++i) {
      if (!expressions_[i].StartMatch(name)) continue;
      used_[i] = true;
      any = true;
    }
    return any;
  }

  void RefuseUnused(const std::string& example) const {
    for (size_t i = 0; i < texts_.size(); ++i) {
      if (!used_[i]) BadInput("{}: \"{}\" matches no parameter; they have names like {}", where_, texts_[i], example);
    }
  }

 private:
  const std::vector<std::string>& texts_;
  std::string where_;
  std::vector<PythonRegex> expressions_;
  std::vector<bool> used_;
};

std::string WithoutSuffix(const std::string& name) { return name.substr(0, name.rfind('.')); }

}  // namespace

AdapterSpec BuildFullSpec(const ModelSpec& spec, const ParameterPatterns& patterns, const std::string& where) {
  Patterns train(patterns.train, where + ".train"), freeze(patterns.freeze, where + ".freeze");
  AdapterSpec full;
  full.whole_model = true;
  using Module = FullModule::Kind;
  const std::vector<ExpectedTensor> tensors = ExpectedTensors(spec);
  for (const ExpectedTensor& t : tensors) {
    const bool wanted = train.Match(t.name) || patterns.train.empty();
    if (freeze.Match(t.name) || !wanted) continue;
    const std::string path = WithoutSuffix(t.name);
    if (t.name.ends_with(".bias")) {
      full.trained_biases.push_back({path, t.shape[0], false});
    } else if (t.shape.size() == 1) {
      full.full_modules.push_back({path, 1, t.shape[0], Module::kNorm});
    } else if (path == "model.embed_tokens") {
      full.full_modules.push_back({path, t.shape[0], t.shape[1], Module::kEmbedding});
    } else {
      full.full_modules.push_back({path, t.shape[1], t.shape[0], Module::kLinear});
    }
  }
  train.RefuseUnused(tensors.front().name);
  freeze.RefuseUnused(tensors.front().name);
  if (full.full_modules.empty() && full.trained_biases.empty()) BadInput("{}: nothing is left to train", where);
  return full;
}

void InitializeFromFiles(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                         const ModelFiles& files) {
  for (const TrainableTensor& t : tensors) {
    const StoredTensor& stored = *files.Find(t.key);
    std::vector<float> values(static_cast<size_t>(t.rows * t.cols));
    files.ReadRows(stored, 0, stored.rows(), values.data());
    files.DropPages(stored);
    UploadTrained(device, vectors.value(), t, std::move(values));
  }
}

void InitializeFromScratch(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                           double initializer_range, uint64_t seed) {
  TorchGenerator generator(seed);
  for (const TrainableTensor& t : tensors) {
    std::vector<float> values(static_cast<size_t>(t.rows * t.cols), t.kind == Kind::kNorm ? 1.0f : 0.0f);
    if (!t.is_vector()) {
      generator.FillNormal(values);
      for (float& value : values) value *= static_cast<float>(initializer_range);
    }
    UploadTrained(device, vectors.value(), t, std::move(values));
  }
}

void SaveFullModel(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                   const ModelFiles& files, const std::string& folder) {
  std::map<std::string, const TrainableTensor*> trained;
  for (const TrainableTensor& t : tensors) trained[t.key] = &t;
  std::vector<TensorDeclaration> declarations;
  for (const ExpectedTensor& t : ExpectedTensors(files.spec())) declarations.push_back({t.name, DType::kF32, t.shape});
  SafetensorsWriter writer(folder + "/model.safetensors", declarations);
  for (const TensorDeclaration& declared : writer.order()) {
    const auto found = trained.find(declared.name);
    if (found != trained.end()) {
      WriteMatrix(device, TrainableVectors::Of(vectors.value(), *found->second), declared.name, writer);
      continue;
    }
    const StoredTensor& stored = *files.Find(declared.name);
    std::vector<float> values(static_cast<size_t>(stored.rows() * stored.columns()));
    files.ReadRows(stored, 0, stored.rows(), values.data());
    files.DropPages(stored);
    writer.Write(declared.name, std::as_bytes(std::span(values)));
  }
  writer.Commit();
  const std::string config = files.path() + "/config.json";
  const nlohmann::ordered_json source =
      FileExists(config) ? ParseOrderedJsonFile(config) : nlohmann::ordered_json::object();
  WriteFileAtomic(folder + "/config.json",
                  HfConfig(files.spec(), source, DType::kF32, files.spec().tie_word_embeddings).dump(2) + "\n");
}

}  // namespace attune
