// The text of data files, whatever their rows look like: what a tokenizer learns from.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "data/jsonl.h"

namespace attune {

// Gives text after text: a line of a .txt file; of a JSONL row its `text`, prompt and completion joined, or
// the content of each of its messages. Empty texts are passed over. Reads as it goes: memory holds one row.
class TextReader {
 public:
  // `paths`: files, and folders for the files in them (data/data_files.h). Errors: Error{kBadInput} as
  // DataFiles, and for a file that does not exist, before anything is read.
  explicit TextReader(const std::vector<std::string>& paths);

  // UTF-8; the view holds until the next call. nullopt at the end. Errors: Error{kBadInput} "PATH:LINE: ..."
  // as ReadDataRow, and for rows of ready tokens, which have no text.
  std::optional<std::string_view> Next();

  const std::vector<std::string>& files() const { return files_; }
  int64_t file_bytes() const { return file_bytes_; }  // of all files

 private:
  bool NextRow();

  std::vector<std::string> files_;
  int64_t file_bytes_ = 0;
  size_t next_file_ = 0;
  std::optional<MappedFile> file_;
  LineReader lines_;
  size_t dropped_ = 0;               // bytes of the file whose pages may go
  std::deque<std::string> waiting_;  // of the row read last
  std::string text_;
};

}  // namespace attune
