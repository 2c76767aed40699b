#include "text/tokenizer_export.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "text/tokenizer_gguf.h"
#include "text/tokenizer_gguf_rules.h"
#include "text/unicode.h"

namespace attune {
namespace {

using Json = nlohmann::ordered_json;

// tokenizer.json, written as it is made: as a document in memory it would take many times the GGUF file's
// tables.
class Output {
 public:
  explicit Output(const std::string& path) : file_(path) {}

  Output& operator<<(std::string_view text) {
    buffer_ += text;
    if (buffer_.size() >= kBufferBytes) Flush();
    return *this;
  }
  void Commit() {
    Flush();
    file_.Commit();
  }

 private:
  static constexpr size_t kBufferBytes = 1 << 18;
  void Flush() {
    file_.Write(buffer_);
    buffer_.clear();
  }

  AtomicFile file_;
  std::string buffer_;
};

// What stands between the entries of a list: nothing before the first.
class Comma {
 public:
  explicit Comma(std::string_view indent) : line_(",\n" + std::string(indent)) {}
  std::string_view Next() {
    const std::string_view line = line_;
    return std::exchange(first_, false) ? line.substr(1) : line;
  }

 private:
  std::string line_;
  bool first_ = true;
};

std::string Quoted(std::string_view text) { return Json(text).dump(); }

Json ByteLevel(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

Json Replace(std::string_view text, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{"String", text}}}, {"content", content}};
}

// The parts around the model, as TokenizerFromGguf puts them together.
struct Pipeline {
  Json normalizer, pre_tokenizer, decoder, model;
  bool add_bos = false;         // where the file does not say
  bool byte_post_step = false;  // a post-processor that mends offsets
};

bool AddsPrefixSpace(const GgufVocabulary& v) {
  return v.model == "gpt2" && FindSplitRule(v).patterns[0].empty() && v.add_space_prefix.value_or(false);
}

Json BpeSettings(const Json& unk_token, bool byte_fallback, bool ignore_merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unk_token},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", byte_fallback},
          {"byte_fallback", byte_fallback},
          {"ignore_merges", ignore_merges}};
}

Json UnigramSettings(const GgufVocabulary& v) {
  return {{"type", "Unigram"}, {"unk_id", CheckedId(v, "unknown_token_id", v.unk_id)}, {"byte_fallback", true}};
}

Pipeline ByteLevelPipeline(const GgufVocabulary& v) {
  const SplitRule& rule = FindSplitRule(v);
  Json splits = Json::array();
  for (const std::string_view pattern : rule.patterns) {
    if (pattern.empty()) continue;
    splits.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  const bool own_patterns = !splits.empty();
  if (rule.single_digits) splits.push_back({{"type", "Digits"}, {"individual_digits", true}});
  splits.push_back(ByteLevel(AddsPrefixSpace(v), true, !own_patterns));
  Pipeline pipeline;
  if (rule.nfc) pipeline.normalizer = {{"type", "NFC"}};
  // transformers looks for add_prefix_space in a pre-tokenizer that stands alone.
  pipeline.pre_tokenizer =
      splits.size() == 1 ? splits[0] : Json{{"type", "Sequence"}, {"pretokenizers", std::move(splits)}};
  pipeline.decoder = ByteLevel(true, true, true);
  pipeline.model = BpeSettings(nullptr, false, rule.ignore_merges);
  pipeline.add_bos = rule.add_bos;
  pipeline.byte_post_step = true;
  return pipeline;
}

Pipeline SentencePiecePipeline(const GgufVocabulary& v) {
  const bool add_space = v.add_space_prefix.value_or(true);
  Json normalizers = Json::array(), decoders = Json::array();
  if (add_space) normalizers.push_back({{"type", "Prepend"}, {"prepend", kMetaspace}});
  normalizers.push_back(Replace(" ", kMetaspace));
  decoders.push_back(Replace(kMetaspace, " "));
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (add_space) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  Json unk_token;
  if (v.unk_id) unk_token = v.tokens[CheckedId(v, "unknown_token_id", v.unk_id)];
  Pipeline pipeline;
  pipeline.normalizer = {{"type", "Sequence"}, {"normalizers", std::move(normalizers)}};
  pipeline.decoder = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
  pipeline.model = v.model == "t5" ? UnigramSettings(v) : BpeSettings(unk_token, true, false);
  pipeline.add_bos = true;
  return pipeline;
}

// null when nothing is added to a text.
Json TemplateProcessor(const GgufVocabulary& v, bool add_bos) {
  const std::vector<std::optional<int32_t>> steps = MakePostProcessor(v, add_bos);
  if (steps.size() == 1) return nullptr;
  Json specials = Json::object();
  const auto append = [&](const char* text, int type, Json* to) {
    for (const std::optional<int32_t>& id : steps) {
      if (!id) {
        to->push_back({{"Sequence", {{"id", text}, {"type_id", type}}}});
        continue;
      }
      const std::string token(v.tokens[*id]);
      specials[token] = {{"id", token}, {"ids", Json::array({*id})}, {"tokens", Json::array({token})}};
      to->push_back({{"SpecialToken", {{"id", token}, {"type_id", type}}}});
    }
  };
  Json single = Json::array();
  append("A", 0, &single);
  Json pair = single;
  append("B", 1, &pair);
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(specials)}};
}

