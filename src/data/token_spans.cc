#include "data/token_spans.h"

#include <algorithm>
#include <map>
#include <set>

namespace attune {
namespace {

// Where byte `byte` falls: between tokens (exact), or inside token number `token`.
struct Cut {
  size_t byte = 0;
  size_t token = 0;
  bool exact = true;
};

bool StartsWith(std::span<const int32_t> ids, std::span<const int32_t> prefix) {
  return CommonPrefix(ids, prefix) == prefix.size();
}

// `exact_cuts`: the exact cuts found so far, ascending. A piece from one of them to `byte` that encodes to
// the very ids the whole has there shows where `byte` falls. The nearest cut gives the shortest piece; but
// where a tokenizer treats the start of a text specially, only a piece that starts behind a special token
// encodes as it does in context, and that is the cut before it (the end of the last turn) or the start of the
// text.
Cut FindCut(const Tokenizer& tokenizer, std::string_view text, std::span<const int32_t> ids, size_t byte,
            const std::vector<Cut>& exact_cuts) {
  const size_t n = exact_cuts.size();
  std::vector<size_t> candidates = {n - 1};
  if (n >= 2) candidates.push_back(n - 2);
  if (n >= 3) candidates.push_back(0);
  std::vector<int32_t> piece;
  for (size_t candidate : candidates) {
    const Cut& from = exact_cuts[candidate];
    piece = tokenizer.Encode(text.substr(from.byte, byte - from.byte), false);
    if (StartsWith(ids.subspan(from.token), piece)) return {byte, from.token + piece.size(), true};
  }
  // The last piece tried was the whole text before `byte`: it diverges where a token reaches over the cut.
  return {byte, CommonPrefix(ids, piece), false};
}

}  // namespace

size_t CommonPrefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t n = std::min(a.size(), b.size());
  return std::mismatch(a.begin(), a.begin() + n, b.begin()).first - a.begin();
}

std::vector<bool> TokensIn(const Tokenizer& tokenizer, std::string_view text, std::span<const int32_t> ids,
                           std::span<const ByteSpan> spans) {
  std::set<size_t> edges;
  for (const auto& [start, end] : spans) {
    if (start < end) edges.insert({start, end});
  }
  std::map<size_t, Cut> cuts;
  std::vector<Cut> exact_cuts = {Cut{}};
  for (size_t edge : edges) {
    Cut cut{edge, ids.size(), true};
    if (edge == 0) cut.token = 0;
    if (edge > 0 && edge < text.size()) cut = FindCut(tokenizer, text, ids, edge, exact_cuts);
    if (cut.exact && edge > 0) exact_cuts.push_back(cut);
    cuts[edge] = cut;
  }
  std::vector<bool> inside(ids.size(), false);
  for (const auto& [start, end] : spans) {
    if (start >= end) continue;
    const Cut& last = cuts[end];
    const size_t stop = std::min(ids.size(), last.token + (last.exact ? 0 : 1));
    for (size_t i = cuts[start].token; i < stop; ++i) inside[i] = true;
  }
  return inside;
}

}  // namespace attune
