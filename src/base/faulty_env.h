// For tests: a file system that fails on command. It records every call, so that a test first runs once to
// count them and then once for each, with that call failing. Nothing is flushed to a disk, which would take
// most of a test's time: what would be lost without is known (LoseUnsyncedData).
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"

namespace attune {

struct Fault {
  enum class Kind {
    kNone,        // only record
    kError,       // call number `at` fails with `error` and has no effect (a close does release its descriptor)
    kShortWrite,  // call number `at`, if a write, takes half the bytes
    kDiskFull,    // from call `at` on the disk is full: ENOSPC from all that needs room, the first write half
                  // done
    kDeath,       // the process dies at call `at`: a write there is half done, all later calls do nothing
  };
  Kind kind = Kind::kNone;
  int at = 0;
  int error = 0;
};

// In place from construction to destruction. Calls may come from several threads.
class FaultyEnv : public Env {
 public:
  struct Call {
    std::string what;  // "open", "create", "close", "read", "write", "sync", "rename" ...
    std::string path;  // "FROM -> TO" for a rename
    bool operator==(const Call&) const = default;
  };

  explicit FaultyEnv(Fault fault = {}) : fault_(fault), previous_(ReplaceEnv(this)) {}
  ~FaultyEnv() override {
    ReplaceEnv(previous_);
    for (const auto& [inode, copy] : unsynced_) ::close(copy);
  }
  FaultyEnv(const FaultyEnv&) = delete;
  FaultyEnv& operator=(const FaultyEnv&) = delete;

  std::vector<Call> calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }

  // The power goes: what was written to a file and not synced is gone, its name stays (as ext4 may leave it).
  void LoseUnsyncedData() {
    const std::lock_guard lock(mutex_);
    for (const auto& [inode, copy] : unsynced_) {
      if (::ftruncate(copy, 0) != 0) std::abort();
      ::close(copy);
    }
    unsynced_.clear();
  }

  int Open(const char* path, int flags, mode_t mode) override {
    const bool creates = (flags & O_CREAT) != 0;
    const std::lock_guard lock(mutex_);
    if (Fails(creates ? "create" : "open", path, creates)) return -1;
    const int fd = Env::Open(path, flags, mode);
    if (fd >= 0) paths_[fd] = path;
    return fd;
  }
  int Close(int fd) override {
    const std::lock_guard lock(mutex_);
    const bool fails = Fails("close", paths_[fd]);
    const int error = errno;
    paths_.erase(fd);
    const int result = Env::Close(fd);
    if (!fails) return result;
    errno = error;
    return -1;
  }
  ssize_t Read(int fd, void* data, size_t size) override {
    const std::lock_guard lock(mutex_);
    return Fails("read", paths_[fd]) ? -1 : Env::Read(fd, data, size);
  }
  ssize_t Write(int fd, const void* data, size_t size) override {
    return DoWrite(fd, size, [&](size_t count) { return Env::Write(fd, data, count); });
  }
  ssize_t WriteAt(int fd, const void* data, size_t size, off_t offset) override {
    return DoWrite(fd, size, [&](size_t count) { return Env::WriteAt(fd, data, count, offset); });
  }
  ssize_t ReadAt(int fd, void* data, size_t size, off_t offset) override {
    const std::lock_guard lock(mutex_);
    return Fails("read", paths_[fd]) ? -1 : Env::ReadAt(fd, data, size, offset);
  }
  int Sync(int fd) override {
    const std::lock_guard lock(mutex_);
    if (Fails("sync", paths_[fd])) return -1;
    if (const auto unsynced = unsynced_.find(InodeOf(fd)); unsynced != unsynced_.end()) {
      ::close(unsynced->second);
      unsynced_.erase(unsynced);
    }
    return 0;
  }
  int StatOpen(int fd, struct stat* info) override {
    const std::lock_guard lock(mutex_);
    return Fails("stat", paths_[fd]) ? -1 : Env::StatOpen(fd, info);
  }
  void* Map(int fd, size_t size) override {
    const std::lock_guard lock(mutex_);
    return Fails("map", paths_[fd]) ? MAP_FAILED : Env::Map(fd, size);
  }
  int Reserve(int fd, off_t size) override {
    const std::lock_guard lock(mutex_);
    return Fails("reserve", paths_[fd], true) ? -1 : Env::Reserve(fd, size);
  }
  void* MapShared(int fd, size_t size) override {
    const std::lock_guard lock(mutex_);
    return Fails("map", paths_[fd]) ? MAP_FAILED : Env::MapShared(fd, size);
  }
  int Stat(const char* path, struct stat* info) override {
    const std::lock_guard lock(mutex_);
    return Fails("stat", path) ? -1 : Env::Stat(path, info);
  }
  int StatLink(const char* path, struct stat* info) override {
    const std::lock_guard lock(mutex_);
    return Fails("stat", path) ? -1 : Env::StatLink(path, info);
  }
  int Rename(const char* from, const char* to) override {
    const std::lock_guard lock(mutex_);
    return Fails("rename", std::string(from) + " -> " + to) ? -1 : Env::Rename(from, to);
  }
  int Unlink(const char* path) override {
    const std::lock_guard lock(mutex_);
    return Fails("unlink", path) ? -1 : Env::Unlink(path);
  }
  int MakeDirectory(const char* path, mode_t mode) override {
    const std::lock_guard lock(mutex_);
    return Fails("mkdir", path, true) ? -1 : Env::MakeDirectory(path, mode);
  }
  int RemoveDirectory(const char* path) override {
    const std::lock_guard lock(mutex_);
    return Fails("rmdir", path) ? -1 : Env::RemoveDirectory(path);
  }
  int List(const char* path, std::vector<std::string>* names) override {
    const std::lock_guard lock(mutex_);
    return Fails("list", path) ? -1 : Env::List(path, names);
  }

