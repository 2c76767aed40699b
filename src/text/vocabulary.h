// Token texts and ids: one arena of characters and one flat hash table, so that loading a vocabulary of
// hundreds of thousands of tokens costs a few milliseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

constexpr int32_t kMaxTokenId = 1 << 26;  // keeps tables by id small; real vocabularies stay below 2^20

// Built once, then read by many threads.
class Vocabulary {
 public:
  // Makes room for that many tokens.
  void Reserve(size_t tokens, size_t bytes);

  // A text that occurs twice keeps its last id; both ids keep the text. `id` is in [0, kMaxTokenId).
  void Add(std::string_view token, int32_t id);

  std::optional<int32_t> Find(std::string_view token) const;
  bool Has(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < texts_.size() && texts_[id].present; }
  std::string_view Text(int32_t id) const;  // "" when there is no such id
  size_t distinct_tokens() const { return distinct_; }
  size_t longest_bytes() const { return longest_; }                       // of a token
  int32_t end_id() const { return static_cast<int32_t>(texts_.size()); }  // highest id + 1

 private:
  struct Span {
    uint32_t offset = 0, size = 0;
    bool present = false;
  };
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;  // -1: free
  };
  void Rehash(size_t slots);
  size_t FindSlot(std::string_view token, uint32_t hash) const;

  std::string arena_;
  std::vector<Span> texts_;  // by id
  std::vector<Slot> slots_;  // a power of two
  size_t distinct_ = 0, longest_ = 0;
};

// (left id, right id) -> what they merge to.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = 0;  // low ranks merge first
    int32_t id = -1;
  };
  void Reserve(size_t merges);
  void Add(int32_t left, int32_t right, Merge merge);  // a pair that occurs twice keeps its last merge
  const Merge* Find(int32_t left, int32_t right) const {
    if (slots_.empty()) return nullptr;
    const uint64_t key = Key(left, right);
    for (size_t at = Hash(key) & (slots_.size() - 1);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].key == key) return &slots_[at].merge;
      if (slots_[at].key == kFree) return nullptr;
    }
  }

 private:
  static constexpr uint64_t kFree = UINT64_MAX;
  struct Slot {
    uint64_t key = kFree;
    Merge merge;
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  static size_t Hash(uint64_t key) {
    key *= 0x9E3779B97F4A7C15u;  // Fibonacci hashing
    return static_cast<size_t>(key ^ key >> 32);
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t size_ = 0;
};

}  // namespace attune
