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
#include "curate/spill_array.h"

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

// Holds about 60 bytes a row; what else it keeps (some 150 to 300 bytes a row, and shingles of rows that may have a
// double) goes to a file where it takes more than `memory` bytes. The result is the same.
class NearIndex {
 public:
  // memory: 0: any. The file, if there must be one, is made in `folder`.
  explicit NearIndex(double threshold, int64_t memory = 0, const std::string& folder = ".")
      : threshold_(threshold), store_(folder, memory) {}

  void Add(const BlockSketch& block);  // in the order of the rows
  // Call once, after all Add: exact clusters, and which rows may have a near double.
  void FindCandidates(int64_t threads);
  bool IsCandidate(uint32_t row, ShingleKind kind) const { return flags_[row] >> static_cast<unsigned>(kind) & 1; }
  // In the order of the rows.
  void SetShingles(uint32_t row, ShingleKind kind, std::span<const uint32_t> set);
  // Call once, when all candidates have their shingles.
  DuplicateClusters Finish();

  size_t rows() const { return result_.rows.size(); }

 private:
  using Numbers = SpillArray<uint32_t>;
  struct ShingleSets {
    std::vector<uint32_t> rows;  // ascending
    std::vector<uint64_t> ends;  // of each in `values`
    Numbers values;
  };

  void FindExact();
  void JoinExact(std::span<const std::pair<XXH128_hash_t, uint32_t>> rows);
  void FindGroups(size_t kind, size_t band, int64_t threads);
  void AddGroups(std::span<uint64_t> keys, size_t kind, Numbers* groups);
  void CompareGroup(std::span<const uint32_t> group, ShingleKind kind);
  bool Compare(uint32_t a, uint32_t b, ShingleKind kind);
  std::span<const uint32_t> SetOf(uint32_t row, ShingleKind kind, std::vector<uint32_t>* room) const;
  uint32_t Root(uint32_t row);

  double threshold_;
  SpillStore store_;
  DuplicateClusters result_;
  SpillArray<XXH128_hash_t> exact_{&store_};
  std::vector<uint16_t> words_;
  // By ShingleKind: the rows that have such shingles, and of each band their keys.
  std::vector<Numbers> index_rows_ = std::vector<Numbers>(2, Numbers(&store_));
  std::vector<Numbers> keys_ = std::vector<Numbers>(2 * kBands, Numbers(&store_));
  // Rows that share a band's key, by kind and band: the first of each group has the highest bit set.
  std::vector<Numbers> groups_ = std::vector<Numbers>(2 * kBands, Numbers(&store_));
  std::vector<uint8_t> flags_;  // bits by ShingleKind: it is in a group
  ShingleSets sets_[2] = {{{}, {}, Numbers(&store_)}, {{}, {}, Numbers(&store_)}};
  std::vector<uint32_t> set_rooms_[2];
};

}  // namespace attune