 private:
  using Inode = std::pair<dev_t, ino_t>;
  static Inode InodeOf(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0) std::abort();
    return {info.st_dev, info.st_ino};
  }

  template <class WriteSome>
  ssize_t DoWrite(int fd, size_t size, WriteSome write) {
    const std::lock_guard lock(mutex_);
    const int number = static_cast<int>(calls_.size());
    const bool fails = Fails("write", paths_[fd], true);
    const int error = errno;
    const bool half = number == fault_.at && fault_.kind != Fault::Kind::kNone && fault_.kind != Fault::Kind::kError;
    if (fails && !half) return -1;
    if (const Inode inode = InodeOf(fd); !unsynced_.contains(inode)) unsynced_[inode] = ::dup(fd);
    const ssize_t written = write(half ? (size + 1) / 2 : size);
    if (fault_.kind == Fault::Kind::kDeath && fails) {
      errno = error;
      return -1;
    }
    return written;
  }

  // Records the call; true, with errno set, when it is to fail.
  bool Fails(const char* what, const std::string& path, bool needs_room = false) {
    const int number = static_cast<int>(calls_.size());
    calls_.push_back({what, path});
    switch (fault_.kind) {
      case Fault::Kind::kError:
        errno = fault_.error;
        return number == fault_.at;
      case Fault::Kind::kDiskFull:
        errno = ENOSPC;
        return number >= fault_.at && needs_room;
      case Fault::Kind::kDeath:
        errno = EIO;
        return number >= fault_.at;
      default:
        return false;
    }
  }

  Fault fault_;
  Env* previous_;
  std::mutex mutex_;
  std::vector<Call> calls_;
  std::map<int, std::string> paths_;  // of open descriptors
  std::map<Inode, int> unsynced_;     // files written and not synced since, each held open by a descriptor of ours
};

// Where a test that makes thousands of files is quickest: in memory where there is such a place.
inline std::string QuickTempFolder(const std::string& name) {
  const std::string parent = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  return parent + "/attune_" + name + "_" + std::to_string(::getpid());
}

}  // namespace attune