Json PostProcessor(const GgufVocabulary& v, const Pipeline& pipeline) {
  Json added = TemplateProcessor(v, pipeline.add_bos);
  if (!pipeline.byte_post_step) return added;
  Json bytes = ByteLevel(true, false, true);
  if (added.is_null()) return bytes;
  return {{"type", "Sequence"}, {"processors", Json::array({std::move(bytes), std::move(added)})}};
}

void RefuseTwins(const GgufVocabulary& v, const Vocabulary& by_text) {
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const int32_t last = *by_text.Find(v.tokens[id]);
    if (static_cast<size_t>(last) == id) continue;
    BadInput(
        "{}: tokenizer.ggml.tokens gives {} the ids {} and {}; a tokenizer.json has one id for a text, so "
        "rename "
        "one of them",
        v.where, Quoted(v.tokens[id]), id, last);
  }
}

// A list of merges is a strict order; SentencePiece takes the leftmost of equals.
void RefuseTies(const GgufVocabulary& v, const std::vector<ScoredMerge>& merges) {
  for (size_t i = 1; i < merges.size(); ++i) {
    const int32_t a = merges[i - 1].joined, b = merges[i].joined;
    if (a == b || v.scores[a] != v.scores[b]) continue;
    BadInput(
        "{}: tokenizer.ggml.scores gives the tokens {} and {} ({} and {}) the same score, which the merges "
        "of a "
        "tokenizer.json cannot say; give every token its own score",
        v.where, a, b, Quoted(v.tokens[a]), Quoted(v.tokens[b]));
  }
}

void WriteAddedTokens(const GgufVocabulary& v, Output* out) {
  Comma comma("    ");
  for (const AddedToken& token : MakeAddedTokens(v)) {
    const Json entry = {{"id", token.id},          {"content", token.content}, {"single_word", token.single_word},
                        {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
                        {"special", token.special}};
    *out << comma.Next() << entry.dump();
  }
}

void WriteVocabulary(const GgufVocabulary& v, Output* out) {
  Comma comma("      ");
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    *out << comma.Next() << Quoted(v.tokens[id]) << ": " << std::to_string(id);
  }
}

void WriteMerges(const GgufVocabulary& v, const std::vector<ScoredMerge>& by_score, Output* out) {
  Comma comma("      ");
  const auto write = [&](std::string_view left, std::string_view right) {
    *out << comma.Next() << "[" << Quoted(left) << ", " << Quoted(right) << "]";
  };
  if (v.model == "llama") {
    for (const ScoredMerge& merge : by_score) write(v.tokens[merge.left], v.tokens[merge.right]);
    return;
  }
  for (size_t rank = 0; rank < v.merges.size(); ++rank) {
    const auto [left, right] = GgufMerge(v, rank);
    write(left, right);
  }
}

