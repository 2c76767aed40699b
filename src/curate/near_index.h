// The part of duplicate search that sees rows as sketches only: exact doubles by hash, near ones by MinHash
// bands, verified by their shingles. FindDuplicates (curate/duplicates.h) feeds it.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "curate/duplicates.h"
#include "curate/minhash.h"
#include "curate/shingles.h"

namespace attune {

// Texts of fewer words are compared by characters. One of a few more may be like one of a few less (20 words
// are 0.7 of 28), so those are in both indexes; a pair is compared by words where both have enough of them.
enum class ShingleKind : uint8_t { kWords, kCharacters };

// Rows of one block in their order.
struct BlockSketch {
  struct Index {
    std::vector<uint32_t> rows;  // within the block
    std::vector<BandKeys> bands;
  };
  std::vector<RowOrigin> origins;
  std::vector<XXH128_hash_t> exact;  // zeros: a row that is like no other
  std::vector<uint16_t> words;       // how many, at most 65535
  Index index[2];                    // by ShingleKind
};

// Makes sketches. One a thread.
class Sketcher {
 public:
  explicit Sketcher(bool near, double threshold)
      : near_(near), most_words_(static_cast<size_t>(kFewWords / threshold)) {}
  void Add(std::string_view text, RowOrigin origin, BlockSketch* block);
  void AddNone(RowOrigin origin, BlockSketch* block);  // a row that is like no other
  // The set by which the text is compared; empty where it has no shingles of this kind.
  void Shingles(std::string_view text, ShingleKind kind, std::vector<uint32_t>* set);

 private:
  bool near_;
  size_t most_words_;
  NormalWords words_;
  std::vector<uint32_t> shingles_;
  std::string normal_;
};

class NearIndex {
 public:
  explicit NearIndex(double threshold) : threshold_(threshold) {}

  void Add(const BlockSketch& block);  // in the order of the rows
  // Call once, after all Add: exact clusters, and which rows may have a near double.
  void FindCandidates(int64_t threads);
  bool IsCandidate(uint32_t row, ShingleKind kind) const {
    return flags_[row] >> static_cast<unsigned>(kind) & 1;
  }
  void SetShingles(uint32_t row, ShingleKind kind, std::vector<uint32_t> set) {
    sets_[static_cast<size_t>(kind)][row] = std::move(set);
  }
  // Call once, when all candidates have their shingles.
  DuplicateClusters Finish();

  size_t rows() const { return result_.rows.size(); }

 private:
  void FindExact();
  void FindGroups(size_t kind, size_t band);
  void CompareGroup(std::span<const uint32_t> group, ShingleKind kind);
  bool Compare(uint32_t a, uint32_t b, ShingleKind kind);
  uint32_t Root(uint32_t row);

  double threshold_;
  DuplicateClusters result_;
  std::vector<XXH128_hash_t> exact_;
  std::vector<uint16_t> words_;
  BlockSketch::Index index_[2];  // rows by number
  // Rows that share a band's key, by kind and band: the first of each group has the highest bit set.
  std::vector<uint32_t> groups_[2][kBands];
  std::vector<uint8_t> flags_;  // bits by ShingleKind: it is in a group
  std::unordered_map<uint32_t, std::vector<uint32_t>> sets_[2];
};

}  // namespace attune
