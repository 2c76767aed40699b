#include "text/bpe.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace attune {
namespace {

struct Symbol {
  int32_t id;
  int32_t previous, next;  // places of the neighbours that are still there, or -1
  bool gone;
};

struct Candidate {
  uint32_t rank;
  int32_t place;  // of the left symbol
  int32_t id;     // what the pair becomes
};

// For std's max-heap: the lowest rank comes out first, then the leftmost place.
bool ComesLater(const Candidate& a, const Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.place > b.place;
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, MergeTable merges, BpeOptions options)
    : TokenModel(std::move(vocabulary)), merges_(std::move(merges)), options_(std::move(options)) {
  if (options_.byte_fallback) byte_tokens_ = ByteTokens(this->vocabulary());
}

int32_t Bpe::UnkId() const {
  const std::optional<int32_t> id = vocabulary().Find(*options_.unk_token);
  if (!id) {
    BadInput(
        "the text has characters outside the tokenizer's vocabulary, and its unk_token '{}' is not in it "
        "either",
        *options_.unk_token);
  }
  return *id;
}

std::vector<int32_t> Bpe::InitialSymbols(std::string_view piece) const {
  std::vector<int32_t> symbols;
  symbols.reserve(piece.size());
  std::string decorated;
  std::optional<int32_t> unk;  // pending, so that a run of them can be fused
  for (size_t at = 0; at < piece.size();) {
    const size_t length = std::min(Utf8Length(piece[at]), piece.size() - at);
    std::string_view character = piece.substr(at, length);
    const bool is_first = at == 0, is_last = at + length == piece.size();
    at += length;
    if ((!is_first && !options_.continuing_subword_prefix.empty()) ||
        (is_last && !options_.end_of_word_suffix.empty())) {
      decorated = is_first ? "" : options_.continuing_subword_prefix;
      decorated += character;
      if (is_last) decorated += options_.end_of_word_suffix;
      character = decorated;
    }
    if (const std::optional<int32_t> id = vocabulary().Find(character)) {
      if (unk) symbols.push_back(*std::exchange(unk, std::nullopt));
      symbols.push_back(*id);
    } else if (options_.byte_fallback && AppendByteTokens(character, byte_tokens_, &symbols)) {
      // A pending unk comes after these bytes: the library's order, which models were trained with.
    } else if (options_.unk_token) {
      if (unk && !options_.fuse_unk) symbols.push_back(*unk);
      unk = UnkId();
    }
  }
  if (unk) symbols.push_back(*unk);
  return symbols;
}

void Bpe::MergeSymbols(std::vector<int32_t> initial, std::vector<int32_t>* ids) const {
  const auto count = static_cast<int32_t>(initial.size());
  std::vector<Symbol> symbols(initial.size());
  std::vector<Candidate> heap;
  heap.reserve(initial.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[i] = {initial[i], i - 1, i + 1 < count ? i + 1 : -1, false};
    if (i + 1 == count) break;
    if (const auto* merge = merges_.Find(initial[i], initial[i + 1])) heap.push_back({merge->rank, i, merge->id});
  }
  std::make_heap(heap.begin(), heap.end(), ComesLater);
  const auto push = [&](int32_t left, int32_t right) {
    if (const auto* merge = merges_.Find(symbols[left].id, symbols[right].id)) {
      heap.push_back({merge->rank, left, merge->id});
      std::push_heap(heap.begin(), heap.end(), ComesLater);
    }
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), ComesLater);
    const Candidate top = heap.back();
    heap.pop_back();
    Symbol& left = symbols[top.place];
    if (left.gone || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    const auto* merge = merges_.Find(left.id, right.id);
    if (merge == nullptr || merge->id != top.id) continue;  // one of the two has merged since
    left.id = top.id;
    left.next = right.next;
    right.gone = true;
    if (right.next >= 0) symbols[right.next].previous = top.place;
    if (left.previous >= 0) push(left.previous, top.place);
    if (left.next >= 0) push(top.place, left.next);
  }
  for (const Symbol& symbol : symbols) {
    if (!symbol.gone) ids->push_back(symbol.id);
  }
}

void Bpe::Tokenize(std::string_view piece, std::vector<int32_t>* ids) const {
  if (options_.ignore_merges) {
    if (const std::optional<int32_t> id = vocabulary().Find(piece)) return ids->push_back(*id);
  }
  if (piece.size() > INT32_MAX) BadInput("a piece of text of {} bytes is too long for one BPE word", piece.size());
  MergeSymbols(InitialSymbols(piece), ids);
}

void AddMerge(const Vocabulary& vocabulary, std::string_view left, std::string_view right, size_t prefix_bytes,
              uint32_t rank, const std::string& where, MergeTable* merges) {
  const auto find = [&](std::string_view token) {
    const std::optional<int32_t> id = vocabulary.Find(token);
    if (!id) {
      BadInput("{}: merge {} ('{}' with '{}') needs the token '{}', which is not in the vocabulary", where, rank, left,
               right, token);
    }
    return *id;
  };
  const int32_t left_id = find(left), right_id = find(right);
  if (right.size() < prefix_bytes) {
    BadInput("{}: merge {}: '{}' is shorter than continuing_subword_prefix", where, rank, right);
  }
  std::string joined(left);
  joined += right.substr(prefix_bytes);
  merges->Add(left_id, right_id, {rank, find(joined)});
}

std::vector<int32_t> ByteTokens(const Vocabulary& vocabulary) {
  std::vector<int32_t> ids(256, -1);
  for (int byte = 0; byte < 256; ++byte) ids[byte] = vocabulary.Find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  return ids;
}

bool AppendByteTokens(std::string_view text, const std::vector<int32_t>& byte_tokens, std::vector<int32_t>* ids) {
  const auto id = [&](char byte) { return byte_tokens[static_cast<unsigned char>(byte)]; };
  for (const char byte : text) {
    if (id(byte) < 0) return false;
  }
  for (const char byte : text) ids->push_back(id(byte));
  return true;
}

}  // namespace attune
