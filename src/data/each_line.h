// Every line of a file of rows, or of a folder's files, one after the other.
#pragma once

#include <string>

#include "base/error.h"
#include "base/file.h"
#include "data/data_files.h"
#include "data/jsonl.h"

namespace attune {

// Calls take(const JsonlLine& line, const std::string& file) for each line that is not blank, in the order of
// DataFiles. Errors: Error{kBadInput} when there is none.
template <class Take>
void ForEachLine(const std::string& path, const Take& take) {
  bool any = false;
  for (const std::string& file : DataFiles(path)) {
    const MappedFile mapped(file);
    LineReader lines(mapped.text());
    for (JsonlLine line; lines.Next(&line); any = true) take(line, file);
  }
  if (!any) BadInput("{}: holds no row", path);
}

}  // namespace attune