// [token, score] by id. The library looks for byte tokens in a text as for any other, which SentencePiece does not:
// their score is below that of spelling out their six characters.
void WriteScoredVocabulary(const GgufVocabulary& v, Output* out) {
  constexpr int64_t kByteType = 6;
  constexpr double kUnkPenalty = 10;  // what an unknown character scores below the lowest
  const double lowest = *std::min_element(v.scores.begin(), v.scores.end());
  Comma comma("      ");
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const bool is_byte = !v.token_types.empty() && v.token_types[id] == kByteType;
    const double score = is_byte ? 7 * (lowest - kUnkPenalty) : double{v.scores[id]};
    *out << comma.Next() << "[" << Quoted(v.tokens[id]) << ", " << Json(score).dump() << "]";
  }
}

Json SpecialTokenEntries(const GgufFile& file, const GgufVocabulary& v) {
  constexpr std::pair<const char*, const char*> kKeys[] = {{"bos_token", "bos_token_id"},
                                                           {"eos_token", "eos_token_id"},
                                                           {"unk_token", "unknown_token_id"},
                                                           {"pad_token", "padding_token_id"}};
  Json tokens = Json::object();
  for (const auto& [name, key] : kKeys) {
    const auto id = file.Integer(fmt::format("tokenizer.ggml.{}", key));
    if (id) tokens[name] = v.tokens[CheckedId(v, key, id)];
  }
  return tokens;
}

Json TokenizerConfig(const GgufFile& file, const GgufVocabulary& v, const Json& special_tokens) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  config.update(special_tokens);
  // Else transformers also makes token_type_ids, which causal language models do not take.
  config["model_input_names"] = {"input_ids", "attention_mask"};
  config["clean_up_tokenization_spaces"] = false;
  if (v.model == "gpt2") config["add_prefix_space"] = AddsPrefixSpace(v);
  if (const auto architecture = file.String("general.architecture")) {
    const auto length = file.Integer(fmt::format("{}.context_length", *architecture));
    if (length) config["model_max_length"] = *length;
  }
  if (const auto chat_template = file.String("tokenizer.chat_template")) {
    if (!IsValidUtf8(*chat_template)) BadInput("{}: tokenizer.chat_template is not UTF-8", v.where);
    config["chat_template"] = *chat_template;
  }
  return config;
}

}  // namespace

void WriteTokenizerJson(const GgufVocabulary& v, const std::string& path) {
  const Vocabulary by_text = MakeVocabulary(v);
  RefuseTwins(v, by_text);
  std::vector<ScoredMerge> by_score;
  if (v.model == "llama") by_score = MergesByScore(v, by_text);
  RefuseTies(v, by_score);
  const Pipeline pipeline = v.model == "gpt2" ? ByteLevelPipeline(v) : SentencePiecePipeline(v);
  const Json post_processor = PostProcessor(v, pipeline);

  Output out(path);
  out << "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [";
  WriteAddedTokens(v, &out);
  out << "\n  ],\n  \"normalizer\": " << pipeline.normalizer.dump();
  out << ",\n  \"pre_tokenizer\": " << pipeline.pre_tokenizer.dump();
  out << ",\n  \"post_processor\": " << post_processor.dump();
  out << ",\n  \"decoder\": " << pipeline.decoder.dump() << ",\n  \"model\": {";
  for (const auto& [key, value] : pipeline.model.items()) {
    out << "\n    " << Quoted(key) << ": " << value.dump() << ",";
  }
  if (v.model == "t5") {
    out << "\n    \"vocab\": [";
    WriteScoredVocabulary(v, &out);
  } else {
    out << "\n    \"vocab\": {";
    WriteVocabulary(v, &out);
    out << "\n    },\n    \"merges\": [";
    WriteMerges(v, by_score, &out);
  }
  out << "\n    ]\n  }\n}\n";
  out.Commit();
}

void WriteTokenizerFiles(const GgufFile& file, const std::string& folder) {
  const GgufVocabulary vocabulary = ReadGgufVocabulary(file);
  TokenizerFromGguf(vocabulary);  // for its checks: what follows relies on them
  const Json special_tokens = SpecialTokenEntries(file, vocabulary);
  const Json config = TokenizerConfig(file, vocabulary, special_tokens);
  WriteTokenizerJson(vocabulary, folder + "/tokenizer.json");
  WriteFileAtomic(folder + "/tokenizer_config.json", config.dump(2) + "\n");
  WriteFileAtomic(folder + "/special_tokens_map.json", special_tokens.dump(2) + "\n");
}

}  // namespace attune
