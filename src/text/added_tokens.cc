#include "text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace attune {
namespace {

bool EndsWithWord(std::string_view text) {
  if (text.empty()) return false;
  size_t at = PreviousCodePoint(text, text.size());
  return IsWord(NextCodePoint(text, &at));
}

bool StartsWithWord(std::string_view text) {
  size_t at = 0;
  return !text.empty() && IsWord(NextCodePoint(text, &at));
}

// Start of the white space that ends at `end`, not before `floor`.
size_t SkipSpaceLeft(std::string_view text, size_t end, size_t floor) {
  while (end > floor) {
    const size_t start = PreviousCodePoint(text, end);
    size_t at = start;
    if (!IsWhitespace(NextCodePoint(text, &at))) break;
    end = start;
  }
  return end;
}

size_t SkipSpaceRight(std::string_view text, size_t start) {
  while (start < text.size()) {
    size_t at = start;
    if (!IsWhitespace(NextCodePoint(text, &at))) break;
    start = at;
  }
  return start;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Vocabulary& model, const Normalizer* normalizer,
                         const std::string& where) {
  auto next_id = static_cast<int32_t>(model.distinct_tokens());
  for (AddedToken& token : tokens) {
    if (token.content.empty()) continue;
    const auto known = by_content_.find(token.content);
    if (known != by_content_.end()) {  // again: its flags now hold
      token.id = tokens_[known->second].id;
      tokens_[known->second] = std::move(token);
      continue;
    }
    const std::optional<int32_t> model_id = model.Find(token.content);
    token.id = model_id ? *model_id : next_id++;
    end_id_ = std::max(end_id_, token.id + 1);
    by_content_.emplace(token.content, tokens_.size());
    by_id_[token.id] = tokens_.size();
    tokens_.push_back(std::move(token));
  }
  std::vector<PrefixIndex::Entry> raw, normalized;
  // From the last to the first, so that of two with the same normal form the first is kept.
  for (auto token = tokens_.rbegin(); token != tokens_.rend(); ++token) {
    if (ById(token->id) != &*token) continue;  // numbered over: a later token has its id now
    if (!token->normalized) {
      raw.push_back({token->content, token->id});
      continue;
    }
    NormalizedText text{token->content, 0, MaxGrownBytes(token->content.size())};
    if (normalizer != nullptr) normalizer->Apply(&text);
    if (text.text != token->content) normal_forms_[token->id] = text.text;
    if (!text.text.empty()) normalized.push_back({std::move(text.text), token->id});
  }
  raw_ = PrefixIndex(std::move(raw), where);
  normalized_ = PrefixIndex(std::move(normalized), where);
}

std::vector<AddedTokens::Cut> AddedTokens::Find(std::string_view text, const PrefixIndex& index) const {
  std::vector<Cut> cuts;
  size_t covered = 0;
  TextRange space;  // the last run skipped, so that a run with many matches in it is walked once
  for (size_t at = 0; at < text.size() && !index.empty();) {
    size_t length = 0;
    int32_t id = -1;
    index.ForEachPrefix(text.substr(at), [&](size_t found, int32_t found_id) { length = found, id = found_id; });
    if (id < 0) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + length;
    at = end;  // even if the match is not used
    const AddedToken& token = *ById(id);
    if (token.single_word && (EndsWithWord(text.substr(0, begin)) || StartsWithWord(text.substr(end)))) continue;
    if (token.lstrip) begin = std::max(SkipSpaceLeft(text, begin, covered), covered);
    if (token.rstrip) {
      if (end < space.begin || end > space.end) space = {end, SkipSpaceRight(text, end)};
      end = space.end;
    }
    if (covered < begin) cuts.push_back({{covered, begin}, -1});
    if (begin < end) cuts.push_back({{begin, end}, id});  // else it lies in the white space of the match before
    covered = end;
  }
  if (covered < text.size()) cuts.push_back({{covered, text.size()}, -1});
  return cuts;
}

const AddedToken* AddedTokens::ById(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

const AddedToken* AddedTokens::ByContent(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  return found == by_content_.end() ? nullptr : &tokens_[found->second];
}

std::string_view AddedTokens::DecodedText(const AddedToken& token) const {
  const auto found = normal_forms_.find(token.id);
  return found == normal_forms_.end() ? std::string_view(token.content) : std::string_view(found->second);
}

bool AddedTokens::IsSpecialText(std::string_view text) const {
  const AddedToken* token = ByContent(text);
  return token != nullptr && token->special;
}

}  // namespace attune
