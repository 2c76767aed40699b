// The bytes of a data file from front to back, unpacked on the way where it is a gzip or zstd file, or as lines of JSON
// where it is a Parquet file, so that no reader of rows has to know how its file is stored. Which of them it is tell
// its first bytes, whatever its name.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "curate/unpacker.h"

namespace attune {

class SourceBytes;

class ByteSource {
 public:
  // Errors: Error{kBadInput} as for InputFile; a file named .gz, .zst or .zstd that is none.
  explicit ByteSource(const std::string& path);
  // Bytes in memory, which outlive the source; `name` is for errors.
  ByteSource(std::string name, std::string_view bytes);
  ~ByteSource();
  ByteSource(ByteSource&&) noexcept;
  ByteSource& operator=(ByteSource&&) noexcept;

  // The next bytes, a megabyte or less, which hold until the next call; empty at the end and from then on.
  // Errors: Error{kBadInput} naming the file when packed data is damaged or cut short, or the file became shorter.
  std::string_view Next();

  const std::string& name() const { return name_; }
  bool is_packed() const { return unpacker_ != nullptr; }

 private:
  void Open();

  std::string name_;
  std::unique_ptr<SourceBytes> stored_;
  std::unique_ptr<Unpacker> unpacker_;  // null: a plain file
};

}  // namespace attune
