// Which files a data path stands for, and how they are read line by line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/formats.h"
#include "data/jsonl.h"

namespace attune {

// `path` itself; for a folder its .jsonl and .txt files, those of the folders in it too, in the order of
// their paths whatever order the disk gives. Passed over: names that start with a dot, what
// attune data took out (.removed.jsonl), and links to folders.
// Errors: Error{kBadInput} when a folder holds no such file; a packed file or Parquet, with what makes JSONL of it.
std::vector<std::string> DataFiles(const std::string& path);

// The same for files whose names `accepts` takes; `kinds` says for errors which these are.
std::vector<std::string> FilesIn(const std::string& path, bool (*accepts)(std::string_view name), const char* kinds);

// SHA-256 of the file, or of the lines of the hashes of a folder's files. Errors: as DataFiles.
std::string HashOfDataFiles(const std::string& path);

// Whether each line of the file is a document (.txt), as Hugging Face's `text` loader reads it, except that
// blank lines are passed over. Any other file holds JSON Lines.
bool IsPlainText(std::string_view path);

// A line of either kind of file as a row. Errors: as ParseJsonlLine and ParseRow; "PATH:LINE: ..." for a line
// of text that is not UTF-8.
DataRow ReadDataRow(const JsonlLine& line, const std::string& path, bool has_chat_template);

}  // namespace attune
