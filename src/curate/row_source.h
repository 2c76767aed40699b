// All records of several files and folders, block by block, whatever each is stored in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/threads.h"
#include "curate/record_reader.h"

namespace attune {

struct DataFile {
  std::string path;
  Container container = Container::kJsonl;
  std::vector<std::string> columns;  // of CSV and TSV
};

// The data files that `path` stands for: itself, or the files of a folder and of the folders in it whose
// names ContainerOf knows. Errors: Error{kBadInput}: a folder without any, a file whose kind neither name nor
// first byte tells.
std::vector<DataFile> FindDataFiles(const std::vector<std::string>& paths);

// A part of all rows, for one of several processes: those that begin in the I-th of N equal stretches of the files'
// bytes, so that the parts one after the other are the whole. A packed or Parquet file goes as a whole to where it
// begins.
struct Shard {
  int64_t index = 1, of = 0;  // from 1; of = 0: all rows

  // "2/4". Errors: Error{kBadInput} naming the flag.
  static Shard Named(const std::string& text);
  bool is_part() const { return of > 0; }
};

// --columns prompt=question: the key that row formats know, and what the files call it.
using ColumnMap = std::vector<std::pair<std::string, std::string>>;

class RowSource {
 public:
  // Errors: Error{kBadInput} as FindDataFiles; files with columns whose columns differ, naming both, or lack
  // one of `names`.
  explicit RowSource(const std::vector<std::string>& paths, const ColumnMap& names = {}, Shard shard = {});
  // Files that are known to be there and to be without columns.
  explicit RowSource(std::vector<DataFile> files) : files_(std::move(files)) {}

  // Next ends with the block in which so many bytes of records are reached.
  void StopAfter(int64_t bytes) { bytes_left_ = bytes; }
  bool AtEnd() const { return file_ == files_.size(); }  // Next has come to the end of the last file

  // Errors: as RecordReader::Next. false at the end of the last file.
  bool Next(RecordBlock* block);

  const std::vector<DataFile>& files() const { return files_; }

 private:
  void CheckColumns(const ColumnMap& names);
  bool OpenNext();
  void LeaveOthers(RecordBlock* block);

  std::vector<DataFile> files_;
  std::vector<int64_t> starts_;                      // of a shard: bytes of the files before each, and of all
  int64_t shard_begin_ = 0, shard_end_ = INT64_MAX;  // among them
  size_t file_ = 0;
  int64_t records_ = 0;  // handed over
  int64_t bytes_left_ = INT64_MAX;
  bool before_header_ = false;
  bool is_cut_ = false, is_past_ = false;  // the file has rows of other shards; the last block reached behind the shard
  std::optional<RecordReader> reader_;
};

// Calls take(block, result) for each block in order, where result = work(block, room) was made by one of
// `threads` threads; `room` is the thread's own. `take` runs on any of them, one call at a time. Memory holds a
// few blocks at a time. Errors: what `work`, `take` and RowSource::Next throw, the first in the order of the rows.
template <class Result, class Room, class Work, class Take>
void ForEachBlock(RowSource& source, int64_t threads, const Work& work, const Take& take) {
  struct Piece {
    RecordBlock block;
    Result result;
  };
  const auto read = [&](Piece& piece) { return source.Next(&piece.block); };
  const auto work_on = [&](Piece& piece, Room& room) { piece.result = work(piece.block, room); };
  const auto take_piece = [&](Piece& piece) { take(piece.block, piece.result); };
  constexpr size_t kBlocksAThread = 4;
  OrderedStream<Piece, Room, decltype(read), decltype(work_on), decltype(take_piece)>(
      kBlocksAThread * static_cast<size_t>(threads), read, work_on, take_piece)
      .Run(threads);
}

}  // namespace attune
