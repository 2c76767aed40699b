#include "text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "base/error.h"

namespace attune {
namespace {

uint32_t HashText(std::string_view text) {
  const size_t hash = std::hash<std::string_view>()(text);
  return static_cast<uint32_t>(hash ^ hash >> 32);
}

}  // namespace

void Vocabulary::Reserve(size_t tokens, size_t bytes) {
  arena_.reserve(bytes);
  texts_.reserve(tokens);
  Rehash(std::bit_ceil(2 * tokens + 2));
}

void Vocabulary::Rehash(size_t slots) {
  if (slots <= slots_.size()) return;
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(slots));
  for (const Slot& slot : old) {
    if (slot.id < 0) continue;
    size_t at = slot.hash & (slots_.size() - 1);
    while (slots_[at].id >= 0) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = slot;
  }
}

size_t Vocabulary::FindSlot(std::string_view token, uint32_t hash) const {
  size_t at = hash & (slots_.size() - 1);
  while (slots_[at].id >= 0 && !(slots_[at].hash == hash && Text(slots_[at].id) == token)) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return at;
}

void Vocabulary::Add(std::string_view token, int32_t id) {
  if (arena_.size() + token.size() > UINT32_MAX) Failed("the vocabulary's tokens take more than 4 GiB");
  if (2 * (distinct_ + 1) > slots_.size()) Rehash(std::bit_ceil(2 * (distinct_ + 1) + 2));
  if (static_cast<size_t>(id) >= texts_.size()) texts_.resize(id + 1);
  texts_[id] = {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(token.size()), true};
  arena_ += token;
  longest_ = std::max(longest_, token.size());
  const uint32_t hash = HashText(token);
  Slot& slot = slots_[FindSlot(token, hash)];
  if (slot.id < 0) ++distinct_;
  slot = {hash, id};
}

std::optional<int32_t> Vocabulary::Find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const Slot& slot = slots_[FindSlot(token, HashText(token))];
  return slot.id < 0 ? std::nullopt : std::optional(slot.id);
}

std::string_view Vocabulary::Text(int32_t id) const {
  if (!Has(id)) return {};
  return std::string_view(arena_).substr(texts_[id].offset, texts_[id].size);
}

void MergeTable::Reserve(size_t merges) {
  const size_t wanted = std::bit_ceil(2 * merges + 2);
  if (wanted <= slots_.size()) return;
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(wanted));
  size_ = 0;
  for (const Slot& slot : old) {
    if (slot.key != kFree) Add(static_cast<int32_t>(slot.key >> 32), static_cast<int32_t>(slot.key), slot.merge);
  }
}

void MergeTable::Add(int32_t left, int32_t right, Merge merge) {
  Reserve(size_ + 1);
  const uint64_t key = Key(left, right);
  size_t at = Hash(key) & (slots_.size() - 1);
  while (slots_[at].key != key && slots_[at].key != kFree) at = (at + 1) & (slots_.size() - 1);
  if (slots_[at].key == kFree) ++size_;
  slots_[at] = {key, merge};
}

}  // namespace attune
