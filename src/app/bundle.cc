#include "app/bundle.h"

#include <algorithm>

#include "app/config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/system.h"
#include "formats/json.h"
#include "models/adapter_model.h"
#include "models/decoder.h"
#include "text/tokenizer_export.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_json.h"

namespace attune {
namespace {

void OpenGgufText(ModelBundle* bundle) {
  const GgufFile& file = *bundle->files.gguf();
  const GgufVocabulary vocabulary = ReadGgufVocabulary(file);
  bundle->tokenizer = TokenizerFromGguf(vocabulary);
  const auto name = [&](const char* key, const std::optional<int64_t>& id) {
    if (id) bundle->special_tokens[key] = bundle->tokenizer->IdToToken(static_cast<int32_t>(*id));
  };
  name("bos_token", vocabulary.bos_id);
  name("eos_token", vocabulary.eos_id);
  name("unk_token", vocabulary.unk_id);
  if (const auto source = file.String("tokenizer.chat_template")) {
    bundle->chat_template = std::make_shared<const ChatTemplate>(
        ChatTemplate::Parse(*source, bundle->files.path() + ": tokenizer.chat_template"));
  }
}

void OpenFolderText(const std::string& folder, ModelBundle* bundle) {
  bundle->text_folder = folder;
  const std::string path = folder + "/tokenizer.json";
  if (!FileExists(path)) return;
  bundle->tokenizer = TokenizerFromJson(MappedFile(path).text(), path);
  FolderChat chat = LoadFolderChat(folder);
  bundle->special_tokens = std::move(chat.special_tokens);
  if (chat.chat_template) bundle->chat_template = std::make_shared<const ChatTemplate>(std::move(*chat.chat_template));
}

// An adapter that PEFT saved without converting it belongs to a base less its first values, which an exact
// decomposition finds again.
void ConvertToUntouchedBase(const ModelFiles& files, const LoraConfig& config, const std::string& folder,
                            AdapterValues* adapter) {
  if (config.pissa_iterations > 0) {
    BadInput(
        "{}: init_lora_weights {}: its first values were drawn at random, so the base it belongs to cannot be made "
        "again; "
        "save it from PEFT with path_initial_model_for_weight_conversion",
        folder, config.ToJson()["init_lora_weights"].dump());
  }
  const InitialAdapter initial =
      InitialAdapter::FromWeights(files, adapter->spec, config, 0, static_cast<int>(CpuCount()));
  for (size_t i = 0; i < adapter->tensors.size(); ++i) {
    adapter->values[i] = initial.Converted(adapter->tensors[i], std::move(adapter->values[i]));
  }
  adapter->spec = BuildAdapterSpec(files.spec(), ConvertedConfig(config), folder, UnknownTargets::kIgnore);
  adapter->tensors = AdapterTrainables(adapter->spec);
}

// Every token that may end an answer: the model's, generation_config.json's, the tokenizer's.
void CollectEndTokens(ModelBundle* bundle) {
  std::vector<int32_t>& ids = bundle->eos_ids;
  // One that the model cannot predict (some files say -1) ends nothing.
  const auto add = [&](int64_t id) {
    if (id >= 0 && id < bundle->files.spec().vocab_size) ids.push_back(static_cast<int32_t>(id));
  };
  for (const int64_t id : bundle->files.spec().eos_token_ids) add(id);
  const std::string path = bundle->files.path() + "/generation_config.json";
  if (!bundle->files.is_gguf() && FileExists(path)) {
    const nlohmann::json eos = ParseJsonObjectFile(path).value("eos_token_id", nlohmann::json());
    for (const auto& id : eos.is_array() || eos.is_null() ? eos : nlohmann::json::array({eos})) {
      if (!id.is_number_integer()) BadInput("{}: eos_token_id must be a token's number or a list of them", path);
      add(id.get<int64_t>());
    }
  }
  const auto named = bundle->special_tokens.find("eos_token");
  if (named != bundle->special_tokens.end() && bundle->tokenizer != nullptr) {
    if (const auto id = bundle->tokenizer->TokenToId(named->second)) ids.push_back(*id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

}  // namespace

void NoTokenizer::Refuse() const {
  BadInput("{}: has no tokenizer (tokenizer.json), so text cannot be read; use rows of input_ids", where_);
}

const Tokenizer& ModelBundle::RequireTokenizer() const {
  if (tokenizer == nullptr) BadInput("{}: has no tokenizer (tokenizer.json)", files.path());
  return *tokenizer;
}

std::string ModelBundle::eos_token() const {
  const auto found = special_tokens.find("eos_token");
  return found == special_tokens.end() ? "" : found->second;
}

ChatFormat ModelBundle::chat_format() const {
  return chat_template == nullptr ? ChatFormat{} : MakeChatFormat(chat_template, special_tokens);
}

ModelPaths ModelPathsOf(const RunConfig& config) {
  return {config.model, config.init_from_config, config.tokenizer, config.chat_template};
}

ModelBundle OpenModel(const ModelPaths& paths) {
  ModelBundle bundle{
      paths.init_from_config.empty() ? ModelFiles::Open(paths.model) : ModelFiles::FromConfig(paths.init_from_config),
      nullptr,
      nullptr,
      "",
      "",
      {},
      {}};
  if (!paths.tokenizer.empty()) {
    if (!FileExists(paths.tokenizer + "/tokenizer.json")) {
      BadInput("model.tokenizer {}: no folder with a tokenizer.json in it", paths.tokenizer);
    }
    OpenFolderText(paths.tokenizer, &bundle);
  } else if (!bundle.files.is_gguf()) {
    OpenFolderText(bundle.files.path(), &bundle);
  } else if (bundle.files.gguf()->Find("tokenizer.ggml.model") != nullptr) {
    OpenGgufText(&bundle);  // a GGUF file without a vocabulary is still a model: ready tokens can be trained on
  }
  if (!paths.chat_template.empty()) {
    bundle.chat_template_source = ReadFile(paths.chat_template);
    bundle.chat_template =
        std::make_shared<const ChatTemplate>(ChatTemplate::Parse(bundle.chat_template_source, paths.chat_template));
  }
  if (bundle.tokenizer != nullptr && bundle.tokenizer->VocabularySize() > bundle.files.spec().vocab_size &&
      !paths.init_from_config.empty()) {
    BadInput("{}: vocab_size {} is less than the tokenizer's {}", paths.init_from_config,
             bundle.files.spec().vocab_size, bundle.tokenizer->VocabularySize());
  }
  CollectEndTokens(&bundle);
  return bundle;
}

void WriteTextFiles(const ModelBundle& bundle, const std::string& folder) {
  if (!bundle.text_folder.empty()) {
    for (const char* name :
         {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
          "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "generation_config.json"}) {
      const std::string from = bundle.text_folder + "/" + name;
      if (FileExists(from)) WriteFileAtomic(folder + "/" + name, ReadFile(from));
    }
  } else if (bundle.tokenizer != nullptr) {
    WriteTokenizerFiles(*bundle.files.gguf(), folder);
  }
  if (!bundle.chat_template_source.empty())
    WriteFileAtomic(folder + "/chat_template.jinja", bundle.chat_template_source);
}

AdapterValues ReadAdapter(const ModelFiles& files, const std::string& folder) {
  const LoraConfig config = AdapterFolder::Open(folder).config;
  AdapterValues adapter;
  adapter.spec = BuildAdapterSpec(files.spec(), config, folder, UnknownTargets::kIgnore);
  adapter.tensors = AdapterTrainables(adapter.spec);
  adapter.values =
      ReadTrainedValues(adapter.tensors, OpenTrainedFile(adapter.tensors, AdapterFolder::WeightsPath(folder)));
  if (adapter.spec.changes_base) ConvertToUntouchedBase(files, config, folder, &adapter);
  return adapter;
}

}  // namespace attune
