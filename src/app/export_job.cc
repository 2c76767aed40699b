#include "app/export_job.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "app/bundle.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "models/adapter_model.h"
#include "models/hf_config.h"
#include "quant/float16.h"
#include "text/tokenizer_export.h"

namespace attune {
namespace {

namespace fs = std::filesystem;
using Kind = TrainableTensor::Kind;

const std::vector<float>* FindValues(const AdapterValues& adapter, const std::string& module, Kind kind) {
  for (size_t i = 0; i < adapter.tensors.size(); ++i) {
    if (adapter.tensors[i].module == module && adapter.tensors[i].kind == kind) return &adapter.values[i];
  }
  return nullptr;
}

const AdapterModule* FindModule(const AdapterValues& adapter, const std::string& path) {
  for (const AdapterModule& m : adapter.spec.modules) {
    if (m.path == path) return &m;
  }
  return nullptr;
}

// w (out, in) += scale B A, in f32 (PEFT's merge).
void AddLowRank(const AdapterModule& m, const AdapterValues& adapter, std::vector<float>& w) {
  const std::vector<float>& a = *FindValues(adapter, m.path, Kind::kLoraA);
  const std::vector<float>& b = *FindValues(adapter, m.path, Kind::kLoraB);
  std::vector<float> delta(static_cast<size_t>(m.in));
  for (int64_t i = 0; i < m.out; ++i) {
    std::fill(delta.begin(), delta.end(), 0.0f);
    for (int64_t r = 0; r < m.rank; ++r) {
      const float factor = b[static_cast<size_t>(i * m.rank + r)];
      const float* row = a.data() + r * m.in;
      for (int64_t j = 0; j < m.in; ++j) delta[static_cast<size_t>(j)] += factor * row[j];
    }
    float* out = w.data() + i * m.in;
    for (int64_t j = 0; j < m.in; ++j) out[j] += m.scale * delta[static_cast<size_t>(j)];
  }
}

// IEEE binary16, nearest even; beyond its range the value becomes infinite and the finite check speaks up.
uint16_t HalfFromFloat(float value) { return std::bit_cast<uint16_t>(static_cast<_Float16>(value)); }

void WriteTensor(SafetensorsWriter& writer, const std::string& name, DType dtype, const std::vector<float>& values) {
  if (dtype == DType::kF32) return writer.Write(name, std::as_bytes(std::span(values)));
  std::vector<uint16_t> narrow(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    narrow[i] = dtype == DType::kBF16 ? FloatToBf16(values[i]) : HalfFromFloat(values[i]);
  }
  writer.Write(name, std::as_bytes(std::span(narrow)));
}

std::string ModuleOf(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

// The values of one tensor of the result.
std::vector<float> MergedValues(const ModelFiles& files, const AdapterValues& adapter, const std::string& name) {
  const std::string module = ModuleOf(name);
  const bool is_bias = name.ends_with(".bias");
  if (const auto* whole = FindValues(adapter, module, is_bias ? Kind::kBias : Kind::kFullWeight)) return *whole;
  const StoredTensor* stored = files.Find(name);
  if (stored == nullptr) stored = files.Find("model.embed_tokens.weight");  // a tied head that is no longer tied
  std::vector<float> values(static_cast<size_t>(stored->rows() * stored->columns()));
  files.ReadRows(*stored, 0, stored->rows(), values.data());
  files.DropPages(*stored);
  const AdapterModule* m = is_bias ? nullptr : FindModule(adapter, module);
  if (m != nullptr) AddLowRank(*m, adapter, values);
  return values;
}

void CopyText(const ModelBundle& bundle, const std::string& output) {
  if (bundle.files.is_gguf()) {
    if (bundle.tokenizer != nullptr) WriteTokenizerFiles(*bundle.files.gguf(), output);
    return;
  }
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
                           "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "generation_config.json"}) {
    const std::string from = bundle.files.path() + "/" + name;
    if (FileExists(from)) WriteFileAtomic(output + "/" + name, ReadFile(from));
  }
}

}  // namespace

// As the first projection is stored, where that is a plain type.
static DType StoredType(const ModelFiles& files) {
  const DType type = files.Find("model.layers.0.self_attn.q_proj.weight")->dtype;
  return type == DType::kBF16 || type == DType::kF16 ? type : DType::kF32;
}

ExportResult ExportFolder(const ExportJob& job) {
  std::error_code error;
  if (fs::exists(job.output, error) && !(fs::is_directory(job.output, error) && fs::is_empty(job.output, error))) {
    BadInput("{}: exists already; name a new folder", job.output);
  }
  const ModelBundle bundle = OpenModel(job.model);
  const ModelFiles& files = bundle.files;
  const DType dtype = job.dtype.value_or(StoredType(files));
  AdapterValues adapter;
  if (!job.adapter.empty()) adapter = ReadAdapter(files, job.adapter);

  // A head or embedding of its own unties what was tied.
  bool tied = files.spec().tie_word_embeddings;
  for (const TrainableTensor& t : adapter.tensors) {
    if (t.module == "lm_head" || t.module == "model.embed_tokens") tied = false;
  }
  std::vector<TensorDeclaration> declarations;
  for (const ExpectedTensor& t : ExpectedTensors(files.spec())) declarations.push_back({t.name, dtype, t.shape});
  if (!tied && files.spec().tie_word_embeddings) {
    declarations.push_back({"lm_head.weight", dtype, {files.spec().vocab_size, files.spec().hidden_size}});
  }
  MakeDirectories(job.output);
  ExportResult result{job.output, dtype, 0, 0, static_cast<int64_t>(adapter.spec.modules.size())};
  SafetensorsWriter writer(job.output + "/model.safetensors", declarations);
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
  WriteFileAtomic(job.output + "/config.json", HfConfig(files.spec(), source, dtype, tied).dump(2) + "\n");
  CopyText(bundle, job.output);
  return result;
}

}  // namespace attune
