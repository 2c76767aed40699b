// Cuts the bytes of a data file into its records, whole and unparsed, block by block: the one part of reading
// that has to be done in order. Threads parse the blocks (curate/row_parser.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "curate/byte_source.h"

namespace attune {

enum class Container {
  kJsonl,  // a JSON object a line; so ByteSource hands over Parquet, too
  kJson,   // a list of objects, or objects one after the other over any number of lines
  kCsv,    // RFC 4180, the first record names the columns
  kTsv,    // the same with tabs
  kText,   // a document a line
};

// By the name, that of packing (.gz, .zst) apart: .jsonl, .ndjson, .json, .csv, .tsv, .txt. nullopt: none of
// these; .parquet is read as kJsonl.
std::optional<Container> ContainerOf(std::string_view path);

inline constexpr const char* kTooLongRecord = "longer than 16 MiB";

// The longest record that is read; a longer one is a broken row. Nothing that a model is trained on comes
// near it.
inline constexpr size_t kLongestRecord = size_t{16} << 20;

struct Record {
  // Where it starts, from 1. Of a JSON file its number among the rows: a list often stands on one line.
  int64_t line = 0;
  size_t offset = 0, size = 0;  // in RecordBlock::bytes
  int64_t at = 0;               // its first byte in the file, unpacked
  // What keeps it from being read at all: too long, or the file ends within it. Its bytes may then be the
  // first ones only.
  const char* broken = nullptr;
};

// Bytes behind a record that simdjson may read, whatever they are (its SIMDJSON_PADDING is 32 or 64).
inline constexpr size_t kReadBehind = 64;

// Records of one file; kReadBehind bytes of room stand behind them.
struct RecordBlock {
  // For whoever reads several files: which this is, and how many records came before.
  size_t file = 0;
  int64_t first = 0;
  std::string bytes;
  std::vector<Record> records;

  std::string_view text(const Record& record) const {
    return std::string_view(bytes).substr(record.offset, record.size);
  }
};

class RecordReader {
 public:
  // `longest`: kLongestRecord but in tests; at least 1024.
  RecordReader(ByteSource source, Container container, size_t longest = kLongestRecord);

  // The next records, about `bytes` of them or more; those that are blank are passed over. false: there are
  // none. Errors: Error{kBadInput} as ByteSource::Next, and for UTF-16.
  bool Next(RecordBlock* block, size_t bytes = size_t{1} << 20);

  const std::string& name() const { return source_.name(); }

 private:
  // Where the next record lies in the text from `at_` on. `next`: where reading goes on; npos: more bytes are
  // needed.
  struct Cut {
    size_t begin = 0, end = 0, next = std::string::npos;
  };
  Cut CutLine() const;
  Cut CutCsv();
  Cut CutJson();
  Cut CutNext();
  void Fill();
  void SkipStart();
  void TakeTooLong(RecordBlock* block);
  int64_t PlaceOf(size_t at) const { return read_ - static_cast<int64_t>(buffer_.size() - at); }  // of buffer_[at]
  int64_t CountLines(size_t begin, size_t end) const;                                             // of buffer_
  void Advance(size_t to);

  ByteSource source_;
  Container container_;
  size_t longest_;
  std::string buffer_;
  int64_t read_ = 0;                            // bytes of the source, up to the end of buffer_
  size_t at_ = 0;                               // in buffer_: what has not been cut
  size_t needed_ = 1;                           // bytes behind at_ before it is worth looking again
  int64_t rows_ = 0;                            // of kJson: cut so far
  int64_t line_ = 1;                            // of buffer_[at_]
  bool started_ = false, ended_ = false;        // of the source
  const char* broken_ = nullptr;                // of the record cut last
  bool skipping_ = false;                       // the rest of a record that was too long
  bool in_list_ = false, list_closed_ = false;  // kJson
};

}  // namespace attune
