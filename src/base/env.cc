#include "base/env.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

namespace attune {
namespace {

Env* OperatingSystem() {
  static Env env;
  return &env;
}

Env*& Current() {
  static Env* current = OperatingSystem();
  return current;
}

}  // namespace

int Env::Open(const char* path, int flags, mode_t mode) { return ::open(path, flags, mode); }
int Env::Close(int fd) { return ::close(fd); }
ssize_t Env::Read(int fd, void* data, size_t size) { return ::read(fd, data, size); }
ssize_t Env::Write(int fd, const void* data, size_t size) { return ::write(fd, data, size); }
ssize_t Env::ReadAt(int fd, void* data, size_t size, off_t offset) { return ::pread(fd, data, size, offset); }
ssize_t Env::WriteAt(int fd, const void* data, size_t size, off_t offset) { return ::pwrite(fd, data, size, offset); }
int Env::Sync(int fd) { return ::fsync(fd); }
int Env::StatOpen(int fd, struct stat* info) { return ::fstat(fd, info); }
void* Env::Map(int fd, size_t size) { return ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0); }
int Env::Reserve(int fd, off_t size) {
  errno = ::posix_fallocate(fd, 0, size);
  return errno == 0 ? 0 : -1;
}
void* Env::MapShared(int fd, size_t size) { return ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); }
int Env::Stat(const char* path, struct stat* info) { return ::stat(path, info); }
int Env::StatLink(const char* path, struct stat* info) { return ::lstat(path, info); }
int Env::Rename(const char* from, const char* to) { return ::rename(from, to); }
int Env::Unlink(const char* path) { return ::unlink(path); }
int Env::MakeDirectory(const char* path, mode_t mode) { return ::mkdir(path, mode); }
int Env::RemoveDirectory(const char* path) { return ::rmdir(path); }

int Env::List(const char* path, std::vector<std::string>* names) {
  DIR* directory = ::opendir(path);
  if (directory == nullptr) return -1;
  errno = 0;  // readdir returns null for the end and for a failure; errno tells them apart
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names->emplace_back(name);
    errno = 0;
  }
  const int error = errno;
  ::closedir(directory);
  errno = error;
  return error == 0 ? 0 : -1;
}

Env& CurrentEnv() { return *Current(); }

Env* ReplaceEnv(Env* env) { return std::exchange(Current(), env != nullptr ? env : OperatingSystem()); }

}  // namespace attune
