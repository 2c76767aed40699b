// The seam between the program and the file system: base/file.cc makes every system call through the one Env,
// so that a test can make any of them fail (base/faulty_env.h). The calls mean what POSIX says: -1 and errno
// for a failure, and nothing here retries or explains.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

namespace attune {

// The operating system. A test double overrides.
class Env {
 public:
  virtual ~Env() = default;

  virtual int Open(const char* path, int flags, mode_t mode);
  virtual int Close(int fd);
  virtual ssize_t Read(int fd, void* data, size_t size);
  virtual ssize_t Write(int fd, const void* data, size_t size);
  virtual ssize_t WriteAt(int fd, const void* data, size_t size, off_t offset);  // pwrite
  virtual ssize_t ReadAt(int fd, void* data, size_t size, off_t offset);         // pread
  virtual int Sync(int fd);                                                      // fsync
  virtual int StatOpen(int fd, struct stat* info);                               // fstat
  virtual void* Map(int fd, size_t size);                 // mmap, private and read-only; MAP_FAILED for a failure
  virtual int Reserve(int fd, off_t size);                // posix_fallocate from 0, but with errno
  virtual void* MapShared(int fd, size_t size);           // mmap, shared, read and written; MAP_FAILED for a failure
  virtual int Stat(const char* path, struct stat* info);  // follows links
  virtual int StatLink(const char* path, struct stat* info);  // does not
  virtual int Rename(const char* from, const char* to);
  virtual int Unlink(const char* path);
  virtual int MakeDirectory(const char* path, mode_t mode);
  virtual int RemoveDirectory(const char* path);
  virtual int List(const char* path, std::vector<std::string>* names);  // without "." and ".."
};

// The Env in use: the operating system unless a test has put another in its place.
Env& CurrentEnv();

// For tests: puts `env` (null: the operating system) in place and returns what was there. Not while other
// threads are in file calls.
Env* ReplaceEnv(Env* env);

}  // namespace attune
