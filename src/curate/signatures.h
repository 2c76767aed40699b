// What one process found of its shard of a data set, for `attune data dedupe --merge`: sketches of its rows, which say
// everything about exact doubles and candidates of near ones, in a file.
//
//   NAME.signatures   one line of JSON: {"attune_signatures": 2, "settings": {...}, "files": [{"path", "bytes"}],
//   "shard": 2,
//                     "of": 4}
//                     blocks: uint32 rows (not 0), RowOrigin of each, XXH128 of each, uint16 words of each, then for
//                     each of two kinds of shingles uint32 n, uint32 row within the block of each, 32 uint32 keys of
//                     each the end: uint32 0, uint64 rows in all, uint64 RowsChecksum, uint64 XXH3 of all bytes before
// Numbers are little-endian.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "curate/near_index.h"

namespace attune {

inline constexpr int kSignatureVersion = 2;  // another one where words or their hashes change

// Of rows in their order, whatever blocks they came in.
class RowsChecksum {
 public:
  void Add(uint64_t row) { value_ = value_ * 0x9E3779B97F4A7C15 + row, ++rows_; }
  uint64_t rows() const { return rows_; }
  bool operator==(const RowsChecksum&) const = default;

 private:
  friend class SignatureWriter;
  friend struct SignatureFile;
  uint64_t value_ = 0, rows_ = 0;
};

class SignatureWriter {
 public:
  // Errors: Error{kBadInput} where the file is there already or the folder cannot be made.
  SignatureWriter(const std::string& path, const nlohmann::ordered_json& header);
  ~SignatureWriter();

  void Add(const BlockSketch& block);
  // Puts the file in place. Errors: Error{kFailed} naming it.
  void Commit(const RowsChecksum& rows);

 private:
  void Write(const void* data, size_t size);
  template <class T>
  void WriteAll(const std::vector<T>& values) {
    Write(values.data(), values.size() * sizeof(T));
  }

  AtomicFile file_;
  struct Hash;
  std::unique_ptr<Hash> hash_;
};

// A file of signatures. Errors of all: Error{kBadInput} naming it: it is damaged or cut short, or was made by another
// version.
struct SignatureFile {
  explicit SignatureFile(std::string name, std::string_view bytes);

  // Calls take for each block in order.
  void ForEach(const std::function<void(const BlockSketch&)>& take) const;

  std::string name;
  nlohmann::ordered_json header;
  int64_t shard = 0, of = 0;
  RowsChecksum rows;
  std::string_view blocks;  // of the bytes that were given
};

}  // namespace attune
