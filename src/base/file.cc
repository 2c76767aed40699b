#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.h"

namespace attune {
namespace {

// Opens for reading and gives the size of a regular file; a bad path is the user's mistake.
int OpenForReading(const std::string& path, size_t* size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) BadInput("{}: cannot be opened: {}", path, std::strerror(errno));
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    BadInput("{}: is not a regular file", path);
  }
  *size = static_cast<size_t>(info.st_size);
  return fd;
}

void WriteAll(int fd, const std::string& path, const void* data, size_t size) {
  const char* cursor = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd, cursor, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) Failed("{}: cannot be written: {}", path, std::strerror(errno));
    cursor += written;
    size -= static_cast<size_t>(written);
  }
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const int fd = OpenForReading(path, &size_);
  if (size_ > 0) {
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    const int error = errno;
    ::close(fd);
    if (mapped == MAP_FAILED) BadInput("{}: cannot be mapped: {}", path, std::strerror(error));
    data_ = static_cast<const std::byte*>(mapped);
  } else {
    ::close(fd);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

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

std::string ReadFile(const std::string& path) {
  size_t size = 0;
  const int fd = OpenForReading(path, &size);
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(fd, content.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  ::close(fd);
  if (done < size) BadInput("{}: only {} of {} bytes could be read", path, done, size);
  return content;
}

bool FileExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

bool DirectoryExists(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

void MakeDirectories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) BadInput("{}: cannot create the directory: {}", path, error.message());
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), temporary_(path + ".partial") {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) Failed("{}: cannot be written: {}", path, std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}

void AtomicFile::Write(const void* data, size_t size) { WriteAll(fd_, path_, data, size); }

void AtomicFile::Commit() {
  if (::fsync(fd_) != 0) Failed("{}: cannot be flushed to disk: {}", path_, std::strerror(errno));
  const int close_result = ::close(std::exchange(fd_, -1));
  if (close_result != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    Failed("{}: cannot be put in place: {}", path_, std::strerror(error));
  }
}

void WriteFileAtomic(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.Write(content);
  file.Commit();
}

AppendFile::AppendFile(const std::string& path, bool truncate) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (truncate ? O_TRUNC : 0), 0644);
  if (fd_ < 0) Failed("{}: cannot be written: {}", path, std::strerror(errno));
}

AppendFile::~AppendFile() { ::close(fd_); }

void AppendFile::Write(std::string_view bytes) { WriteAll(fd_, path_, bytes.data(), bytes.size()); }

void AppendFile::WriteLine(std::string_view line) {
  std::string whole(line);
  whole += '\n';
  Write(whole);
}

}  // namespace attune
