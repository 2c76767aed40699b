// One process at a time in a folder.
#pragma once

#include <string>

namespace attune {

// Keeps a folder for one process at a time: from construction to destruction, or to the process's end however
// that comes, so that nothing is left to clean up. Errors: Error{kFailed} when the folder cannot be opened.
class FolderLock {
 public:
  explicit FolderLock(const std::string& path);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  // False: another one has it. Where the file system knows no locks, everybody gets it.
  bool is_held() const { return is_held_; }

 private:
  int fd_ = -1;
  bool is_held_ = true;
};

}  // namespace attune
