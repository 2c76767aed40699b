// Texts repeat their words: what the model made of a piece is kept for the next time. Bounded.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

// For one thread at a time. When full, it forgets everything and starts again.
class PieceCache {
 public:
  static constexpr size_t kMaxPieceBytes = 256;

  PieceCache() : slots_(kFirstSlots) {}
  // The span lives until the next Insert.
  std::optional<std::span<const int32_t>> Find(std::string_view piece) const;
  void Insert(std::string_view piece, std::span<const int32_t> ids);

 private:
  static constexpr size_t kFirstSlots = 1 << 10, kMaxSlots = 1 << 16;
  static constexpr size_t kMaxIds = 1 << 19;
  struct Slot {
    uint64_t hash = 0;
    uint32_t piece = 0, ids = 0;            // where in pieces_ and ids_
    uint16_t piece_size = 0, ids_size = 0;  // piece_size 0: free
  };
  size_t FindSlot(std::string_view piece, uint64_t hash) const;
  void Grow();

  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t used_ = 0;
  std::string pieces_;
  std::vector<int32_t> ids_;
};

// Hands a cache to each call of a shared, immutable tokenizer, so that pieces need no lock.
class PieceCachePool {
 public:
  std::unique_ptr<PieceCache> Take();
  void Return(std::unique_ptr<PieceCache> cache);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<PieceCache>> free_;
};

}  // namespace attune
