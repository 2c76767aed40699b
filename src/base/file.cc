#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/env.h"
#include "base/error.h"

namespace attune {
namespace {

// A call that a signal broke off is made again.
template <class Call>
auto Retried(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// Linux has released the descriptor even where close reports an interruption, so it is not called again.
bool Close(int fd) { return CurrentEnv().Close(fd) == 0 || errno == EINTR; }

int Open(const std::string& path, int flags, mode_t mode = 0) {
  return Retried([&] { return CurrentEnv().Open(path.c_str(), flags | O_CLOEXEC, mode); });
}

// write(cursor, size) is write or pwrite.
template <class WriteSome>
void WriteAll(const std::string& path, const void* data, size_t size, WriteSome write) {
  const char* cursor = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = Retried([&] { return write(cursor, size); });
    if (written < 0) Failed("{}: cannot be written: {}", path, std::strerror(errno));
    if (written == 0) Failed("{}: cannot be written: the system takes no more bytes", path);
    cursor += written;
    size -= static_cast<size_t>(written);
  }
}

void WriteAll(int fd, const std::string& path, const void* data, size_t size) {
  WriteAll(path, data, size, [fd](const char* from, size_t count) { return CurrentEnv().Write(fd, from, count); });
}

int Sync(int fd) {
  return Retried([&] { return CurrentEnv().Sync(fd); });
}

thread_local bool sync_later = false;  // LaterSync

// A new file in the folder whose name is taken away again; -1 and errno.
int OpenNameless(const std::string& folder) {
  const std::string path = folder + "/.scratch-" + std::to_string(::getpid());
  // A process of this number may have died before it took the name away.
  if (CurrentEnv().Unlink(path.c_str()) != 0 && errno != ENOENT) return -1;
  const int fd = Open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd < 0 || CurrentEnv().Unlink(path.c_str()) == 0) return fd;
  const int error = errno;
  Close(fd);
  errno = error;
  return -1;
}

}  // namespace

// A bad path is the user's mistake.
InputFile::InputFile(const std::string& path) : path_(path) {
  fd_ = Open(path, O_RDONLY | O_NONBLOCK);  // a pipe of that name would otherwise be waited for
  if (fd_ < 0) BadInput("{}: cannot be opened: {}", path, std::strerror(errno));
  struct stat info {};
  const int result = CurrentEnv().StatOpen(fd_, &info);
  if (result == 0 && S_ISREG(info.st_mode)) {
    left_ = static_cast<size_t>(info.st_size);
    return;
  }
  const int error = errno;
  Close(std::exchange(fd_, -1));
  if (result != 0) BadInput("{}: cannot be read: {}", path, std::strerror(error));
  BadInput("{}: is not a regular file", path);
}

