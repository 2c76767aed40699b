// The model of a tokenizer.json: vocabulary and merges, BPE, Unigram or WordPiece.

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/bpe.h"
#include "text/tokenizer_json_parts.h"
#include "text/unigram.h"
#include "text/word_piece.h"

namespace attune {
namespace {

// {"token": id, ...}
Vocabulary ReadVocabulary(const JsonField& field) {
  Vocabulary vocabulary;
  const simdjson::dom::object tokens = field.Object();
  // Tables by id: an id far beyond the number of tokens would cost memory that the file does not justify.
  const auto limit = static_cast<int64_t>(std::min<size_t>(kMaxTokenId, 64 * tokens.size() + (1 << 16)));
  size_t bytes = 0;
  for (const auto& [token, value] : tokens) bytes += token.size();
  vocabulary.Reserve(tokens.size(), bytes);
  for (const auto& [token, value] : tokens) {
    int64_t id = -1;
    if (value.get(id) != simdjson::SUCCESS || id < 0 || id >= limit) {
      field.Bad(fmt::format("gives '{}' an id that is not a whole number from 0 to {}", token, limit - 1));
    }
    if (vocabulary.Has(static_cast<int32_t>(id)) && vocabulary.Text(static_cast<int32_t>(id)) != token) {
      field.Bad(fmt::format("gives the id {} to '{}', which '{}' has already", id, token,
                            vocabulary.Text(static_cast<int32_t>(id))));
    }
    vocabulary.Add(token, static_cast<int32_t>(id));
  }
  return vocabulary;
}

// ["a b", ...] or [["a", "b"], ...]
MergeTable ReadMerges(const JsonField& field, const Vocabulary& vocabulary, size_t prefix_bytes) {
  MergeTable merges;
  const simdjson::dom::array entries = field.Array();
  merges.Reserve(entries.size());
  const std::string place = field.Place();
  uint32_t rank = 0;
  for (const simdjson::dom::element entry : entries) {
    std::string_view left, right, line;
    simdjson::dom::array pair;
    if (entry.get(line) == simdjson::SUCCESS) {
      if (line.starts_with("#version")) continue;
      const size_t space = line.find(' ');
      if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
        field.Bad(fmt::format("has '{}' as entry {}; it must be two tokens with a space between them", line, rank));
      }
      left = line.substr(0, space);
      right = line.substr(space + 1);
    } else if (entry.get(pair) != simdjson::SUCCESS || pair.size() != 2 || pair.at(0).get(left) != simdjson::SUCCESS ||
               pair.at(1).get(right) != simdjson::SUCCESS) {
      field.Bad(fmt::format("has an entry {} that is neither \"a b\" nor [\"a\", \"b\"]", rank));
    }
    AddMerge(vocabulary, left, right, prefix_bytes, rank++, place, &merges);
  }
  return merges;
}

std::string StringOr(const JsonField& field, std::string_view key, std::string_view otherwise) {
  const std::optional<JsonField> text = field.Find(key);
  return std::string(text ? text->String() : otherwise);
}

std::unique_ptr<TokenModel> ReadBpe(const JsonField& field) {
  if (const auto dropout = field.Find("dropout"); dropout && dropout->Number() != 0) {
    dropout->Bad("makes tokenizing random, which is not supported; set it to null");
  }
  BpeOptions options;
  if (const auto unk = field.Find("unk_token")) options.unk_token = std::string(unk->String());
  options.continuing_subword_prefix = StringOr(field, "continuing_subword_prefix", "");
  options.end_of_word_suffix = StringOr(field, "end_of_word_suffix", "");
  options.fuse_unk = field.BoolOr("fuse_unk", false);
  options.byte_fallback = field.BoolOr("byte_fallback", false);
  options.ignore_merges = field.BoolOr("ignore_merges", false);
  Vocabulary vocabulary = ReadVocabulary(field.At("vocab"));
  MergeTable merges = ReadMerges(field.At("merges"), vocabulary, options.continuing_subword_prefix.size());
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));
}

// vocab: [["token", score], ...], by id
std::unique_ptr<TokenModel> ReadUnigram(const JsonField& field) {
  const JsonField vocab = field.At("vocab");
  Vocabulary vocabulary;
  std::vector<double> scores;
  for (const simdjson::dom::element entry : vocab.Array()) {
    simdjson::dom::array pair;
    std::string_view token;
    double score = 0;
    if (entry.get(pair) != simdjson::SUCCESS || pair.size() != 2 || pair.at(0).get(token) != simdjson::SUCCESS ||
        pair.at(1).get(score) != simdjson::SUCCESS) {
      vocab.Bad(fmt::format("has an entry {} that is not [\"token\", score]", scores.size()));
    }
    if (scores.size() >= kMaxTokenId) vocab.Bad(fmt::format("has more than {} entries", kMaxTokenId));
    vocabulary.Add(token, static_cast<int32_t>(scores.size()));
    scores.push_back(score);
  }
  std::optional<int32_t> unk_id;
  if (const auto unk = field.Find("unk_id")) {
    unk_id = static_cast<int32_t>(unk->Integer(0, static_cast<int64_t>(scores.size()) - 1));
  }
  const std::string place = vocab.Place();
  return std::make_unique<Unigram>(std::move(vocabulary), std::move(scores), unk_id,
                                   field.BoolOr("byte_fallback", false), place);
}

std::unique_ptr<TokenModel> ReadWordPiece(const JsonField& field) {
  const auto longest = field.Find("max_input_chars_per_word");
  return std::make_unique<WordPiece>(ReadVocabulary(field.At("vocab")), StringOr(field, "unk_token", "[UNK]"),
                                     StringOr(field, "continuing_subword_prefix", "##"),
                                     longest ? longest->Integer(0, INT32_MAX) : 100);
}

}  // namespace

std::unique_ptr<TokenModel> ReadTokenModel(const JsonField& field) {
  const auto type_field = field.Find("type");
  // Old files leave the type out.
  const std::string_view type = type_field                    ? type_field->String()
                                : field.Find("merges")        ? "BPE"
                                : field.At("vocab").IsArray() ? "Unigram"
                                                              : "WordPiece";
  if (type == "BPE") return ReadBpe(field);
  if (type == "Unigram") return ReadUnigram(field);
  if (type == "WordPiece") return ReadWordPiece(field);
  type_field->Bad(fmt::format("is '{}', which is not a supported model (supported: BPE, Unigram, WordPiece)", type));
}

}  // namespace attune
