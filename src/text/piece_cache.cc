#include "text/piece_cache.h"

#include <functional>
#include <utility>

namespace attune {

size_t PieceCache::FindSlot(std::string_view piece, uint64_t hash) const {
  size_t at = hash & (slots_.size() - 1);
  for (;; at = (at + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[at];
    if (slot.piece_size == 0) return at;
    if (slot.hash == hash && std::string_view(pieces_).substr(slot.piece, slot.piece_size) == piece) return at;
  }
}

std::optional<std::span<const int32_t>> PieceCache::Find(std::string_view piece) const {
  const Slot& slot = slots_[FindSlot(piece, std::hash<std::string_view>()(piece))];
  if (slot.piece_size == 0) return std::nullopt;
  return std::span(ids_).subspan(slot.ids, slot.ids_size);
}

void PieceCache::Insert(std::string_view piece, std::span<const int32_t> ids) {
  if (piece.empty() || piece.size() > kMaxPieceBytes || ids.size() > 4 * kMaxPieceBytes) return;
  if (2 * (used_ + 1) > slots_.size() || ids_.size() + ids.size() > kMaxIds) Grow();
  const uint64_t hash = std::hash<std::string_view>()(piece);
  Slot& slot = slots_[FindSlot(piece, hash)];
  if (slot.piece_size != 0) return;
  slot = {hash, static_cast<uint32_t>(pieces_.size()), static_cast<uint32_t>(ids_.size()),
          static_cast<uint16_t>(piece.size()), static_cast<uint16_t>(ids.size())};
  pieces_ += piece;
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  ++used_;
}

void PieceCache::Grow() {
  const bool start_again = slots_.size() >= kMaxSlots || ids_.size() >= kMaxIds / 2;
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(start_again ? kFirstSlots : 4 * slots_.size()));
  if (start_again) {
    pieces_.clear();
    ids_.clear();
    used_ = 0;
    return;
  }
  for (const Slot& slot : old) {
    if (slot.piece_size == 0) continue;
    slots_[FindSlot(std::string_view(pieces_).substr(slot.piece, slot.piece_size), slot.hash)] = slot;
  }
}

std::unique_ptr<PieceCache> PieceCachePool::Take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<PieceCache>();
  std::unique_ptr<PieceCache> cache = std::move(free_.back());
  free_.pop_back();
  return cache;
}

void PieceCachePool::Return(std::unique_ptr<PieceCache> cache) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(cache));
}

}  // namespace attune
