#include "text/tokenizer_gguf_rules.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "text/prefix_index.h"
#include "text/unicode.h"

namespace attune {
namespace {

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4 };

constexpr SplitRule kSplitRules[] = {
    // transformers 5 loads SmolLM2 (a GPT2Tokenizer) with GPT-2's split alone. Its vocabulary has no merge of
    // digits, so
    // they stay single all the same.
    {.names = "gpt-2 smollm phi-2 mpt olmo"},
    {.names = "starcoder refact command-r codeshell", .single_digits = true},
    {.names = "llama-bpe llama3 llama-v3 falcon3",
     .patterns = {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
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

int64_t TypeOf(const GgufVocabulary& vocabulary, size_t id) {
  return vocabulary.token_types.empty() ? kNormal : vocabulary.token_types[id];
}

}  // namespace

const SplitRule& FindSplitRule(const GgufVocabulary& vocabulary) {
  std::string known;
  for (const SplitRule& rule : kSplitRules) {
    known += (known.empty() ? "" : " ") + std::string(rule.names);
    if (fmt::format(" {} ", rule.names).find(fmt::format(" {} ", vocabulary.pre)) != std::string::npos) return rule;
  }
  BadInput("{}: tokenizer.ggml.pre '{}' is not supported (supported: {})", vocabulary.where, vocabulary.pre, known);
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

std::pair<std::string_view, std::string_view> GgufMerge(const GgufVocabulary& v, size_t rank) {
  const std::string_view line = v.merges[rank];
  const size_t space = line.find(' ', 1);
  if (space == std::string_view::npos) {
    BadInput("{}: tokenizer.ggml.merges[{}]: '{}' is not two tokens with a space between", v.where, rank, line);
  }
  return {line.substr(0, space), line.substr(space + 1)};
}

std::vector<ScoredMerge> MergesByScore(const GgufVocabulary& v, const Vocabulary& by_text) {
  std::vector<int32_t> order;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (v.tokens[id].size() > PrefixIndex::kMaxBytes) {
      BadInput("{}: tokenizer.ggml.tokens[{}] has {} bytes; at most {} are supported", v.where, id, v.tokens[id].size(),
               PrefixIndex::kMaxBytes);
    }
    if (TypeOf(v, id) == kNormal) order.push_back(static_cast<int32_t>(id));
  }
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return v.scores[a] > v.scores[b]; });
  std::vector<ScoredMerge> merges;
  merges.reserve(2 * order.size());
  for (const int32_t joined : order) {
    const std::string_view token = v.tokens[joined];
    if (token.empty()) continue;
    for (size_t cut = PreviousCodePoint(token, token.size()); cut > 0; cut = PreviousCodePoint(token, cut)) {
      const auto left = by_text.Find(token.substr(0, cut)), right = by_text.Find(token.substr(cut));
      if (left && right) merges.push_back({*left, *right, joined});
    }
  }
  return merges;
}

}  // namespace attune
