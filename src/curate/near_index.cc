#include "curate/near_index.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <numeric>
#include <tuple>

#include "base/error.h"
#include "base/threads.h"
#include "curate/byte_scan.h"
#include "text/unicode.h"

namespace attune {
namespace {

constexpr uint32_t kGroupStart = uint32_t{1} << 31;  // so there are half of 2^32 rows at most
constexpr size_t kComparedAll = 64;                  // in a group of up to so many each is compared with each
constexpr size_t kMostSpeakers = 256;                // of a larger one, clusters that a row is compared with

// Parts in which so many bytes are dealt with, so that one of them takes a quarter of the memory at most.
uint64_t Passes(size_t bytes, int64_t memory) {
  return memory <= 0 ? 1 : 1 + bytes / std::max<uint64_t>(static_cast<uint64_t>(memory) / 4, size_t{1} << 20);
}

// Sorts numbers by their upper half; equal ones stay in their order.
void SortByUpperHalf(std::vector<uint64_t>* numbers, std::vector<uint64_t>* room) {
  constexpr int kBits = 11, kDigits = 1 << kBits;
  room->resize(numbers->size());
  for (int shift = 32; shift < 64; shift += kBits) {
    const auto digit = [&](uint64_t number) { return number >> shift & (kDigits - 1); };
    std::array<size_t, kDigits + 1> places{};
    for (const uint64_t number : *numbers) ++places[digit(number) + 1];
    for (size_t i = 1; i < kDigits; ++i) places[i] += places[i - 1];
    for (const uint64_t number : *numbers) (*room)[places[digit(number)]++] = number;
    std::swap(*numbers, *room);
  }
}

bool IsZero(const XXH128_hash_t& hash) { return hash.low64 == 0 && hash.high64 == 0; }

// Of a byte: its lower case, and one blank for all white space.
constexpr std::array<char, 256> kAlike = [] {
  std::array<char, 256> table{};
  for (size_t i = 0; i < table.size(); ++i) {
    const bool is_blank = i == ' ' || (i >= 9 && i <= 13), is_upper = i >= 'A' && i <= 'Z';
    table[i] = is_blank ? ' ' : static_cast<char>(is_upper ? i + 32 : i);
  }
  return table;
}();

// Unicode in normal form C, lower case, one blank for any white space, none at the ends.
void MakeAlike(std::string_view text, std::string* out) {
  std::string normal;
  if (!IsAscii(text)) text = normal = LowercaseUnicode(NormalizeUnicode(text, NormalForm::kNfc));
  out->resize(text.size());
  if (FoldCase(text, out->data())) {
    if (out->starts_with(' ')) out->erase(0, 1);
    if (out->ends_with(' ')) out->pop_back();
    return;
  }
  char* end = out->data();
  bool after_blank = true;
  for (const char c : text) {  // without a branch: what is written where nothing shall be is written over
    const char alike = kAlike[static_cast<unsigned char>(c)];
    const bool is_blank = alike == ' ';
    *end = alike;
    end += !(is_blank && after_blank);
    after_blank = is_blank;
  }
  out->resize(static_cast<size_t>(end - out->data()));
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
  exact_.Append(block.exact);
  words_.insert(words_.end(), block.words.begin(), block.words.end());
  std::vector<uint32_t> column;
  for (size_t kind = 0; kind < 2; ++kind) {
    const BlockSketch::Index& index = block.index[kind];
    column.clear();
    for (const uint32_t row : index.rows) column.push_back(static_cast<uint32_t>(base + row));
    index_rows_[kind].Append(column);
    for (size_t band = 0; band < kBands; ++band) {
      for (size_t i = 0; i < index.bands.size(); ++i) column[i] = index.bands[i][band];
      keys_[kind * kBands + band].Append(column);
    }
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
  InThreads<NoRoom>(threads, 2 * kBands, [&](size_t i, NoRoom&) { FindGroups(i / kBands, i % kBands, threads); });
  for (Numbers& rows_of : index_rows_) rows_of.Clear();
}

// Rows are taken a range of hashes after the other where they do not all fit into memory. Equal ones are in one range.
void NearIndex::FindExact() {
  using Entry = std::pair<XXH128_hash_t, uint32_t>;
  std::vector<Entry> entries;
  const uint64_t passes = Passes(exact_.size() * sizeof(Entry), store_.memory());
  for (uint64_t pass = 0; pass < passes; ++pass) {
    entries.clear();
    entries.reserve(exact_.size() / passes);
    exact_.ForEach([&](size_t first, std::span<const XXH128_hash_t> hashes) {
      for (size_t i = 0; i < hashes.size(); ++i) {
        if (!IsZero(hashes[i]) && (hashes[i].high64 >> 32) * passes >> 32 == pass)
          entries.emplace_back(hashes[i], static_cast<uint32_t>(first + i));
      }
    });
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return std::tie(a.first.high64, a.first.low64, a.second) < std::tie(b.first.high64, b.first.low64, b.second);
    });
    JoinExact(entries);
  }
  exact_.Clear();
}

void NearIndex::JoinExact(std::span<const std::pair<XXH128_hash_t, uint32_t>> rows) {
  for (size_t i = 1; i < rows.size(); ++i) {
    const auto& [hash, row] = rows[i];
    const auto& [hash_before, before] = rows[i - 1];
    if (hash.low64 != hash_before.low64 || hash.high64 != hash_before.high64) continue;
    const uint32_t first = result_.cluster[before];
    result_.cluster[row] = result_.twin[row] = first;
    result_.similarity[row] = 1;
    if (result_.twin[first] == kNoRow) result_.twin[first] = row, result_.similarity[first] = 1;
  }
}

// Of exact doubles only the first stands for all. As FindExact, a range of keys after the other.
void NearIndex::FindGroups(size_t kind, size_t band, int64_t threads) {
  const Numbers& rows_of = index_rows_[kind];
  Numbers& keys_of = keys_[kind * kBands + band];
  std::vector<uint64_t> keys, sort_room;
  std::vector<uint32_t> room;
  const uint64_t passes = Passes(2 * rows_of.size() * sizeof(uint64_t), store_.memory() / threads);
  for (uint64_t pass = 0; pass < passes; ++pass) {
    keys.clear();
    keys.reserve(rows_of.size() / passes);
    rows_of.ForEach([&](size_t first, std::span<const uint32_t> numbers) {
      const auto column = keys_of.View(first, numbers.size(), &room);
      for (size_t i = 0; i < numbers.size(); ++i) {
        if (column[i] * passes >> 32 == pass && result_.cluster[numbers[i]] == numbers[i])
          keys.push_back(uint64_t{column[i]} << 32 | numbers[i]);
      }
    });
    SortByUpperHalf(&keys, &sort_room);
    AddGroups(keys, kind, &groups_[kind * kBands + band]);
  }
  keys_of.Clear();
}

void NearIndex::AddGroups(std::span<uint64_t> keys, size_t kind, Numbers* groups) {
  std::vector<uint32_t> group;
  for (size_t i = 0; i < keys.size();) {
    size_t end = i + 1;
    while (end < keys.size() && keys[end] >> 32 == keys[i] >> 32) ++end;
    group.clear();
    for (size_t k = i; end - i > 1 && k < end; ++k) {
      const auto row = static_cast<uint32_t>(keys[k]);
      group.push_back(k == i ? row | kGroupStart : row);
      std::atomic_ref<uint8_t>(flags_[row]).fetch_or(static_cast<uint8_t>(1u << kind), std::memory_order_relaxed);
    }
    groups->Append(group);
    i = end;
  }
}

void NearIndex::SetShingles(uint32_t row, ShingleKind kind, std::span<const uint32_t> set) {
  ShingleSets& sets = sets_[static_cast<size_t>(kind)];
  sets.values.Append(set);
  sets.rows.push_back(row);
  sets.ends.push_back(sets.values.size());
}

std::span<const uint32_t> NearIndex::SetOf(uint32_t row, ShingleKind kind, std::vector<uint32_t>* room) const {
  const ShingleSets& sets = sets_[static_cast<size_t>(kind)];
  const auto i = static_cast<size_t>(std::lower_bound(sets.rows.begin(), sets.rows.end(), row) - sets.rows.begin());
  const uint64_t begin = i == 0 ? 0 : sets.ends[i - 1];
  return sets.values.View(begin, sets.ends[i] - begin, room);
}

uint32_t NearIndex::Root(uint32_t row) { return RootOf(result_.cluster, row); }

bool NearIndex::Compare(uint32_t a, uint32_t b, ShingleKind kind) {
  if (kind == ShingleKind::kCharacters && words_[a] >= kFewWords && words_[b] >= kFewWords) return false;
  const std::span<const uint32_t> x = SetOf(a, kind, &set_rooms_[0]), y = SetOf(b, kind, &set_rooms_[1]);
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
  std::vector<uint32_t> group;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const auto kind = static_cast<ShingleKind>(i / kBands);
    groups_[i].ForEach([&](size_t, std::span<const uint32_t> rows_of) {
      for (const uint32_t row : rows_of) {
        if ((row & kGroupStart) != 0) {
          CompareGroup(group, kind);
          group.clear();
        }
        group.push_back(row & ~kGroupStart);
      }
    });
    CompareGroup(group, kind);
    group.clear();
    groups_[i].Clear();
  }
  for (uint32_t row = 0; row < rows(); ++row) result_.cluster[row] = Root(row);
  return std::move(result_);
}

}  // namespace attune
