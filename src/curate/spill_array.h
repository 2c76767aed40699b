// Long arrays that go to a file, piece by piece, once all of them together take more memory than they may: the index of
// a data set that is larger than memory. What is in an array does not depend on where it lies.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"

namespace attune {

// The memory that several arrays share, and the file. Safe from several threads.
class SpillStore {
 public:
  // `memory`: bytes that the arrays may hold; 0: any number. The file is made in `folder` when it is needed.
  SpillStore(std::string folder, int64_t memory) : folder_(std::move(folder)), memory_(memory) {}

  int64_t memory() const { return memory_; }
  bool IsOver() const { return memory_ > 0 && held_ > memory_; }
  void Hold(int64_t bytes) { held_ += bytes; }  // less where negative

  int64_t Write(const void* data, size_t size) { return File().Append(data, size); }
  void Read(int64_t at, void* data, size_t size) { File().Read(at, data, size); }

 private:
  SpillFile& File() {
    const std::lock_guard lock(mutex_);
    if (file_ == nullptr) file_ = std::make_unique<SpillFile>(folder_.empty() ? "." : folder_);
    return *file_;
  }

  std::string folder_;
  int64_t memory_;
  std::atomic<int64_t> held_{0};
  std::mutex mutex_;
  std::unique_ptr<SpillFile> file_;
};

// One thread may append, or several may look.
template <class T>
class SpillArray {
 public:
  explicit SpillArray(SpillStore* store) : store_(store) {}

  // What is appended at once lies together.
  void Append(std::span<const T> values) {
    if (values.empty()) return;
    if (pieces_.empty() || pieces_.back().values.capacity() - pieces_.back().values.size() < values.size())
      Begin(values.size());
    std::vector<T>& piece = pieces_.back().values;
    piece.insert(piece.end(), values.begin(), values.end());
    size_ += values.size();
  }

  size_t size() const { return size_; }

  // Hold until the array or `room` changes; `room` takes what is not in memory in one piece.
  std::span<const T> View(size_t first, size_t count, std::vector<T>* room) const {
    auto piece = std::upper_bound(pieces_.begin(), pieces_.end(), first,
                                  [](size_t place, const Piece& p) { return place < p.first; }) -
                 1;
    if (piece->at < 0 && first + count <= piece->first + piece->values.size())
      return std::span(piece->values).subspan(first - piece->first, count);
    room->resize(count);
    for (size_t done = 0; done < count; ++piece) {
      const size_t from = first + done - piece->first, n = std::min(count - done, piece->size() - from);
      if (piece->at < 0) {
        std::copy_n(piece->values.begin() + static_cast<std::ptrdiff_t>(from), n,
                    room->begin() + static_cast<std::ptrdiff_t>(done));
      } else {
        store_->Read(piece->at + static_cast<int64_t>(from * sizeof(T)), room->data() + done, n * sizeof(T));
      }
      done += n;
    }
    return *room;
  }

  // take(first, values) for all of it, from front to back.
  template <class Take>
  void ForEach(const Take& take) const {
    std::vector<T> room;
    for (const Piece& piece : pieces_) take(piece.first, View(piece.first, piece.size(), &room));
  }

  void Clear() {
    for (const Piece& piece : pieces_) store_->Hold(-Bytes(piece.values));
    pieces_ = {};
    size_ = 0;
  }

 private:
  static constexpr size_t kPieceValues = (size_t{64} << 10) / sizeof(T);

  struct Piece {
    size_t first = 0;
    std::vector<T> values;    // empty once they are in the file
    int64_t at = -1;          // in the file
    size_t values_there = 0;  // in the file
    size_t size() const { return at < 0 ? values.size() : values_there; }
  };

  static int64_t Bytes(const std::vector<T>& values) { return static_cast<int64_t>(values.capacity() * sizeof(T)); }

  void Begin(size_t least) {
    if (store_->IsOver()) {
      for (Piece& piece : pieces_) PutAway(piece);
    }
    Piece& piece = pieces_.emplace_back();
    piece.first = size_;
    piece.values.reserve(std::max(least, kPieceValues));
    store_->Hold(Bytes(piece.values));
  }

  void PutAway(Piece& piece) {
    if (piece.at >= 0) return;
    piece.at = store_->Write(piece.values.data(), piece.values.size() * sizeof(T));
    piece.values_there = piece.values.size();
    store_->Hold(-Bytes(piece.values));
    piece.values = {};
  }

  SpillStore* store_;
  std::vector<Piece> pieces_;
  size_t size_ = 0;
};

}  // namespace attune
