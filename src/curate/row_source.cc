#include "curate/row_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "curate/csv.h"
#include "data/data_files.h"

namespace attune {
namespace {

constexpr const char* kKinds = ".jsonl, .json, .csv, .tsv and .txt, also with .gz or .zst";

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
      return ContainerOf(name).has_value() &&
             !name.ends_with(".manifest.json");  // of a stage (curate/stage_files.h)
    };
    for (std::string& file : FilesIn(path, accepts, kKinds)) {
      const Container container = KindOf(file);
      files.push_back({std::move(file), container, {}});
    }
  }
  return files;
}

RowSource::RowSource(const std::vector<std::string>& paths, const ColumnMap& names)
    : files_(FindDataFiles(paths)) {
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
        BadInput("{}: --columns: has no column \"{}\", only {}", file.path, column,
                 fmt::join(file.columns, ", "));
      }
    }
    if (file.columns != first->columns) {
      BadInput(
          "{}: its columns are {}, those of {} are {}; read files with other columns in a run of their own",
          file.path, fmt::join(file.columns, ", "), first->path, fmt::join(first->columns, ", "));
    }
  }
}

bool RowSource::Next(RecordBlock* block) {
  for (; file_ < files_.size(); ++file_, reader_.reset()) {
    if (!reader_) {
      reader_.emplace(ByteSource(files_[file_].path), files_[file_].container);
      before_header_ = HasColumns(files_[file_].container);
    }
    while (reader_->Next(block)) {
      block->file = file_;
      if (before_header_) block->records.erase(block->records.begin());
      before_header_ = false;
      if (block->records.empty()) continue;
      block->first = records_;
      records_ += std::ssize(block->records);
      return true;
    }
  }
  return false;
}

}  // namespace attune
