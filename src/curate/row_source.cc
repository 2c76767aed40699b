#include "curate/row_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "curate/csv.h"
#include "data/data_files.h"

namespace attune {
namespace {

constexpr int64_t kMostShards = 1'000'000;

constexpr const char* kKinds = ".jsonl, .json, .csv, .tsv and .txt, also with .gz or .zst, and .parquet";

// A file that was named itself may be called anything: JSON shows by its first character.
Container KindOf(const std::string& path) {
  if (const auto known = ContainerOf(path)) return *known;
  ByteSource source(path);
  const std::string_view start = source.Next();
  const size_t at = start.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  if (at != start.npos && (start[at] == '{' || start[at] == '[')) return Container::kJson;
  BadInput("{}: cannot tell what kind of file it is; known are {}", path, kKinds);
}

bool HasColumns(Container container) { return container == Container::kCsv || container == Container::kTsv; }

std::vector<std::string> ReadColumns(const DataFile& file) {
  RecordReader reader{ByteSource(file.path), file.container};
  RecordBlock block;
  if (!reader.Next(&block, 1)) BadInput("{}: is empty; the first line must name the columns", file.path);
  return CsvColumns(block.text(block.records.front()), file.container == Container::kCsv ? ',' : '\t',
                    fmt::format("{}:{}", file.path, block.records.front().line));
}

}  // namespace

std::vector<DataFile> FindDataFiles(const std::vector<std::string>& paths) {
  std::vector<DataFile> files;
  for (const std::string& path : paths) {
    const auto accepts = [](std::string_view name) {
      return ContainerOf(name).has_value() && !name.ends_with(".manifest.json");  // of a stage (curate/stage_files.h)
    };
    for (std::string& file : FilesIn(path, accepts, kKinds)) {
      const Container container = KindOf(file);
      files.push_back({std::move(file), container, {}});
    }
  }
  return files;
}

Shard Shard::Named(const std::string& text) {
  Shard shard;
  const char* const end = text.data() + text.size();
  const auto index = std::from_chars(text.data(), end, shard.index);
  const bool parted = index.ec == std::errc() && index.ptr != end && *index.ptr == '/';
  const auto of = parted ? std::from_chars(index.ptr + 1, end, shard.of) : index;
  if (!parted || of.ec != std::errc() || of.ptr != end || shard.index < 1 || shard.index > shard.of ||
      shard.of > kMostShards)
    BadInput("--shard {}: write I/N, as in 2/4: the I-th of N parts, I from 1 to N, N up to {}", text, kMostShards);
  return shard;
}

RowSource::RowSource(const std::vector<std::string>& paths, const ColumnMap& names, Shard shard)
    : files_(FindDataFiles(paths)) {
  CheckColumns(names);
  if (!shard.is_part()) return;
  starts_ = {0};
  for (const DataFile& file : files_) starts_.push_back(starts_.back() + FileSize(file.path));
  const int64_t all = starts_.back();
  const auto cut = [&](int64_t part) { return all / shard.of * part + all % shard.of * part / shard.of; };
  shard_begin_ = cut(shard.index - 1);
  shard_end_ = cut(shard.index);
}

void RowSource::CheckColumns(const ColumnMap& names) {
  const DataFile* first = nullptr;
  for (DataFile& file : files_) {
    if (!HasColumns(file.container)) {
      FileSize(file.path);  // it is there
      continue;
    }
    file.columns = ReadColumns(file);
    if (first == nullptr) first = &file;
    for (const auto& [name, column] : names) {
      if (std::find(file.columns.begin(), file.columns.end(), column) == file.columns.end()) {
        BadInput("{}: --columns: has no column \"{}\", only {}", file.path, column, fmt::join(file.columns, ", "));
      }
    }
    if (file.columns != first->columns) {
      BadInput("{}: its columns are {}, those of {} are {}; read files with other columns in a run of their own",
               file.path, fmt::join(file.columns, ", "), first->path, fmt::join(first->columns, ", "));
    }
  }
}

// Opens the file that file_ is about, or one behind it that has rows of the shard. false: there is none.
bool RowSource::OpenNext() {
  for (; file_ < files_.size(); ++file_) {
    const bool is_whole = starts_.empty();
    if (!is_whole && (starts_[file_ + 1] <= shard_begin_ || starts_[file_] >= shard_end_)) continue;
    ByteSource source(files_[file_].path);
    if (!is_whole && source.is_packed() && starts_[file_] < shard_begin_) continue;
    is_cut_ = !is_whole && !source.is_packed();
    reader_.emplace(std::move(source), files_[file_].container);
    before_header_ = HasColumns(files_[file_].container);
    return true;
  }
  return false;
}

// Rows of other shards go. Where the shard ends, so does the file.
void RowSource::LeaveOthers(RecordBlock* block) {
  const int64_t start = starts_[file_], last = starts_[file_ + 1] - 1;
  const auto place = [&](const Record& record) { return std::min(start + record.at, last); };
  is_past_ = !block->records.empty() && place(block->records.back()) >= shard_end_;
  std::erase_if(block->records,
                [&](const Record& record) { return place(record) < shard_begin_ || place(record) >= shard_end_; });
}

bool RowSource::Next(RecordBlock* block) {
  if (bytes_left_ <= 0) return false;
  for (; reader_ || OpenNext(); ++file_, reader_.reset()) {
    is_past_ = false;
    while (!is_past_ && reader_->Next(block)) {
      block->file = file_;
      if (before_header_) block->records.erase(block->records.begin());
      before_header_ = false;
      if (is_cut_) LeaveOthers(block);
      if (block->records.empty()) continue;
      block->first = records_;
      records_ += std::ssize(block->records);
      for (const Record& record : block->records) bytes_left_ -= static_cast<int64_t>(record.size);
      return true;
    }
  }
  return false;
}

}  // namespace attune
