#include "app/export_job.h"

#include <algorithm>
#include <cmath>

#include "app/bundle.h"
#include "app/merged_model.h"
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

}  // namespace

// As the first projection is stored, where that is a plain type.
static DType StoredType(const ModelFiles& files) {
  const StoredTensor& first = *files.Find("model.layers.0.self_attn.q_proj.weight");
  const DType type = first.bnb4 ? first.bnb4->state.dtype : first.dtype;  // of a 4-bit one: what it was before
  return type == DType::kBF16 || type == DType::kF16 ? type : DType::kF32;
}

static void CheckDifference(const ExportJob& job, const ModelDifference& d) {
  if (d.mean_kl <= kLargestMeanKl) return;
  Failed(
      "{}: the result is worse than what was trained: its next-token distributions are {:.3g} nats away on {} tokens, "
      "at most "
      "{} is rounding; nothing was written. Use --dtype float32",
      job.output, d.mean_kl, d.tokens, kLargestMeanKl);
}

ExportResult ExportFolder(const ExportJob& job) {
  RequireNewFolder(job.output);
  const ModelBundle bundle = OpenModel(job.model);
  const ModelFiles& files = bundle.files;
  RequireItsBase(files, job.model, job.adapter, job.any_base);
  const DType dtype = job.dtype.value_or(StoredType(files));
  AdapterValues adapter;
  if (!job.adapter.empty()) adapter = ReadAdapterToMerge(files, job.adapter);

  const bool tied = files.spec().tie_word_embeddings && !UntiesHead(adapter);
  std::vector<TensorDeclaration> declarations;
  for (const ExpectedTensor& t : ExpectedTensors(files.spec())) declarations.push_back({t.name, dtype, t.shape});
  if (!tied && files.spec().tie_word_embeddings) {
    declarations.push_back({"lm_head.weight", dtype, {files.spec().vocab_size, files.spec().hidden_size}});
  }
  int64_t bytes = 0;
  for (const TensorDeclaration& declared : declarations) bytes += *ByteCount(declared.dtype, declared.shape);
  RequireDiskSpace(job.output, "the result", bytes);
  const std::vector<std::vector<int32_t>> sequences = TokensToCompare(bundle, job.data);
  DurableFolder folder(job.output);
  ExportResult result{job.output, dtype, 0, 0, static_cast<int64_t>(adapter.spec.modules.size()), {}};
  SafetensorsWriter writer(folder.partial() + "/model.safetensors", declarations);
  for (const TensorDeclaration& declared : writer.order()) {
    const std::vector<float> values = MergedValues(files, adapter, declared.name);
    const float limit = dtype == DType::kF16 ? 65504.0f : INFINITY;
    for (const float value : values) {
      if (!(std::fabs(value) < INFINITY) || std::fabs(value) > limit) {
        BadInput("{}: \"{}\" holds values that are not finite{}; nothing was written", job.model, declared.name,
                 dtype == DType::kF16 ? " in float16: use --dtype bfloat16" : ": the model or its adapter is damaged");
      }
    }
    WriteTensor(writer, declared.name, dtype, values);
    result.tensors += 1;
    result.bytes += BytesOf(dtype, static_cast<int64_t>(values.size()));
    if (job.on_progress) job.on_progress("writing tensors", result.tensors, std::ssize(declarations));
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
