#include "data/packing.h"

#include <algorithm>
#include <deque>
#include <map>

#include "base/error.h"

namespace attune {
namespace {

// One example of a batch cut into pieces of at most `max_length`; only the first of them without `keep_rest`.
void AppendPieces(int64_t example, int64_t length, int64_t max_length, bool keep_rest,
                  std::vector<PackedPiece>& pieces) {
  for (int64_t start = 0; start < length; start += max_length) {
    pieces.push_back({example, start, std::min(max_length, length - start)});
    if (!keep_rest) return;
  }
}

// Longest first (equals in their order), each into the sequence with the least room that still holds it;
// among equal room, the sequence that came to it first.
void PackBestFit(std::vector<PackedPiece> pieces, int64_t max_length, std::vector<PackedSequence>& out) {
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const PackedPiece& a, const PackedPiece& b) { return a.length > b.length; });
  std::map<int64_t, std::deque<size_t>> by_room;  // room above 0 -> indices into out
  for (const PackedPiece& piece : pieces) {
    int64_t room = max_length;
    size_t sequence = out.size();
    const auto fit = by_room.lower_bound(piece.length);
    if (fit == by_room.end()) {
      out.emplace_back();
    } else {
      room = fit->first;
      sequence = fit->second.front();
      fit->second.pop_front();
      if (fit->second.empty()) by_room.erase(fit);
    }
    out[sequence].push_back(piece);
    if (room > piece.length) by_room[room - piece.length].push_back(sequence);
  }
}

// Fills sequence after sequence, cutting examples where a sequence is full.
void PackWrapped(std::span<const int64_t> lengths, int64_t first_example, int64_t max_length,
                 std::vector<PackedSequence>& out) {
  int64_t room = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (int64_t start = 0; start < lengths[i];) {
      if (room == 0) {
        out.emplace_back();
        room = max_length;
      }
      const int64_t length = std::min(room, lengths[i] - start);
      out.back().push_back({first_example + static_cast<int64_t>(i), start, length});
      start += length;
      room -= length;
    }
  }
}

}  // namespace

PackingStrategy ParsePackingStrategy(const std::string& name) {
  if (name == "bfd") return PackingStrategy::kBfd;
  if (name == "bfd_split") return PackingStrategy::kBfdSplit;
  if (name == "wrapped") return PackingStrategy::kWrapped;
  BadInput("packing_strategy \"{}\" is not known: use bfd, bfd_split or wrapped", name);
}

std::vector<PackedSequence> Pack(std::span<const int64_t> lengths, int64_t max_length, PackingStrategy strategy) {
  std::vector<PackedSequence> out;
  for (size_t first = 0; first < lengths.size(); first += kPackingBatch) {
    const auto batch = lengths.subspan(first, std::min(kPackingBatch, lengths.size() - first));
    const int64_t first_example = static_cast<int64_t>(first);
    if (strategy == PackingStrategy::kWrapped) {
      PackWrapped(batch, first_example, max_length, out);
      continue;
    }
    std::vector<PackedPiece> pieces;
    for (size_t i = 0; i < batch.size(); ++i) {
      AppendPieces(first_example + static_cast<int64_t>(i), batch[i], max_length,
                   strategy == PackingStrategy::kBfdSplit, pieces);
    }
    PackBestFit(std::move(pieces), max_length, out);
  }
  return out;
}

}  // namespace attune
