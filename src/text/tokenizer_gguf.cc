#include "text/tokenizer_gguf.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "text/bpe.h"
#include "text/tokenizer_pipeline.h"
#include "text/unicode.h"

namespace attune {
namespace {

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4 };

constexpr std::string_view kMetaspace = "\xE2\x96\x81";

// How a value of tokenizer.ggml.pre splits text.
struct SplitRule {
  std::string_view names;                    // separated by spaces
  std::array<std::string_view, 4> patterns;  // applied one after the other; none: GPT-2's own
  bool nfc = false;
  bool single_digits = false;  // before GPT-2's pattern
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

constexpr SplitRule kSplitRules[] = {
    // transformers 5 loads SmolLM2 (a GPT2Tokenizer) with GPT-2's split alone. Its vocabulary has no merge of
    // digits, so
    // they stay single all the same.
    {.names = "gpt-2 smollm phi-2 mpt olmo"},
    {.names = "starcoder refact command-r codeshell", .single_digits = true},
    {.names = "llama-bpe llama3 llama-v3 falcon3",
     .patterns =
         {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
          R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"},
     .ignore_merges = true,
     .add_bos = true},
    {.names = "qwen2 deepseek-r1-qwen megrez",
     .patterns = {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
                  R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"},
     .nfc = true},
    {.names = "gpt-4o llama4",
     .patterns = {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                  R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                  R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                  R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
                  R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
    {.names = "tekken",
     .patterns = {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
                  R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
                  R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
     .ignore_merges = true,
     .add_bos = true},
    // llama.cpp's, for files that do not say.
    {.names = "default",
     .patterns = {R"([\p{P}\$\+<=>\^~\|]+)",
                  R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))", R"(\p{N}+)",
                  R"([0-9][0-9][0-9])"}},
};

const SplitRule& FindSplitRule(const GgufVocabulary& vocabulary) {
  std::string known;
  for (const SplitRule& rule : kSplitRules) {
    known += (known.empty() ? "" : " ") + std::string(rule.names);
    if (fmt::format(" {} ", rule.names).find(fmt::format(" {} ", vocabulary.pre)) != std::string::npos)
      return rule;
  }
  BadInput("{}: tokenizer.ggml.pre '{}' is not supported (supported: {})", vocabulary.where, vocabulary.pre,
           known);
}

int64_t TypeOf(const GgufVocabulary& vocabulary, size_t id) {
  return vocabulary.token_types.empty() ? kNormal : vocabulary.token_types[id];
}

void CheckTables(const GgufVocabulary& v) {
  if (v.tokens.empty()) BadInput("{}: tokenizer.ggml.tokens is missing or empty", v.where);
  if (v.tokens.size() > static_cast<size_t>(kMaxTokenId)) {
    BadInput("{}: tokenizer.ggml.tokens has {} entries; at most {} are supported", v.where, v.tokens.size(),
             kMaxTokenId);
  }
  const auto check = [&](std::string_view key, size_t size) {
    if (size != 0 && size != v.tokens.size()) {
      BadInput("{}: {} has {} entries for {} tokens", v.where, key, size, v.tokens.size());
    }
  };
  check("tokenizer.ggml.token_type", v.token_types.size());
  check("tokenizer.ggml.scores", v.scores.size());
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (!IsValidUtf8(v.tokens[id])) BadInput("{}: tokenizer.ggml.tokens[{}] is not UTF-8", v.where, id);
  }
}

Vocabulary MakeVocabulary(const GgufVocabulary& v) {
  Vocabulary vocabulary;
  size_t bytes = 0;
  for (const std::string_view token : v.tokens) bytes += token.size();
  vocabulary.Reserve(v.tokens.size(), bytes);
  for (size_t id = 0; id < v.tokens.size(); ++id) vocabulary.Add(v.tokens[id], static_cast<int32_t>(id));
  return vocabulary;
}

std::vector<AddedToken> MakeAddedTokens(const GgufVocabulary& v) {
  std::vector<AddedToken> tokens;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const int64_t type = TypeOf(v, id);
    if (type != kUnknown && type != kControl && type != kUserDefined) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(id);
    token.content = v.tokens[id];
    token.special = type != kUserDefined;
    tokens.push_back(std::move(token));
  }
  return tokens;
}

int32_t CheckedId(const GgufVocabulary& v, std::string_view key, std::optional<int64_t> id) {
  if (!id || *id < 0 || static_cast<size_t>(*id) >= v.tokens.size()) {
    BadInput("{}: tokenizer.ggml.{} is {}, but it must be a token id from 0 to {}", v.where, key,
             id ? std::to_string(*id) : "missing", v.tokens.size() - 1);
  }
  return static_cast<int32_t>(*id);
}

std::vector<std::optional<int32_t>> MakePostProcessor(const GgufVocabulary& v, bool add_bos) {
  std::vector<std::optional<int32_t>> steps = {std::nullopt};
  if (v.add_bos_token.value_or(add_bos)) steps.insert(steps.begin(), CheckedId(v, "bos_token_id", v.bos_id));
  if (v.add_eos_token.value_or(false)) steps.push_back(CheckedId(v, "eos_token_id", v.eos_id));
  return steps;
}

TokenizerParts ByteLevelBpe(const GgufVocabulary& v) {
  const SplitRule& rule = FindSplitRule(v);
  Vocabulary vocabulary = MakeVocabulary(v);
  MergeTable merges;
  merges.Reserve(v.merges.size());
  const std::string where = v.where + ": tokenizer.ggml.merges";
  for (size_t rank = 0; rank < v.merges.size(); ++rank) {
    const std::string_view line = v.merges[rank];
    const size_t space = line.find(' ', 1);
    if (space == std::string_view::npos)
      BadInput("{}[{}]: '{}' is not two tokens with a space between", where, rank, line);
    AddMerge(vocabulary, line.substr(0, space), line.substr(space + 1), 0, static_cast<uint32_t>(rank), where,
             &merges);
  }
  TokenizerParts parts;
  BpeOptions options;
  options.ignore_merges = rule.ignore_merges;
  parts.model = std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));
  if (rule.nfc) parts.normalizer = UnicodeNormalizer(NormalForm::kNfc);
  std::vector<std::unique_ptr<PreTokenizer>> splits;
  for (const std::string_view pattern : rule.patterns) {
    if (!pattern.empty()) {
      splits.push_back(
          SplitPreTokenizer(Regex(pattern, "tokenizer.ggml.pre"), SplitBehavior::kIsolated, false));
    }
  }
  const bool own_patterns = !splits.empty();
  if (rule.single_digits) splits.push_back(DigitsPreTokenizer(true));
  splits.push_back(ByteLevelPreTokenizer(!own_patterns && v.add_space_prefix.value_or(false), !own_patterns));
  parts.pre_tokenizer = SequencePreTokenizer(std::move(splits));
  parts.decoder = ByteLevelDecoder();
  parts.post_processor = MakePostProcessor(v, rule.add_bos);
  return parts;
}

// SentencePiece joins the two neighbours whose joint token has the highest score, leftmost first: every way
// to cut a token in two is a merge, ranked by the token's score.
MergeTable MergesByScore(const GgufVocabulary& v, const Vocabulary& vocabulary) {
  std::vector<int32_t> order;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.tokens[id].size() > PrefixIndex::kMaxBytes) {
      BadInput("{}: tokenizer.ggml.tokens[{}] has {} bytes; at most {} are supported", v.where, id,
               v.tokens[id].size(), PrefixIndex::kMaxBytes);
    }
    if (TypeOf(v, id) == kNormal) order.push_back(static_cast<int32_t>(id));
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return v.scores[a] > v.scores[b]; });
  MergeTable merges;
  merges.Reserve(4 * order.size());
  uint32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && v.scores[order[i]] != v.scores[order[i - 1]]) ++rank;  // equal scores: leftmost first
    const std::string_view token = v.tokens[order[i]];
    for (size_t cut = 0; cut < token.size();) {
      cut += Utf8Length(token[cut]);
      if (cut >= token.size()) break;
      const auto left = vocabulary.Find(token.substr(0, cut)), right = vocabulary.Find(token.substr(cut));
      if (left && right) merges.Add(*left, *right, {rank, order[i]});
    }
  }
  return merges;
}

