#include "text/stream_decoder.h"

#include <algorithm>
#include <span>
#include <string_view>

namespace attune {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr size_t kMaxWaiting = 64;  // a model that only writes broken characters must not hold up everything

}  // namespace

std::string StreamDecoder::Take(const std::string& text) {
  // Usually `shown_` is where `text` starts; a decoder that cleans up across tokens may have changed its end.
  const auto [mine, theirs] = std::mismatch(shown_.begin(), shown_.end(), text.begin(), text.end());
  size_t common = static_cast<size_t>(mine - shown_.begin());
  while (common > 0 && common < text.size() && (static_cast<unsigned char>(text[common]) & 0xC0) == 0x80) --common;
  std::string fresh = text.substr(common);
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(shown_ids_));
  shown_ids_ = ids_.size();
  shown_ = tokenizer_.Decode(ids_, skip_special_tokens_);
  return fresh;
}

std::string StreamDecoder::Push(int32_t id) {
  if (id < 0 || id >= tokenizer_.VocabularySize()) return "";
  ids_.push_back(id);
  const std::string text = tokenizer_.Decode(ids_, skip_special_tokens_);
  if (text.size() <= shown_.size()) return "";
  if (text.ends_with(kReplacement) && ids_.size() - shown_ids_ < kMaxWaiting) return "";
  return Take(text);
}

std::string StreamDecoder::Finish() {
  const std::string text = tokenizer_.Decode(ids_, skip_special_tokens_);
  std::string rest = text.size() > shown_.size() ? Take(text) : "";
  ids_.clear();
  shown_ids_ = 0;
  shown_.clear();
  return rest;
}

}  // namespace attune
