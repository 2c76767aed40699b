// All file access of the program. Nothing else opens a file, so that checks, atomic replacement and (in
// tests) injected faults live in one place.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

// A whole file mapped read-only. Movable; unmaps on destruction. The spans it hands out die with it.
// Errors: Error{kBadInput} when the file is missing, is a directory or cannot be read.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // Tells the kernel that these bytes have been read and their pages may go (resident memory is a promise we
  // keep).
  void DropPages(std::span<const std::byte> range) const;

  // Has the kernel begin to read these bytes from the disk.
  void Prefetch(std::span<const std::byte> range) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// A regular file's bytes from front to back, as they are asked for: unlike a mapping it survives a disk that fails to
// read and a file that becomes shorter. Errors: Error{kBadInput} as for MappedFile, and where it became shorter.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  const std::string& path() const { return path_; }
  int fd() const { return fd_; }
  size_t left() const { return left_; }  // bytes that have not been read

  // The next bytes; fewer than there is room for at the end of the file, none behind it.
  std::span<const std::byte> Read(std::span<std::byte> room);

 private:
  std::string path_;
  int fd_ = -1;
  size_t left_ = 0;
};

// Memory in a file that has no name any more, zeroed: when memory is short the kernel writes its pages out, and pages
// that were let go take none. Gone with the process, however that ends. Errors: Error{kFailed} naming the folder: no
// room on its disk, or it cannot be written.
class ScratchFile {
 public:
  ScratchFile(const std::string& folder, std::string_view what, int64_t bytes);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  std::byte* data() const { return data_; }

  // Takes its pages out of resident memory; their content stays.
  void DropPages() const;

 private:
  std::byte* data_ = nullptr;
  size_t size_;
};

// Bytes put away in a file that has no name any more, and read again at any place; gone with the object. Safe from
// several threads. Errors: Error{kFailed} naming the folder: the disk is full or fails.
class SpillFile {
 public:
  explicit SpillFile(const std::string& folder);
  ~SpillFile();
  SpillFile(const SpillFile&) = delete;
  SpillFile& operator=(const SpillFile&) = delete;

  int64_t Append(const void* data, size_t size);  // where it lies now
  void Read(int64_t offset, void* data, size_t size) const;

 private:
  std::string folder_;
  int fd_ = -1;
  std::atomic<int64_t> size_{0};
};

// The whole file as a string. Errors: Error{kBadInput} as for MappedFile.
std::string ReadFile(const std::string& path);

// Hands over a file's bytes from front to back in pieces of at most a megabyte. Errors: as for InputFile.
void ReadInPieces(const std::string& path, const std::function<void(std::span<const std::byte>)>& take);

// A regular file's bytes. Errors: Error{kBadInput} as for MappedFile.
int64_t FileSize(const std::string& path);

// Errors: Error{kBadInput} where `what`, of so many bytes, does not fit on the disk that holds `path` or, where that is
// not there yet, the nearest folder above it; also when the system cannot tell.
void RequireDiskSpace(const std::string& path, std::string_view what, int64_t bytes);

// Errors: Error{kBadInput} where anything but an empty directory has that name, and for no name at all.
void RequireNewFolder(const std::string& path);

bool FileExists(const std::string& path);       // a regular file, links followed
bool DirectoryExists(const std::string& path);  // a directory, links followed

// Anything of that name, a broken link too. Errors: Error{kBadInput}: it is too long; Error{kFailed}: nobody can tell.
bool PathExists(const std::string& path);

// Creates the directory and its parents, durably. Errors: Error{kBadInput} naming the path and the reason.
void MakeDirectories(const std::string& path);

// The names in a directory, sorted. Errors: Error{kFailed} naming the path.
std::vector<std::string> ListDirectory(const std::string& path);

// Removes a file, a link (not what it points to) or a directory with all that is in it; nothing there is no
// error. Errors: Error{kFailed} naming what could not be removed.
void RemoveTree(const std::string& path);

// Makes a file's content durable, or a directory's names. Errors: Error{kFailed} naming the path.
void SyncFile(const std::string& path);
void SyncDirectory(const std::string& path);

// Renames, and makes the new name durable. `to` may be a file or an empty directory, which it replaces.
// Errors: Error{kFailed} naming both.
void RenameDurably(const std::string& from, const std::string& to);

// The directory that holds `path`: "." where it names none.
std::string ParentOf(const std::string& path);

// Writes to a temporary sibling; Commit() makes it durable (fsync), renames it into place and makes the name
// durable. Destroyed without Commit(), the temporary is removed and the old file, if any, is untouched. A device or a
// pipe is written to at once, and not replaced.
// Errors: Error{kFailed} naming the path.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Not behind Sync, nor is WriteAt.
  void Write(const void* data, size_t size);
  void Write(std::string_view text) { Write(text.data(), text.size()); }
  // At a place of its own, whatever Write has written; safe from several threads.
  void WriteAt(int64_t offset, const void* data, size_t size);
  // Flushes what has been written to disk, which Commit need not do then: for whoever has something else to do
  // meanwhile.
  void Sync();
  void Commit();

 private:
  std::string path_, temporary_;
  bool is_stream_;
  int fd_ = -1;
  bool synced_ = false;
};

// While one lives, AtomicFile::Commit on this thread leaves flushing to disk for later: for files in a folder that is
// flushed as a whole before it counts (formats/durable_folder.h).
class LaterSync {
 public:
  LaterSync();
  ~LaterSync();
  LaterSync(const LaterSync&) = delete;
  LaterSync& operator=(const LaterSync&) = delete;

 private:
  bool before_;
};

// AtomicFile, Write, Commit.
void WriteFileAtomic(const std::string& path, std::string_view content);

// Appends to a file, each piece written at once and flushed to the kernel (metrics.jsonl). Errors:
// Error{kFailed}.
class AppendFile {
 public:
  explicit AppendFile(const std::string& path, bool truncate = false);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  void Write(std::string_view bytes);
  void WriteLine(std::string_view line);

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace attune
