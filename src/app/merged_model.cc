#include "app/merged_model.h"

#include <algorithm>

#include "app/bundle.h"
#include "app/model_hash.h"
#include "base/error.h"
#include "base/file.h"
#include "store/run_data.h"
#include "store/run_summary.h"

namespace attune {

std::string ModuleOf(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

bool IsQuantized(const StoredTensor& tensor) {
  return tensor.dtype == DType::kBnb4 || tensor.dtype == DType::kInt8Rows;
}

void RequireItsBase(const ModelFiles& files, const std::string& model, const std::string& adapter, bool any_base) {
  const std::string record = adapter + "/run.json";
  if (adapter.empty() || !FileExists(record)) return;
  const nlohmann::ordered_json run = ReadRunJson(record);
  if (FieldText(run, "/settings/lora/init_lora_weights") == "loftq" &&
      !IsQuantized(*files.Find("model.layers.0.self_attn.q_proj.weight"))) {
    BadInput(
        "{}: an adapter that started from loftq makes up for what quantising its base loses, so it belongs to the "
        "quantised "
        "one: write that with attune quantize, and give it here with --any_base",
        record);
  }
  if (any_base) return;
  const nlohmann::ordered_json then = run.value("model", nlohmann::ordered_json::object());
  const nlohmann::ordered_json now = QuickModelHash(model);
  for (const auto& [key, value] : now.items()) {
    if (!then.contains(key) || then[key] == value) continue;
    BadInput(
        "{}: the adapter was trained on another base than {} ({}: {} then, {} now); give that one, or --any_base (a "
        "4-bit "
        "model's adapter onto the 16-bit weights it was made from)",
        record, model, key, then[key].dump(), value.dump());
  }
}

AdapterValues ReadAdapterToMerge(const ModelFiles& files, const std::string& folder) {
  AdapterValues adapter = ReadAdapter(files, folder);
  for (const TrainableTensor& t : adapter.tensors) {
    if (t.kind != TrainableTensor::Kind::kLoraBias || files.Find(t.module + ".bias") != nullptr) continue;
    BadInput(
        "{}: it was trained with lora_bias, and {} of this base has no bias to merge that into: use the adapter beside "
        "the base instead",
        folder, t.module);
  }
  return adapter;
}

bool UntiesHead(const AdapterValues& adapter) {
  return std::any_of(adapter.tensors.begin(), adapter.tensors.end(), [](const TrainableTensor& t) {
    return t.module == "lm_head" || t.module == "model.embed_tokens";
  });
}

std::vector<float> MergedValues(const ModelFiles& files, const AdapterValues& adapter, const std::string& name) {
  const std::string module = ModuleOf(name);
  const bool is_bias = name.ends_with(".bias");
  if (const auto* whole = adapter.Replacement(module, is_bias)) {
    std::vector<float> values = *whole;
    if (is_bias) adapter.MergeBias(module, values);
    return values;
  }
  const std::string embedding = "model.embed_tokens.weight";
  const StoredTensor* stored = files.Find(name);
  if (stored == nullptr) stored = files.Find(embedding);  // a tied head that is no longer tied
  std::vector<float> values(static_cast<size_t>(stored->rows() * stored->columns()));
  files.ReadRows(*stored, 0, stored->rows(), values.data());
  files.DropPages(*stored);
  const AdapterModule* m = is_bias ? nullptr : adapter.FindModule(module);
  if (stored->name == embedding) adapter.PutTokenRows(values);
  if (m != nullptr) adapter.Merge(*m, values);
  if (is_bias) adapter.MergeBias(module, values);
  return values;
}

}  // namespace attune
