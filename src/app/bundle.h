// A model opened for use: its files, its tokenizer and its chat template, whether it came as a folder or as a GGUF
// file.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/encode.h"
#include "models/inference.h"
#include "models/model_files.h"
#include "text/chat_renderer.h"
#include "text/tokenizer.h"

namespace attune {

// Stands in where a model folder has no tokenizer: rows of ready tokens need none, and text is refused.
class NoTokenizer : public Tokenizer {
 public:
  explicit NoTokenizer(std::string where) : where_(std::move(where)) {}
  std::vector<int32_t> Encode(std::string_view, bool) const override { Refuse(); }
  std::string Decode(std::span<const int32_t>, bool) const override { Refuse(); }
  std::optional<int32_t> TokenToId(std::string_view) const override { return std::nullopt; }
  std::string IdToToken(int32_t) const override { return ""; }
  bool IsSpecial(int32_t) const override { return false; }
  int32_t VocabularySize() const override { return 0; }

 private:
  [[noreturn]] void Refuse() const;
  std::string where_;
};

struct ModelBundle {
  ModelFiles files;
  std::unique_ptr<Tokenizer> tokenizer;               // null where a folder has no tokenizer.json
  std::shared_ptr<const ChatTemplate> chat_template;  // null: none
  std::string text_folder;                            // where the tokenizer came from; empty: a GGUF file
  std::string chat_template_source;                   // of a template that was given apart from the model; else empty
  SpecialTokens special_tokens;                       // bos_token, eos_token, ...
  std::vector<int32_t> eos_ids;                       // tokens that end a generation

  // Errors: Error{kBadInput} naming what is missing.
  const Tokenizer& RequireTokenizer() const;

  std::string eos_token() const;
  ChatFormat chat_format() const;  // empty without a template
};

// Where the parts of a model come from.
struct ModelPaths {
  std::string model;             // folder, .gguf file or org/name
  std::string init_from_config;  // instead of it: a config.json to train from scratch
  std::string tokenizer;         // a folder; empty: the model's own
  std::string chat_template;     // a .jinja file; empty: the model's own
};
struct RunConfig;
ModelPaths ModelPathsOf(const RunConfig& config);

ModelBundle OpenModel(const ModelPaths& paths);
inline ModelBundle OpenModel(const std::string& name_or_path) {
  return OpenModel(ModelPaths{name_or_path, "", "", ""});
}

// Writes tokenizer, chat template and generation settings into an existing folder, as the model has them.
void WriteTextFiles(const ModelBundle& bundle, const std::string& folder);

// An adapter's values on the host, checked against the model. Errors: Error{kBadInput} as LoadTrained.
AdapterValues ReadAdapter(const ModelFiles& files, const std::string& folder);

}  // namespace attune
