#include "plan/planned_model.h"

#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "models/model_files.h"
#include "plan/embedded.h"
#include "plan/named_entry.h"

namespace attune {
namespace {

int64_t BlockParameters(const ModelSpec& spec) {
  int64_t total = 0;
  for (const ExpectedTensor& t : ExpectedTensors(spec)) total += ElementCount(t.shape).value_or(0);
  return total;
}

// "" or why the engine refuses the family: asked of the engine itself, so that the catalogue need not be told when it
// learns one.
std::string Lacking(const nlohmann::json& config, const std::string& name) {
  try {
    RefuseWhatTheDecoderLacks(ModelSpec::FromConfig(config, name));
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

CatalogueModel ReadModel(const nlohmann::json& j) {
  CatalogueModel m;
  m.name = j.at("name");
  ModelSpec& s = m.spec;
  s.model_type = j.at("model_type");
  s.vocab_size = j.at("vocab_size");
  s.hidden_size = j.at("hidden_size");
  s.intermediate_size = j.at("intermediate_size");
  if (j.contains("num_experts_per_tok")) {
    s.intermediate_size = j.at("num_experts_per_tok").get<int64_t>() * j.at("moe_intermediate_size").get<int64_t>();
  }
  s.num_hidden_layers = j.at("num_hidden_layers");
  s.num_attention_heads = j.at("num_attention_heads");
  s.num_key_value_heads = j.at("num_key_value_heads");
  s.head_dim = j.at("head_dim");
  s.max_position_embeddings = j.at("max_position_embeddings");
  s.tie_word_embeddings = j.at("tie_word_embeddings");
  s.qkv_bias = j.value("qkv_bias", false);
  s.o_bias = j.value("output_bias", false);
  s.mlp_bias = j.value("mlp_bias", false);
  s.qk_norm = j.value("qk_norm", false);
  const auto layers = static_cast<size_t>(s.num_hidden_layers);
  s.sliding_window.assign(layers, 0);
  s.uses_rope.assign(layers, true);
  m.parameters = j.at("parameters");
  m.licence = j.at("licence").is_string() ? j.at("licence").get<std::string>() : "";
  m.source = j.at("source").is_string() ? j.at("source").get<std::string>() : "";
  m.verified = j.at("verified");
  m.recalled = j.at("recalled").get<std::vector<std::string>>();
  return m;
}

PlannedModel FromCatalogue(const CatalogueModel& m) {
  nlohmann::json config;
  for (const nlohmann::json& j : ParseJson(EmbeddedModels(), "catalogue/models.json")) {
    if (j.at("name") == m.name) config = j;
  }
  PlannedModel planned;
  planned.name = m.name;
  planned.source = "catalogue: " + m.source;
  planned.spec = m.spec;
  planned.other_parameters = m.parameters - BlockParameters(m.spec);
  planned.lacking = Lacking(config, m.name);
  planned.recalled = m.recalled;
  return planned;
}

PlannedModel FromConfigFile(const std::string& name, const std::string& path) {
  PlannedModel planned = ModelOfSpec(name, ModelSpec::FromConfig(ParseJsonFile(path), path));
  planned.source = path;
  for (const std::string& file : ListDirectory(ParentOf(path))) {
    if (file.ends_with(".safetensors")) planned.stored_bytes += FileSize(ParentOf(path) + "/" + file);
  }
  return planned;
}

PlannedModel FromGgufFile(const std::string& path) {
  PlannedModel planned = ModelOfSpec(path, ModelSpec::FromGguf(GgufFile(path)));
  planned.source = path;
  planned.stored_bytes = FileSize(path);
  return planned;
}

}  // namespace

const std::vector<CatalogueModel>& ModelCatalogue() {
  static const std::vector<CatalogueModel> models = [] {
    std::vector<CatalogueModel> read;
    for (const nlohmann::json& j : ParseJson(EmbeddedModels(), "catalogue/models.json")) read.push_back(ReadModel(j));
    return read;
  }();
  return models;
}

int64_t PlannedModel::parameters() const { return BlockParameters(spec) + other_parameters; }

PlannedModel ModelOfSpec(const std::string& name, const ModelSpec& spec) {
  PlannedModel planned;
  planned.name = planned.source = name;
  planned.spec = spec;
  try {
    RefuseWhatTheDecoderLacks(spec);
  } catch (const Error& error) {
    planned.lacking = error.what();
  }
  return planned;
}

PlannedModel FindModel(const std::string& name) {
  if (name.empty())
    BadInput("--model is missing: a model folder, a config.json, a .gguf file, org/name or a name of the catalogue");
  if (name.ends_with(".gguf") && FileExists(name)) return FromGgufFile(name);
  if (name.ends_with(".json") && FileExists(name)) return FromConfigFile(name, name);
  if (FileExists(name + "/config.json")) return FromConfigFile(name, name + "/config.json");
  if (const std::string folder = FindInHubCache(name); !folder.empty() && FileExists(folder + "/config.json")) {
    return FromConfigFile(name, folder + "/config.json");
  }
  if (const CatalogueModel* model = FindNamed(ModelCatalogue(), name)) return FromCatalogue(*model);
  std::vector<std::string> names = NamesOf(ModelCatalogue());
  for (const CatalogueModel& model : ModelCatalogue()) names.push_back(BaseName(model.name));
  const std::string nearest = NearestName(name, names);
  BadInput("{}: no model folder, .gguf file, model of the Hugging Face cache or name of the catalogue{}", name,
           nearest.empty() ? " (attune plan --list shows its names)" : "; did you mean \"" + nearest + "\"?");
}

}  // namespace attune
