#include "base/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>

#include "base/env.h"
#include "base/error.h"

namespace attune {

FolderLock::FolderLock(const std::string& path)
    : fd_(CurrentEnv().Open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) {
  if (fd_ < 0) Failed("{}: cannot be opened: {}", path, std::strerror(errno));
  is_held_ = ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

FolderLock::~FolderLock() { CurrentEnv().Close(fd_); }

}  // namespace attune