TokenizerParts SentencePieceBpe(const GgufVocabulary& v) {
  if (v.scores.empty()) BadInput("{}: tokenizer.ggml.scores is missing", v.where);
  if (std::any_of(v.scores.begin(), v.scores.end(), [](float score) { return score != score; })) {
    BadInput("{}: tokenizer.ggml.scores holds NaN", v.where);
  }
  Vocabulary vocabulary = MakeVocabulary(v);
  MergeTable merges = MergesByScore(v, vocabulary);
  TokenizerParts parts;
  BpeOptions options;
  options.fuse_unk = options.byte_fallback = true;
  if (v.unk_id) options.unk_token = std::string(v.tokens[CheckedId(v, "unknown_token_id", v.unk_id)]);
  parts.model = std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));

  const bool add_space = v.add_space_prefix.value_or(true);
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  if (add_space) normalizers.push_back(PrependNormalizer(std::string(kMetaspace)));
  normalizers.push_back(ReplaceNormalizer(Regex::Literal(" ", v.where), std::string(kMetaspace)));
  parts.normalizer = SequenceNormalizer(std::move(normalizers));

  std::vector<std::unique_ptr<Decoder>> decoders;
  decoders.push_back(ReplaceDecoder(Regex::Literal(kMetaspace, v.where), " "));
  decoders.push_back(ByteFallbackDecoder());
  decoders.push_back(FuseDecoder());
  if (add_space) decoders.push_back(StripDecoder(" ", 1, 0));
  parts.decoder = SequenceDecoder(std::move(decoders));
  parts.post_processor = MakePostProcessor(v, true);
  return parts;
}

}  // namespace

