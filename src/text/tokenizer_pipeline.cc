#include "text/tokenizer_pipeline.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/piece_cache.h"
#include "text/unicode.h"

namespace attune {
namespace {

class PipelineTokenizer : public Tokenizer {
 public:
  PipelineTokenizer(TokenizerParts parts, const std::string& where)
      : parts_(std::move(parts)),
        added_(std::move(parts_.added_tokens), parts_.model->vocabulary(), parts_.normalizer.get(), where) {
    for (const std::optional<int32_t>& id : parts_.post_processor) {
      if (id && (*id < 0 || *id >= VocabularySize())) {
        BadInput("{}: post_processor adds token id {}, but the vocabulary ends at {}", where, *id,
                 VocabularySize() - 1);
      }
    }
  }

  std::vector<int32_t> Encode(std::string_view text, bool add_special_tokens) const override {
    std::string replaced;
    if (!IsValidUtf8(text)) text = replaced = ReplaceInvalidUtf8(text);
    std::vector<int32_t> ids;
    std::unique_ptr<PieceCache> cache = caches_.Take();
    for (const auto& [range, id] : added_.FindRaw(text)) {
      if (id >= 0) {
        ids.push_back(id);
      } else {
        EncodeSegment(text, range, cache.get(), &ids);
      }
    }
    caches_.Return(std::move(cache));
    return PostProcess(std::move(ids), add_special_tokens);
  }

  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    size_t bytes = 0;
    for (const int32_t id : ids) {
      const AddedToken* added = added_.ById(id);
      // A gap in the numbering, or one of the ids that models often have beyond it.
      if (added == nullptr && !parts_.model->vocabulary().Has(id)) continue;
      const std::string_view token =
          added != nullptr ? added_.DecodedText(*added) : parts_.model->vocabulary().Text(id);
      if (skip_special_tokens && added_.IsSpecialText(token)) continue;
      tokens.emplace_back(token);
      bytes += token.size();
    }
    const bool has_decoder = parts_.decoder != nullptr;
    if (has_decoder) parts_.decoder->Apply(&tokens, MaxGrownBytes(bytes));
    std::string text;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!has_decoder && i > 0) text += ' ';
      text += tokens[i];
    }
    return text;
  }

  std::optional<int32_t> TokenToId(std::string_view token) const override {
    if (const AddedToken* added = added_.ByContent(token)) return added->id;
    return parts_.model->vocabulary().Find(token);
  }

  std::string IdToToken(int32_t id) const override {
    if (const AddedToken* added = added_.ById(id)) return added->content;
    return std::string(parts_.model->vocabulary().Text(id));
  }

  bool IsSpecial(int32_t id) const override {
    const AddedToken* added = added_.ById(id);
    return added != nullptr && added->special;
  }

  int32_t VocabularySize() const override { return std::max(parts_.model->vocabulary().end_id(), added_.end_id()); }

 private:
  // Text between added tokens that are looked for in raw text.
  void EncodeSegment(std::string_view text, TextRange range, PieceCache* cache, std::vector<int32_t>* ids) const {
    NormalizedText segment{std::string(text.substr(range.begin, range.end - range.begin)), 0,
                           MaxGrownBytes(range.end - range.begin)};
    if (range.begin == 0) segment.at_origin = Utf8Length(segment.text[0]);
    if (parts_.normalizer != nullptr) parts_.normalizer->Apply(&segment);
    CheckGrownBytes(segment.text.size(), segment.max_bytes);
    for (const auto& [cut, id] : added_.FindNormalized(segment.text)) {
      if (id >= 0) {
        ids->push_back(id);
        continue;
      }
      const size_t at_origin = segment.at_origin - std::min(segment.at_origin, cut.begin);
      EncodePieces(Pieces({segment.text.substr(cut.begin, cut.end - cut.begin),
                           std::min(at_origin, cut.end - cut.begin), segment.max_bytes}),
                   cache, ids);
    }
  }

  void EncodePieces(Pieces pieces, PieceCache* cache, std::vector<int32_t>* ids) const {
    if (parts_.pre_tokenizer != nullptr) parts_.pre_tokenizer->Apply(&pieces);
    for (const Pieces::Piece& piece : pieces.pieces) {
      const std::string_view view = pieces.View(piece);
      if (const auto known = cache->Find(view)) {
        ids->insert(ids->end(), known->begin(), known->end());
        continue;
      }
      const size_t before = ids->size();
      parts_.model->Tokenize(view, ids);
      cache->Insert(view, std::span<const int32_t>(*ids).subspan(before));
    }
  }

  std::vector<int32_t> PostProcess(std::vector<int32_t> ids, bool add_special_tokens) const {
    if (parts_.post_processor.size() == 1 && !parts_.post_processor[0]) return ids;
    std::vector<int32_t> out;
    for (const std::optional<int32_t>& step : parts_.post_processor) {
      if (!step) {
        out.insert(out.end(), ids.begin(), ids.end());
      } else if (add_special_tokens) {
        out.push_back(*step);
      }
    }
    return out;
  }

  TokenizerParts parts_;
  AddedTokens added_;
  mutable PieceCachePool caches_;
};

}  // namespace

std::unique_ptr<Tokenizer> BuildTokenizer(TokenizerParts parts, const std::string& where) {
  return std::make_unique<PipelineTokenizer>(std::move(parts), where);
}

}  // namespace attune
