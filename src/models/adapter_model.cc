#include "models/adapter_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/torch_random.h"
#include "formats/json.h"

namespace attune {
namespace {

using Kind = TrainableTensor::Kind;

// `rank`: of the adapter that the tensor belongs to.
std::vector<float> FirstValues(const TrainableTensor& t, int64_t rank, const LoraConfig& config,
                               const TokenRows& tokens, const ModelFiles& files, TorchGenerator& generator) {
  std::vector<float> values(static_cast<size_t>(t.rows * t.cols));
  if (t.kind == Kind::kLoraA) {
    if (config.init_lora_weights == LoraConfig::Init::kGaussian) {
      generator.FillNormal(values);
      for (float& value : values) value /= static_cast<float>(t.rows);
    } else {
      generator.FillKaimingUniform(values, t.cols);
    }
  } else if (t.kind == Kind::kLoraB || t.kind == Kind::kLoraBias) {  // a linear layer reads as many as the rank
    if (config.init_lora_weights == LoraConfig::Init::kRandom) generator.FillKaimingUniform(values, rank);
  } else if (t.kind == Kind::kLoraEmbeddingB) {
    generator.FillNormal(values);
  } else if (t.kind == Kind::kTokenRows) {
    const StoredTensor& stored = *files.Find(t.module + ".weight");
    for (size_t i = 0; i < tokens.ids.size(); ++i) {
      files.ReadRows(stored, tokens.ids[i], 1, values.data() + static_cast<int64_t>(i) * t.cols);
    }
  } else if (t.kind != Kind::kLoraEmbeddingA && t.kind != Kind::kMagnitude) {  // these start with zeros
    const std::string name = t.module + (t.kind == Kind::kBias ? ".bias" : ".weight");
    const StoredTensor* stored = files.Find(name);
    if (stored == nullptr) stored = files.Find("model.embed_tokens.weight");  // a tied head
    files.ReadRows(*stored, 0, stored->rows(), values.data());
    files.DropPages(*stored);
  }
  return values;
}

// trainable_token_indices, checked: rows of the input embedding, which nothing else adapts.
TokenRows TokensToTrain(const LoraConfig& config, const ModelSpec& spec, const AdapterSpec& adapter,
                        const std::string& where) {
  const std::string embedding = "model.embed_tokens", key = where + ": trainable_token_indices";
  LoraConfig::Tokens ids;
  if (const auto* list = std::get_if<LoraConfig::Tokens>(&config.trainable_token_indices)) ids = *list;
  if (const auto* by_name = std::get_if<2>(&config.trainable_token_indices)) {
    for (const auto& [name, tokens] : *by_name) {
      if (embedding != name && !embedding.ends_with("." + name)) {
        BadInput("{}: \"{}\" is not the input embedding; only tokens of embed_tokens can be trained", key, name);
      }
      if (!ids.empty()) BadInput("{}: embed_tokens is named twice", key);
      ids = tokens;
    }
  }
  TokenRows trained;
  if (ids.empty()) return trained;
  if (adapter.EmbeddingRank() > 0 || adapter.Trains(embedding + ".weight")) {
    BadInput("{}: embed_tokens is also in {}; leave it out of one of the two", key,
             adapter.EmbeddingRank() > 0 ? "target_modules" : "modules_to_save");
  }
  for (const int64_t id : ids) {
    if (id >= spec.vocab_size) BadInput("{}: {} is outside the model's vocabulary of {}", key, id, spec.vocab_size);
    trained.ids.push_back(static_cast<int32_t>(id));
  }
  trained.width = spec.hidden_size;
  return trained;
}

// What a decomposing initialisation asks of a module; `tied_head`: whether its weight is the embedding's.
void CheckInitialization(const LoraConfig& config, const MatchedModule& match, bool tied_head,
                         const std::string& where) {
  using Init = LoraConfig::Init;
  const ModuleInfo& m = match.module;
  const std::string init = where + ": init_lora_weights " + config.ToJson()["init_lora_weights"].dump();
  const bool orthogonal = config.init_lora_weights == Init::kOrthogonal;
  if (!config.IsWorkedOut()) return;
  if (m.is_embedding) BadInput("{} is for linear layers: leave {} out of target_modules", init, m.path);
  if (orthogonal && match.rank % 2 != 0) BadInput("{} needs an even r, {} has {}", init, m.path, match.rank);
  if (config.init_lora_weights == Init::kEva) return;
  if (tied_head) BadInput("{}: lm_head shares the weight of the embedding here: leave it out of target_modules", init);
  if (match.rank > std::min(m.in, m.out)) {
    BadInput("{}: r {} for {} is more than the {} that its weight ({} x {}) has", init, match.rank, m.path,
             std::min(m.in, m.out), m.out, m.in);
  }
}

void WriteReadme(const LoraConfig& config, const std::string& folder) {
  const std::string base = config.base_model_name_or_path.value_or("");
  std::string text = "---\n";
  if (!base.empty() && !base.starts_with("/") && base.find('/') != std::string::npos)
    text += "base_model: " + base + "\n";
  text += "library_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- attune\n---\n\n";
  text += fmt::format(
      "# A LoRA adapter for {}\n\nTrained with Attune (r {}, lora_alpha {}, lora_dropout {}). Load it with "
      "PEFT's `PeftModel.from_pretrained(model, \"path/to/this/folder\")`.\n",
      base.empty() ? "its base model" : base, config.r, config.lora_alpha, config.lora_dropout);
  if (config.init_lora_weights == LoraConfig::Init::kLoftq) {
    text +=
        "\nIt started from what quantising the base lost (init_lora_weights \"loftq\"), so it belongs to the base "
        "quantised "
        "as it was in training, not to the 16-bit one.\n";
  }
  if (config.ChangesBase()) {
    text += fmt::format(
        "\nIt started from the weights themselves (init_lora_weights {}), taken out of the base while it was "
        "trained. What is saved is the change to the base as it was, so r and lora_alpha in "
        "adapter_config.json are larger than those it was trained with.\n",
        config.ToJson()["init_lora_weights"].dump());
  }
  WriteFileAtomic(folder + "/README.md", text);
}

}  // namespace

std::vector<ModuleInfo> DecoderModules(const ModelSpec& spec) {
  std::vector<ModuleInfo> modules;
  const int64_t h = spec.hidden_size, i = spec.intermediate_size;
  const int64_t q = spec.num_attention_heads * spec.head_dim, kv = spec.num_key_value_heads * spec.head_dim;
  const auto norm = [&](const std::string& path, int64_t width) {
    modules.push_back({path, false, false, false, 1, width});
  };
  modules.push_back({"model.embed_tokens", false, false, true, spec.vocab_size, h});
  const int64_t in[7] = {h, h, h, q, h, h, i}, out[7] = {q, kv, kv, h, i, i, h};
  for (int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    for (int p = 0; p < 7; ++p) modules.push_back({layer + kProjections[p], true, false, false, in[p], out[p]});
    if (spec.qk_norm) {
      norm(layer + "self_attn.q_norm", spec.head_dim);
      norm(layer + "self_attn.k_norm", spec.head_dim);
    }
    norm(layer + "input_layernorm", h);
    norm(layer + "post_attention_layernorm", h);
  }
  norm("model.norm", h);
  modules.push_back({"lm_head", true, true, false, h, spec.vocab_size});
  return modules;
}

AdapterSpec BuildAdapterSpec(const ModelSpec& spec, const LoraConfig& config, const std::string& where,
                             UnknownTargets unknown) {
  const std::vector<ModuleInfo> modules = DecoderModules(spec);
  AdapterSpec adapter;
  adapter.dropout = static_cast<float>(config.lora_dropout);
  adapter.use_dora = config.use_dora;
  adapter.lora_bias = config.lora_bias;
  adapter.changes_base = config.ChangesBase();
  for (const MatchedModule& match : MatchTargets(config, modules, spec.model_type, where, unknown)) {
    const ModuleInfo& m = match.module;
    constexpr int64_t kMaxRank = 4096;  // what the working memory of the matrix product is sized for
    if (match.rank > kMaxRank)
      BadInput("{}: r {} for {} is more than the {} that are supported", where, match.rank, m.path, kMaxRank);
    if ((config.use_dora || config.lora_bias) && m.is_embedding) {
      BadInput("{}: {} with {} among the target_modules is not supported: leave the embedding out", where,
               config.use_dora ? "use_dora" : "lora_bias", m.path);
    }
    CheckInitialization(config, match, m.path == "lm_head" && spec.tie_word_embeddings, where);
    adapter.modules.push_back({m.path, m.in, m.out, match.rank, static_cast<float>(match.scaling), m.is_embedding});
  }
  for (const ModuleInfo& m : MatchModulesToSave(config, modules, where)) {
    using ModuleKind = FullModule::Kind;
    if (m.is_linear || m.is_embedding) {
      adapter.full_modules.push_back(
          {m.path, m.in, m.out, m.is_embedding ? ModuleKind::kEmbedding : ModuleKind::kLinear});
    } else {
      adapter.full_modules.push_back({m.path, m.in, m.out, ModuleKind::kNorm});
    }
  }
  adapter.tokens = TokensToTrain(config, spec, adapter, where);
  if (config.bias == LoraConfig::Bias::kNone) return adapter;
  std::set<std::string> adapted;
  for (const AdapterModule& m : adapter.modules) adapted.insert(m.path);
  for (const ExpectedTensor& t : ExpectedTensors(spec)) {
    if (!t.name.ends_with(".bias")) continue;
    const std::string path = t.name.substr(0, t.name.size() - 5);
    const bool is_adapted = adapted.contains(path);
    if (is_adapted || config.bias == LoraConfig::Bias::kAll) {
      adapter.trained_biases.push_back({path, t.shape[0], is_adapted});
    }
  }
  return adapter;
}

void InitializeTrained(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                       const LoraConfig& config, const TokenRows& tokens, const ModelFiles& files, uint64_t seed) {
  TorchGenerator generator(seed);
  int64_t rank = 0;
  for (const TrainableTensor& t : tensors) {
    if (t.kind == Kind::kLoraA) rank = t.rows;  // which comes first of each adapter's tensors
    UploadTrained(device, vectors.value(), t, FirstValues(t, rank, config, tokens, files, generator));
  }
}

AdapterFolder AdapterFolder::Open(const std::string& path) {
  const std::string file = path + "/adapter_config.json";
  if (!DirectoryExists(path)) BadInput("{}: no such adapter folder", path);
  if (!FileExists(file)) BadInput("{}: not an adapter: it has no adapter_config.json", path);
  return {LoraConfig::FromJson(ParseOrderedJsonFile(file), file), path};
}

std::string AdapterFolder::WeightsPath(const std::string& path) {
  const std::string file = path + "/adapter_model.safetensors";
  if (!FileExists(file)) BadInput("{}: not an adapter: it has no adapter_model.safetensors", path);
  return file;
}

void SaveAdapter(Device& device, const TrainableVectors& vectors, const std::vector<TrainableTensor>& tensors,
                 const LoraConfig& config, const InitialAdapter* initial, const std::string& folder) {
  MakeDirectories(folder);
  const std::string path = folder + "/adapter_model.safetensors";
  if (initial != nullptr) {
    initial->Save(device, vectors, tensors, path);
  } else {
    WriteTrainedFile(device, vectors.value(), tensors, path);
  }
  LoraConfig written = initial != nullptr ? ConvertedConfig(config) : config;
  // PEFT would quantise and decompose again before it loads the values over it.
  if (written.init_lora_weights == LoraConfig::Init::kLoftq) written.init_lora_weights = LoraConfig::Init::kDefault;
  WriteFileAtomic(folder + "/adapter_config.json", written.ToText());
  WriteReadme(config, folder);
}

}  // namespace attune
