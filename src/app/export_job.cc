#include "app/export_job.h"

#include <algorithm>
#include <cmath>

#include "app/bundle.h"
#include "app/model_hash.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/durable_folder.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "models/adapter_model.h"
#include "models/hf_config.h"
#include "quant/float16.h"

namespace attune {
namespace {

void WriteTensor(SafetensorsWriter& writer, const std::string& name, DType dtype, const std::vector<float>& values) {
  if (dtype == DType::kF32) return writer.Write(name, std::as_bytes(std::span(values)));
  std::vector<uint16_t> narrow(values.size());
  NarrowFloats(values.data(), std::ssize(values), dtype, narrow.data());
  writer.Write(name, std::as_bytes(std::span(narrow)));
}

std::string ModuleOf(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

// The values of one tensor of the result.
std::vector<float> MergedValues(const ModelFiles& files, const AdapterValues& adapter, const std::string& name) {
  const std::string module = ModuleOf(name);
  const bool is_bias = name.ends_with(".bias");
  if (const auto* whole = adapter.Replacement(module, is_bias)) return *whole;
  const std::string embedding = "model.embed_tokens.weight";
  const StoredTensor* stored = files.Find(name);
  if (stored == nullptr) stored = files.Find(embedding);  // a tied head that is no longer tied
  std::vector<float> values(static_cast<size_t>(stored->rows() * stored->columns()));
  files.ReadRows(*stored, 0, stored->rows(), values.data());
  files.DropPages(*stored);
  const AdapterModule* m = is_bias ? nullptr : adapter.FindModule(module);
  if (stored->name == embedding) adapter.PutTokenRows(values);
  if (m != nullptr) adapter.Merge(*m, values);
  return values;
}

}  // namespace

// As the first projection is stored, where that is a plain type.
static DType StoredType(const ModelFiles& files) {
  const StoredTensor& first = *files.Find("model.layers.0.self_attn.q_proj.weight");
  const DType type = first.bnb4 ? first.bnb4->state.dtype : first.dtype;  // of a 4-bit one: what it was before
  return type == DType::kBF16 || type == DType::kF16 ? type : DType::kF32;
}

// An adapter's numbers mean something on the base they were trained on; run.json beside it says which that was.
static void CheckBase(const ExportJob& job) {
  const std::string record = job.adapter + "/run.json";
  if (job.adapter.empty() || job.any_base || !FileExists(record)) return;
  const nlohmann::ordered_json then = ParseOrderedJsonFile(record).value("model", nlohmann::ordered_json::object());
  const nlohmann::ordered_json now = QuickModelHash(job.model);
  for (const auto& [key, value] : now.items()) {
    if (!then.contains(key) || then[key] == value) continue;
    BadInput("{}: the adapter was trained on another base than {} ({}: {} then, {} now); give that one, or --any_base (a 4-bit "
             "model's adapter onto the 16-bit weights it was made from)",
             record, job.model, key, then[key].dump(), value.dump());
  }
}

static void CheckDifference(const ExportJob& job, const ModelDifference& d) {
  if (d.mean_kl <= kLargestMeanKl) return;
  Failed("{}: the result is worse than what was trained: its next-token distributions are {:.3g} nats away on {} tokens, at most "
         "{} is rounding; nothing was written. Use --dtype float32", job.output, d.mean_kl, d.tokens, kLargestMeanKl);
}

ExportResult ExportFolder(const ExportJob& job) {
  RequireNewFolder(job.output);
  CheckBase(job);
  const ModelBundle bundle = OpenModel(job.model);
  const ModelFiles& files = bundle.files;
  const DType dtype = job.dtype.value_or(StoredType(files));
  AdapterValues adapter;
  if (!job.adapter.empty()) adapter = ReadAdapter(files, job.adapter);

  // A head or embedding of its own unties what was tied.
  bool tied = files.spec().tie_word_embeddings;
  for (const TrainableTensor& t : adapter.tensors) {
    if (t.kind == TrainableTensor::Kind::kTokenRows) continue;
    if (t.module == "lm_head" || t.module == "model.embed_tokens") tied = false;
  }
  std::vector<TensorDeclaration> declarations;
  for (const ExpectedTensor& t : ExpectedTensors(files.spec())) declarations.push_back({t.name, dtype, t.shape});
  if (!tied && files.spec().tie_word_embeddings) {
    declarations.push_back({"lm_head.weight", dtype, {files.spec().vocab_size, files.spec().hidden_size}});
  }
  const std::vector<std::vector<int32_t>> sequences = TokensToCompare(bundle, job.data);
  DurableFolder folder(job.output);
  ExportResult result{job.output, dtype, 0, 0, static_cast<int64_t>(adapter.spec.modules.size()), {}};
  SafetensorsWriter writer(folder.partial() + "/model.safetensors", declarations);
  for (const TensorDeclaration& declared : writer.order()) {
    const std::vector<float> values = MergedValues(files, adapter, declared.name);
    const float limit = dtype == DType::kF16 ? 65504.0f : INFINITY;
    for (const float value : values) {
      if (!(std::fabs(value) < INFINITY) || std::fabs(value) > limit) {
        Failed("{}: merged values are not finite{}; nothing was written", declared.name,
               dtype == DType::kF16 ? " in float16: use --dtype bfloat16" : "");
      }
    }
    WriteTensor(writer, declared.name, dtype, values);
    result.tensors += 1;
    result.bytes += BytesOf(dtype, static_cast<int64_t>(values.size()));
  }
  writer.Commit();
  const nlohmann::ordered_json source =
      files.is_gguf() ? nlohmann::ordered_json::object() : ParseOrderedJsonFile(files.path() + "/config.json");
  WriteFileAtomic(folder.partial() + "/config.json", HfConfig(files.spec(), source, dtype, tied).dump(2) + "\n");
  WriteTextFiles(bundle, folder.partial());
  result.difference = CompareModels(files, job.adapter, ModelFiles::Open(folder.partial()), sequences);
  CheckDifference(job, result.difference);
  folder.Commit();
  return result;
}

}  // namespace attune