GgufVocabulary ReadGgufVocabulary(const GgufFile& file) {
  GgufVocabulary v;
  v.where = file.path();
  const auto model = file.String("tokenizer.ggml.model");
  if (!model) BadInput("{}: tokenizer.ggml.model is missing: the file carries no tokenizer", v.where);
  v.model = *model;
  v.pre = file.String("tokenizer.ggml.pre").value_or(v.pre);
  if (const auto tokens = file.Strings("tokenizer.ggml.tokens")) v.tokens = *tokens;
  if (const auto merges = file.Strings("tokenizer.ggml.merges")) v.merges = *merges;
  if (auto types = file.Integers("tokenizer.ggml.token_type")) v.token_types = std::move(*types);
  if (auto scores = file.Floats("tokenizer.ggml.scores")) v.scores = std::move(*scores);
  v.bos_id = file.Integer("tokenizer.ggml.bos_token_id");
  v.eos_id = file.Integer("tokenizer.ggml.eos_token_id");
  v.unk_id = file.Integer("tokenizer.ggml.unknown_token_id");
  v.add_bos_token = file.Boolean("tokenizer.ggml.add_bos_token");
  v.add_eos_token = file.Boolean("tokenizer.ggml.add_eos_token");
  v.add_space_prefix = file.Boolean("tokenizer.ggml.add_space_prefix");
  return v;
}

std::unique_ptr<Tokenizer> TokenizerFromGguf(const GgufVocabulary& vocabulary) {
  CheckTables(vocabulary);
  if (vocabulary.model != "gpt2" && vocabulary.model != "llama") {
    BadInput("{}: tokenizer.ggml.model '{}' is not supported (supported: gpt2, llama)", vocabulary.where,
             vocabulary.model);
  }
  TokenizerParts parts = vocabulary.model == "gpt2" ? ByteLevelBpe(vocabulary) : SentencePieceBpe(vocabulary);
  parts.added_tokens = MakeAddedTokens(vocabulary);
  return BuildTokenizer(std::move(parts), vocabulary.where);
}

}  // namespace attune
