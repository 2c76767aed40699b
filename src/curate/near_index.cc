#include "curate/near_index.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/threads.h"
#include "text/unicode.h"

namespace attune {
namespace {

constexpr uint32_t kGroupStart = uint32_t{1} << 31;  // so there are half of 2^32 rows at most
constexpr size_t kComparedAll = 64;                  // in a group of up to so many each is compared with each
constexpr size_t kMostSpeakers = 256;                // of a larger one, clusters that a row is compared with

bool IsZero(const XXH128_hash_t& hash) { return hash.low64 == 0 && hash.high64 == 0; }

// Unicode in normal form C, lower case, one blank for any white space, none at the ends.
void MakeAlike(std::string_view text, std::string* out) {
  out->clear();
  const bool ascii =
      std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  std::string normal;
  if (!ascii) text = normal = LowercaseUnicode(NormalizeUnicode(text, NormalForm::kNfc));
  for (const char c : text) {
    if (c == ' ' || (c >= 9 && c <= 13)) {
      if (!out->empty() && out->back() != ' ') out->push_back(' ');
    } else {
      out->push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
    }
  }
  if (!out->empty() && out->back() == ' ') out->pop_back();
}

}  // namespace

void Sketcher::AddNone(RowOrigin origin, BlockSketch* block) {
  block->origins.push_back(origin);
  block->exact.push_back({0, 0});
  block->words.push_back(0);
}

void Sketcher::Add(std::string_view text, RowOrigin origin, BlockSketch* block) {
  MakeAlike(text, &normal_);
  if (normal_.empty()) return AddNone(origin, block);
  const XXH128_hash_t exact = XXH3_128bits(normal_.data(), normal_.size());
  origin.content = exact.low64;
  origin.length = static_cast<uint32_t>(std::min<size_t>(text.size(), UINT32_MAX));
  const auto row = static_cast<uint32_t>(block->origins.size());
  block->origins.push_back(origin);
  block->exact.push_back(exact);
  if (!near_) return block->words.push_back(0);
  words_.Read(text);
  block->words.push_back(static_cast<uint16_t>(std::min<size_t>(words_.count(), UINT16_MAX)));
  const auto sign = [&](ShingleKind kind) {
    if (shingles_.empty()) return;
    BlockSketch::Index& index = block->index[static_cast<size_t>(kind)];
    index.rows.push_back(row);
    index.bands.push_back(MinHashBands(shingles_));
  };
  if (words_.count() >= kFewWords) {
    WordShingles(words_, &shingles_);
    sign(ShingleKind::kWords);
  }
  if (words_.count() <= most_words_) {
    CharacterShingles(words_, &shingles_);
    sign(ShingleKind::kCharacters);
  }
}

void Sketcher::Shingles(std::string_view text, ShingleKind kind, std::vector<uint32_t>* set) {
  words_.Read(text);
  if (kind == ShingleKind::kWords) {
    WordShingles(words_, set);
  } else {
    CharacterShingles(words_, set);
  }
  MakeShingleSet(set);
}

void NearIndex::Add(const BlockSketch& block) {
  const size_t base = rows();
  if (base + block.origins.size() >= kGroupStart)
    BadInput("more than {} rows: deduplicate parts of the data first", kGroupStart - 1);
  result_.rows.insert(result_.rows.end(), block.origins.begin(), block.origins.end());
  exact_.insert(exact_.end(), block.exact.begin(), block.exact.end());
  words_.insert(words_.end(), block.words.begin(), block.words.end());
  for (size_t kind = 0; kind < 2; ++kind) {
    for (const uint32_t row : block.index[kind].rows)
      index_[kind].rows.push_back(static_cast<uint32_t>(base + row));
    index_[kind].bands.insert(index_[kind].bands.end(), block.index[kind].bands.begin(),
                              block.index[kind].bands.end());
  }
}

void NearIndex::FindCandidates(int64_t threads) {
  result_.cluster.resize(rows());
  std::iota(result_.cluster.begin(), result_.cluster.end(), 0u);
  result_.twin.assign(rows(), kNoRow);
  result_.similarity.assign(rows(), 0);
  flags_.assign(rows(), 0);
  FindExact();
  struct NoRoom {};
  InThreads<NoRoom>(threads, 2 * kBands, [&](size_t i, NoRoom&) { FindGroups(i / kBands, i % kBands); });
  for (BlockSketch::Index& index : index_) index = {};
}

void NearIndex::FindExact() {
  std::vector<uint32_t> order(rows());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::tie(exact_[a].high64, exact_[a].low64, a) < std::tie(exact_[b].high64, exact_[b].low64, b);
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const XXH128_hash_t &hash = exact_[order[i]], &before = exact_[order[i - 1]];
    if (IsZero(hash) || hash.low64 != before.low64 || hash.high64 != before.high64) continue;
    const uint32_t first = result_.cluster[order[i - 1]];
    result_.cluster[order[i]] = result_.twin[order[i]] = first;
    result_.similarity[order[i]] = 1;
    if (result_.twin[first] == kNoRow) result_.twin[first] = order[i], result_.similarity[first] = 1;
  }
  exact_ = {};
}

