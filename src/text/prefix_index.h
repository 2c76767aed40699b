// Which strings of a fixed set does a text start with? Sorted strings and narrowing ranges: no build cost
// beyond the sort, and one binary search a byte.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

// Immutable after construction.
class PrefixIndex {
 public:
  struct Entry {
    std::string text;  // not empty
    int32_t id = 0;
  };
  static constexpr size_t kMaxBytes = 1024;  // of a string, so that a lookup is bounded

  PrefixIndex() = default;
  // Entries with the same text: the last one wins. `where` names the file for errors.
  // Errors: Error{kBadInput} for a text longer than kMaxBytes.
  PrefixIndex(std::vector<Entry> entries, const std::string& where);

  bool empty() const { return entries_.empty(); }

  // Calls found(length, id) for every string that `text` starts with, shortest first.
  template <class Found>
  void ForEachPrefix(std::string_view text, const Found& found) const {
    if (text.empty()) return;
    auto [low, high] = first_[static_cast<unsigned char>(text[0])];
    for (size_t depth = 1; low < high; ++depth) {
      if (entries_[low].text.size() == depth) {  // the shortest of those that share these bytes sorts first
        found(depth, entries_[low].id);
        if (++low == high) return;
      }
      if (depth == text.size()) return;
      Narrow(depth, text[depth], &low, &high);
    }
  }

 private:
  void Narrow(size_t depth, char byte, uint32_t* low, uint32_t* high) const;

  std::vector<Entry> entries_;                                 // sorted by bytes
  std::array<std::pair<uint32_t, uint32_t>, 256> first_ = {};  // entries that start with this byte
};

}  // namespace attune