InputFile::~InputFile() {
  if (fd_ >= 0) Close(fd_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), left_(std::exchange(other.left_, 0)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(left_, other.left_);
  return *this;
}

std::span<const std::byte> InputFile::Read(std::span<std::byte> room) {
  const auto piece = room.first(std::min(room.size(), left_));
  for (size_t done = 0; done < piece.size();) {
    const ssize_t got = Retried([&] { return CurrentEnv().Read(fd_, piece.data() + done, piece.size() - done); });
    if (got < 0) BadInput("{}: cannot be read: {}", path_, std::strerror(errno));
    if (got == 0) BadInput("{}: became shorter while it was read", path_);
    done += static_cast<size_t>(got);
  }
  left_ -= piece.size();
  return piece;
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const InputFile file(path);
  if (file.left() == 0) return;  // the system maps no empty files
  void* mapped = CurrentEnv().Map(file.fd(), file.left());
  if (mapped == MAP_FAILED) BadInput("{}: cannot be mapped: {}", path, std::strerror(errno));
  data_ = static_cast<const std::byte*>(mapped);
  size_ = file.left();
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::DropPages(std::span<const std::byte> range) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  // Only pages that lie wholly inside: a neighbour's bytes may still be in use.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(range.data()) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(range.data() + range.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void MappedFile::Prefetch(std::span<const std::byte> range) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(range.data()) / page * page;
  ::madvise(reinterpret_cast<void*>(begin), reinterpret_cast<uintptr_t>(range.data() + range.size()) - begin,
            MADV_WILLNEED);
}

ScratchFile::ScratchFile(const std::string& folder, std::string_view what, int64_t bytes)
    : size_(static_cast<size_t>(std::max<int64_t>(1, bytes))) {
  const auto fail = [&](const char* why) {
    Failed("{}: {} ({:.2f} GiB) cannot be kept in a file there: {}", folder, what,
           static_cast<double>(size_) / (1 << 30), why);
  };
  const int fd = OpenNameless(folder);
  if (fd < 0) fail(std::strerror(errno));
  void* mapped = MAP_FAILED;
  const int result = Retried([&] { return CurrentEnv().Reserve(fd, static_cast<off_t>(size_)); });
  if (result == 0) mapped = CurrentEnv().MapShared(fd, size_);
  const int error = errno;
  Close(fd);
  if (mapped == MAP_FAILED) fail(std::strerror(error));
  data_ = static_cast<std::byte*>(mapped);
}

ScratchFile::~ScratchFile() { ::munmap(data_, size_); }

void ScratchFile::DropPages() const { ::madvise(data_, size_, MADV_DONTNEED); }

SpillFile::SpillFile(const std::string& folder) : folder_(folder), fd_(OpenNameless(folder)) {
  if (fd_ < 0)
    Failed("{}: no file for what memory has no room for can be made there: {}", folder, std::strerror(errno));
}

SpillFile::~SpillFile() { Close(fd_); }

int64_t SpillFile::Append(const void* data, size_t size) {
  const int64_t place = size_.fetch_add(static_cast<int64_t>(size));
  int64_t at = place;
  WriteAll(folder_ + " (a file without a name)", data, size, [&](const char* from, size_t count) {
    const ssize_t written = CurrentEnv().WriteAt(fd_, from, count, at);
    if (written > 0) at += written;
    return written;
  });
  return place;
}

void SpillFile::Read(int64_t offset, void* data, size_t size) const {
  for (size_t done = 0; done < size;) {
    const ssize_t got = Retried([&] {
      return CurrentEnv().ReadAt(fd_, static_cast<char*>(data) + done, size - done,
                                 offset + static_cast<int64_t>(done));
    });
    if (got <= 0) {
      Failed("{} (a file without a name): cannot be read: {}", folder_,
             got == 0 ? "it became shorter" : std::strerror(errno));
    }
    done += static_cast<size_t>(got);
  }
}

std::string ReadFile(const std::string& path) {
  InputFile file(path);
  std::string content(file.left(), '\0');
  file.Read(std::as_writable_bytes(std::span(content)));
  return content;
}

void ReadInPieces(const std::string& path, const std::function<void(std::span<const std::byte>)>& take) {
  InputFile file(path);
  std::vector<std::byte> room(std::min(file.left(), size_t{1} << 20));
  while (file.left() > 0) take(file.Read(room));
}

int64_t FileSize(const std::string& path) {
  struct stat info {};
  if (CurrentEnv().Stat(path.c_str(), &info) != 0) BadInput("{}: cannot be opened: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) BadInput("{}: is not a regular file", path);
  return info.st_size;
}

void RequireDiskSpace(const std::string& path, std::string_view what, int64_t bytes) {
  std::string there = path;
  while (!PathExists(there) && there != ParentOf(there)) there = ParentOf(there);
  struct statvfs info {};
  if (::statvfs(there.c_str(), &info) != 0)
    BadInput("{}: cannot ask for free disk space: {}", there, std::strerror(errno));
  const int64_t free = static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
  if (bytes > free) {
    BadInput("{}: {} takes {} MB and the disk has {} MB free; make room or name another disk", path, what,
             bytes / 1'000'000, free / 1'000'000);
  }
}

void RequireNewFolder(const std::string& path) {
  if (path.empty()) BadInput("the new folder has no name");
  if (PathExists(path) && !(DirectoryExists(path) && ListDirectory(path).empty())) {
    BadInput("{}: exists already; name a new folder", path);
  }
}

bool FileExists(const std::string& path) {
  struct stat info {};
  return CurrentEnv().Stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}

bool DirectoryExists(const std::string& path) {
  struct stat info {};
  return CurrentEnv().Stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool PathExists(const std::string& path) {
  struct stat info {};
  if (CurrentEnv().StatLink(path.c_str(), &info) == 0) return true;
  if (errno == ENAMETOOLONG) BadInput("{}: is too long for a name", path);
  if (errno != ENOENT && errno != ENOTDIR) Failed("{}: cannot be looked up: {}", path, std::strerror(errno));
  return false;
}

std::string ParentOf(const std::string& path) {
  const size_t last = path.find_last_not_of('/');
  if (last == std::string::npos) return path.empty() ? "." : "/";
  const size_t slash = path.rfind('/', last);
  if (slash == std::string::npos) return ".";
  const size_t end = path.find_last_not_of('/', slash);
  return end == std::string::npos ? "/" : path.substr(0, end + 1);
}

void MakeDirectories(const std::string& path) {
  const auto fail = [&](int error) { BadInput("{}: cannot create the directory: {}", path, std::strerror(error)); };
  const auto is_there = [&](const std::string& directory) {
    struct stat info {};
    if (CurrentEnv().Stat(directory.c_str(), &info) == 0) {
      if (!S_ISDIR(info.st_mode)) fail(ENOTDIR);
      return true;
    }
    if (errno != ENOENT || ParentOf(directory) == directory) fail(errno);
    return false;
  };
  std::vector<std::string> missing;
  for (std::string at = path; !is_there(at); at = ParentOf(at)) missing.push_back(at);
  for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
    if (CurrentEnv().MakeDirectory(at->c_str(), 0777) == 0) {
      SyncDirectory(ParentOf(*at));
    } else if (errno != EEXIST || !is_there(*at)) {  // another process may have made it
      fail(errno);
    }
  }
}

std::vector<std::string> ListDirectory(const std::string& path) {
  std::vector<std::string> names;
  if (CurrentEnv().List(path.c_str(), &names) != 0) Failed("{}: cannot be listed: {}", path, std::strerror(errno));
  std::sort(names.begin(), names.end());
  return names;
}

// The recursion ends: the system takes no path longer than PATH_MAX.
void RemoveTree(const std::string& path) {
  struct stat info {};
  int result = CurrentEnv().StatLink(path.c_str(), &info);
  if (result == 0 && S_ISDIR(info.st_mode)) {
    for (const std::string& name : ListDirectory(path)) RemoveTree(path + "/" + name);
    result = CurrentEnv().RemoveDirectory(path.c_str());
  } else if (result == 0) {
    result = CurrentEnv().Unlink(path.c_str());
  }
  if (result != 0 && errno != ENOENT && errno != ENOTDIR)
    Failed("{}: cannot be removed: {}", path, std::strerror(errno));
}

void SyncFile(const std::string& path) {
  const int fd = Open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0) Failed("{}: cannot be opened to flush it to disk: {}", path, std::strerror(errno));
  const int result = Sync(fd);
  const int error = errno;
  Close(fd);
  if (result != 0) Failed("{}: cannot be flushed to disk: {}", path, std::strerror(error));
}

void SyncDirectory(const std::string& path) {
  const int fd = Open(path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) {
    if (errno == EACCES) return;  // a directory that we may write to and not read: there is no way to ask
    Failed("{}: cannot be opened to flush it to disk: {}", path, std::strerror(errno));
  }
  const int result = Sync(fd);
  const int error = errno;
  Close(fd);
  // EINVAL: some network file systems have no such operation.
  if (result != 0 && error != EINVAL) Failed("{}: cannot be flushed to disk: {}", path, std::strerror(error));
}

void RenameDurably(const std::string& from, const std::string& to) {
  if (CurrentEnv().Rename(from.c_str(), to.c_str()) != 0) {
    Failed("{}: cannot be renamed to {}: {}", from, to, std::strerror(errno));
  }
  SyncDirectory(ParentOf(to));
}

namespace {

// Whether a path names a device or a pipe, or, as /dev/stdout does, whatever a process holds open.
bool IsStream(const std::string& path) {
  for (const char* open_files : {"/dev/std", "/dev/fd/", "/proc/"}) {
    if (path.starts_with(open_files)) return true;
  }
  struct stat info {};
  if (CurrentEnv().Stat(path.c_str(), &info) == 0) return !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
  if (errno != ENOENT) Failed("{}: cannot be written: {}", path, std::strerror(errno));
  return false;
}

}  // namespace

AtomicFile::AtomicFile(const std::string& path)
    : path_(path), temporary_(path + ".partial"), is_stream_(IsStream(path)) {
  fd_ = is_stream_ ? Open(path, O_WRONLY) : Open(temporary_, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd_ < 0) Failed("{}: cannot be written: {}", path, std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    Close(fd_);
    if (!is_stream_) CurrentEnv().Unlink(temporary_.c_str());
  }
}

void AtomicFile::Write(const void* data, size_t size) { WriteAll(fd_, path_, data, size); }

void AtomicFile::WriteAt(int64_t offset, const void* data, size_t size) {
  WriteAll(path_, data, size, [&](const char* from, size_t count) {
    return CurrentEnv().WriteAt(fd_, from, count, offset + (from - static_cast<const char*>(data)));
  });
}

void AtomicFile::Sync() {
  if (is_stream_) return;
  if (attune::Sync(fd_) != 0) Failed("{}: cannot be flushed to disk: {}", path_, std::strerror(errno));
  synced_ = true;
}

void AtomicFile::Commit() {
  if (is_stream_) {
    if (!Close(std::exchange(fd_, -1))) Failed("{}: cannot be written: {}", path_, std::strerror(errno));
    return;
  }
  if (!sync_later && !synced_) Sync();
  if (!Close(std::exchange(fd_, -1)) || CurrentEnv().Rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    CurrentEnv().Unlink(temporary_.c_str());
    Failed("{}: cannot be put in place: {}", path_, std::strerror(error));
  }
  if (!sync_later) SyncDirectory(ParentOf(path_));
}

LaterSync::LaterSync() : before_(std::exchange(sync_later, true)) {}

LaterSync::~LaterSync() { sync_later = before_; }

void WriteFileAtomic(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.Write(content);
  file.Commit();
}

AppendFile::AppendFile(const std::string& path, bool truncate) : path_(path) {
  fd_ = Open(path, O_WRONLY | O_CREAT | O_APPEND | (truncate ? O_TRUNC : 0), 0644);
  if (fd_ < 0) Failed("{}: cannot be written: {}", path, std::strerror(errno));
}

AppendFile::~AppendFile() { Close(fd_); }

void AppendFile::Write(std::string_view bytes) { WriteAll(fd_, path_, bytes.data(), bytes.size()); }

void AppendFile::WriteLine(std::string_view line) {
  std::string whole(line);
  whole += '\n';
  Write(whole);
}

}  // namespace attune
