#include "app/inspect_job.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "app/bundle.h"
#include "base/error.h"
#include "base/file.h"
#include "base/system.h"
#include "formats/safetensors.h"
#include "models/adapter_model.h"
#include "models/weights.h"
#include "ops/device.h"

namespace attune {
namespace {

nlohmann::ordered_json InspectAdapter(const std::string& folder) {
  const AdapterFolder adapter = AdapterFolder::Open(folder);
  nlohmann::ordered_json json = {{"kind", "adapter"},
                                 {"path", folder},
                                 {"peft_type", "LORA"},
                                 {"base_model_name_or_path", adapter.config.base_model_name_or_path.value_or("")},
                                 {"r", adapter.config.r},
                                 {"lora_alpha", adapter.config.lora_alpha},
                                 {"lora_dropout", adapter.config.lora_dropout}};
  const std::string weights = folder + "/adapter_model.safetensors";
  if (!FileExists(weights)) BadInput("{}: has no adapter_model.safetensors", folder);
  const SafetensorsFile file(weights);
  int64_t parameters = 0;
  for (const TensorView& t : file.tensors()) parameters += ElementCount(t.shape).value_or(0);
  json["tensors"] = file.tensors().size();
  json["parameters"] = parameters;
  json["ignored_keys"] = adapter.config.ignored_keys;
  return json;
}

}  // namespace

nlohmann::ordered_json Inspect(const std::string& path) {
  if (FileExists(path + "/adapter_config.json")) return InspectAdapter(path);
  const ModelBundle bundle = OpenModel(path);
  const ModelSpec& spec = bundle.files.spec();
  nlohmann::ordered_json json = {{"kind", "model"},
                                 {"path", bundle.files.path()},
                                 {"format", bundle.files.is_gguf() ? "gguf" : "safetensors"},
                                 {"architecture", spec.architecture},
                                 {"model_type", spec.model_type}};
  int64_t parameters = 0, bytes = 0;
  std::map<std::string, int64_t> types;
  for (const ExpectedTensor& t : ExpectedTensors(spec)) {
    parameters += ElementCount(t.shape).value_or(0);
    const StoredTensor* stored = bundle.files.Find(t.name);
    bytes += static_cast<int64_t>(stored->bytes.size());
    types[std::string(NameOf(stored->dtype))] += 1;
  }
  json["parameters"] = parameters;
  json["weight_bytes"] = bytes;
  json["tensor_types"] = types;
  json["hidden_size"] = spec.hidden_size;
  json["intermediate_size"] = spec.intermediate_size;
  json["num_hidden_layers"] = spec.num_hidden_layers;
  json["num_attention_heads"] = spec.num_attention_heads;
  json["num_key_value_heads"] = spec.num_key_value_heads;
  json["head_dim"] = spec.head_dim;
  json["vocab_size"] = spec.vocab_size;
  json["max_position_embeddings"] = spec.max_position_embeddings;
  json["tie_word_embeddings"] = spec.tie_word_embeddings;
  json["tokenizer_size"] = bundle.tokenizer != nullptr ? bundle.tokenizer->VocabularySize() : 0;
  json["chat_template"] = bundle.chat_template != nullptr;
  json["end_tokens"] = bundle.eos_ids;
  json["bytes_in_f32"] = ModelWeights::PlannedBytes(spec, {}, BaseStorage(DType::kF32));
  json["ignored_tensors"] = bundle.files.ignored_tensors();
  return json;
}

nlohmann::ordered_json Doctor() {
  const auto device = MakeCpuDevice({});
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  const auto check = [&](const std::string& name, bool ok, const std::string& detail) {
    checks.push_back({{"name", name}, {"ok", ok}, {"detail", detail}});
  };
  check("processor", true, fmt::format("{}, {} threads", CpuName(), device->threads()));
  check("AVX2 and FMA", true, "the least the engine needs");
  check("AVX-512", __builtin_cpu_supports("avx512f") != 0,
        __builtin_cpu_supports("avx512f") != 0 ? "wider f32 kernels are used" : "not there: the AVX2 kernels are used");
  check("bf16 matmul", device->has_bf16(),
        device->has_bf16() ? "AVX512-BF16: training computes in bf16"
                           : "not there: training computes in f32, half as fast");
  const double free = static_cast<double>(AvailableBytes()) / (1 << 30);
  check("memory", free > 2,
        fmt::format("{:.1f} GiB free of {:.1f}", free, static_cast<double>(TotalMemoryBytes()) / (1 << 30)));
  std::error_code error;
  const auto space = std::filesystem::space(".", error);
  const double disk = static_cast<double>(space.available) / (1 << 30);
  check("disk", !error && disk > 1, fmt::format("{:.1f} GiB free here", disk));
  return {{"attune_version", "0.1.0"}, {"checks", checks}};
}

}  // namespace attune
