#include "text/tokenizer_gguf.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/bpe.h"
#include "text/tokenizer_gguf_rules.h"
#include "text/tokenizer_pipeline.h"
#include "text/unicode.h"

namespace attune {
namespace {

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

TokenizerParts ByteLevelBpe(const GgufVocabulary& v) {
  const SplitRule& rule = FindSplitRule(v);
  Vocabulary vocabulary = MakeVocabulary(v);
  MergeTable merges;
  merges.Reserve(v.merges.size());
  const std::string where = v.where + ": tokenizer.ggml.merges";
  for (size_t rank = 0; rank < v.merges.size(); ++rank) {
    const auto [left, right] = GgufMerge(v, rank);
    AddMerge(vocabulary, left, right, 0, static_cast<uint32_t>(rank), where, &merges);
  }
  TokenizerParts parts;
  BpeOptions options;
  options.ignore_merges = rule.ignore_merges;
  parts.model = std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));
  if (rule.nfc) parts.normalizer = UnicodeNormalizer(NormalForm::kNfc);
  std::vector<std::unique_ptr<PreTokenizer>> splits;
  for (const std::string_view pattern : rule.patterns) {
    if (!pattern.empty()) {
      splits.push_back(SplitPreTokenizer(Regex(pattern, "tokenizer.ggml.pre"), SplitBehavior::kIsolated, false));
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

MergeTable MergeTableByScore(const GgufVocabulary& v, const Vocabulary& vocabulary) {
  const std::vector<ScoredMerge> by_score = MergesByScore(v, vocabulary);
  MergeTable merges;
  merges.Reserve(by_score.size());
  uint32_t rank = 0;
  for (size_t i = 0; i < by_score.size(); ++i) {
    const ScoredMerge& merge = by_score[i];
    if (i > 0 && v.scores[merge.joined] != v.scores[by_score[i - 1].joined]) ++rank;  // equal: leftmost first
    merges.Add(merge.left, merge.right, {rank, merge.joined});
  }
  return merges;
}

TokenizerParts SentencePieceBpe(const GgufVocabulary& v) {
  if (v.scores.empty()) BadInput("{}: tokenizer.ggml.scores is missing", v.where);
  if (std::any_of(v.scores.begin(), v.scores.end(), [](float score) { return score != score; })) {
    BadInput("{}: tokenizer.ggml.scores holds NaN", v.where);
  }
  Vocabulary vocabulary = MakeVocabulary(v);
  MergeTable merges = MergeTableByScore(v, vocabulary);
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
