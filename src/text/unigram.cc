#include "text/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace attune {
namespace {

constexpr double kUnkPenalty = 10.0;

// The best segmentation of the bytes up to here ends with this token.
struct Node {
  double score = 0;
  int32_t id = -1;
  size_t start = SIZE_MAX;  // SIZE_MAX: no segmentation ends here yet
};

PrefixIndex MakeIndex(const Vocabulary& vocabulary, const std::string& where) {
  std::vector<PrefixIndex::Entry> entries;
  for (int32_t id = 0; id < vocabulary.end_id(); ++id) {
    if (!vocabulary.Text(id).empty()) entries.push_back({std::string(vocabulary.Text(id)), id});
  }
  return PrefixIndex(std::move(entries), where);
}

}  // namespace

Unigram::Unigram(Vocabulary vocabulary, std::vector<double> scores, std::optional<int32_t> unk_id, bool byte_fallback,
                 const std::string& where)
    : TokenModel(std::move(vocabulary)),
      scores_(std::move(scores)),
      unk_id_(unk_id),
      unk_score_((scores_.empty() ? 0 : *std::min_element(scores_.begin(), scores_.end())) - kUnkPenalty),
      index_(MakeIndex(this->vocabulary(), where)) {
  if (byte_fallback) byte_tokens_ = ByteTokens(this->vocabulary());
}

int32_t Unigram::UnkId() const {
  if (!unk_id_) BadInput("the text has characters outside the tokenizer's vocabulary, which has no unk_id");
  return *unk_id_;
}

void Unigram::AppendUnknown(std::string_view text, std::vector<int32_t>* ids) const {
  if (const std::optional<int32_t> id = vocabulary().Find(text)) return ids->push_back(*id);
  if (!byte_tokens_.empty() && AppendByteTokens(text, byte_tokens_, ids)) return;
  ids->push_back(UnkId());
}

void Unigram::Tokenize(std::string_view piece, std::vector<int32_t>* ids) const {
  std::vector<Node> best(piece.size() + 1);
  best[0].start = 0;
  const int32_t unk = unk_id_.value_or(-1);
  const auto offer = [&best](size_t start, size_t end, double score, int32_t id) {
    Node& node = best[end];
    if (node.start == SIZE_MAX || score > node.score) node = {score, id, start};
  };
  for (size_t at = 0; at < piece.size();) {
    const size_t character = std::min(Utf8Length(piece[at]), piece.size() - at);
    const double so_far = best[at].score;
    bool has_character = false;
    index_.ForEachPrefix(piece.substr(at), [&](size_t length, int32_t id) {
      offer(at, at + length, so_far + scores_[id], id);
      has_character |= length == character;
    });
    if (!has_character) offer(at, at + character, so_far + unk_score_, unk);
    at += character;
  }
  // Backwards; unknown characters that follow each other are one token.
  std::vector<std::pair<TextRange, int32_t>> tokens;
  for (size_t end = piece.size(); end > 0; end = best[end].start) {
    const TextRange range{best[end].start, end};
    if (!tokens.empty() && best[end].id == unk && tokens.back().second == unk) {
      tokens.back().first.begin = range.begin;
    } else {
      tokens.push_back({range, best[end].id});
    }
  }
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    const auto& [range, id] = *token;
    if (id == unk) {
      AppendUnknown(piece.substr(range.begin, range.end - range.begin), ids);
    } else {
      ids->push_back(id);
    }
  }
}

}  // namespace attune