// Of exact doubles only the first stands for all.
void NearIndex::FindGroups(size_t kind, size_t band) {
  const BlockSketch::Index& index = index_[kind];
  std::vector<uint64_t> keys;
  keys.reserve(index.rows.size());
  for (size_t i = 0; i < index.rows.size(); ++i) {
    const uint32_t row = index.rows[i];
    if (result_.cluster[row] == row) keys.push_back(uint64_t{index.bands[i][band]} << 32 | row);
  }
  std::sort(keys.begin(), keys.end());
  std::vector<uint32_t>& groups = groups_[kind][band];
  for (size_t i = 0; i < keys.size();) {
    size_t end = i + 1;
    while (end < keys.size() && keys[end] >> 32 == keys[i] >> 32) ++end;
    for (size_t k = i; end - i > 1 && k < end; ++k) {
      const auto row = static_cast<uint32_t>(keys[k]);
      groups.push_back(k == i ? row | kGroupStart : row);
      std::atomic_ref<uint8_t>(flags_[row])
          .fetch_or(static_cast<uint8_t>(1u << kind), std::memory_order_relaxed);
    }
    i = end;
  }
}

uint32_t NearIndex::Root(uint32_t row) { return RootOf(result_.cluster, row); }

bool NearIndex::Compare(uint32_t a, uint32_t b, ShingleKind kind) {
  if (kind == ShingleKind::kCharacters && words_[a] >= kFewWords && words_[b] >= kFewWords) return false;
  const auto& sets = sets_[static_cast<size_t>(kind)];
  const std::vector<uint32_t>&x = sets.at(a), &y = sets.at(b);
  const auto [less, more] = std::minmax({x.size(), y.size()});
  if (static_cast<double>(less) < threshold_ * static_cast<double>(more)) return false;  // it cannot reach it
  ++result_.candidates;
  const double similarity = Jaccard(x.data(), x.size(), y.data(), y.size());
  if (similarity < threshold_) return false;
  ++result_.near_pairs;
  for (const auto& [row, other] : {std::pair(a, b), std::pair(b, a)}) {
    if (result_.twin[row] != kNoRow && result_.similarity[row] >= similarity) continue;
    result_.twin[row] = other;
    result_.similarity[row] = static_cast<float>(similarity);
  }
  const auto [low, high] = std::minmax({Root(a), Root(b)});
  result_.cluster[high] = low;
  return true;
}

// Pairs that are in one cluster already are not compared again. In a large group a row is compared with one
// of each cluster only: the group of a text that stands there a thousand times would take a million
// comparisons otherwise.
void NearIndex::CompareGroup(std::span<const uint32_t> group, ShingleKind kind) {
  std::vector<uint32_t> speakers;
  for (const uint32_t row : group) {
    bool spoken_for = false;
    for (const uint32_t other : speakers) {
      const bool together = Root(row) == Root(other);
      spoken_for |= together || Compare(row, other, kind);
    }
    if (group.size() > kComparedAll && (spoken_for || speakers.size() == kMostSpeakers)) continue;
    speakers.push_back(row);
  }
}

DuplicateClusters NearIndex::Finish() {
  for (size_t kind = 0; kind < 2; ++kind) {
    for (std::vector<uint32_t>& groups : groups_[kind]) {
      std::vector<uint32_t> group;
      for (size_t i = 0; i <= groups.size(); ++i) {
        if (i == groups.size() || (groups[i] & kGroupStart) != 0) {
          CompareGroup(group, static_cast<ShingleKind>(kind));
          group.clear();
        }
        if (i < groups.size()) group.push_back(groups[i] & ~kGroupStart);
      }
      groups = {};
    }
  }
  for (uint32_t row = 0; row < rows(); ++row) result_.cluster[row] = Root(row);
  return std::move(result_);
}

}  // namespace attune
