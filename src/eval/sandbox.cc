#include "eval/sandbox.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"

namespace attune {
namespace {

// What the child tells before it becomes the program.
struct ChildReport {
  bool has_no_network = false, writes_only_inside = false;
  int exec_error = 0;
};

class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "attune-code-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) Failed("{}: cannot make a folder: {}", path_, std::strerror(errno));
  }
  ~TemporaryFolder() {
    try {
      RemoveTree(path_);
    } catch (const Error&) {
      // What the program made unremovable is left to whoever cleans the temporary folder.
    }
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Everything the child needs, made before the fork: between fork and exec it may not allocate.
struct Prepared {
  std::string folder, output;
  std::vector<std::string> words, variables;
  std::vector<char*> argv, envp;
  SandboxLimits limits;
};

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void Limit(__rlimit_resource what, int64_t value) {
  const rlimit limit{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
  ::setrlimit(what, &limit);
}

// In a mount namespace of its own: everything but `folder` becomes read-only, which also keeps modes, owners, times and
// attributes of other files as they are; and nothing is left in /run, where services listen.
bool MountReadOnly(const char* folder) {
  const auto mount = [](const char* source, const char* target, const char* type, unsigned long flags) {
    return ::syscall(SYS_mount, source, target, type, flags, nullptr) == 0;
  };
  const auto set = [](const char* path, unsigned flags, uint64_t on, uint64_t off) {
    mount_attr attributes{};
    attributes.attr_set = on;
    attributes.attr_clr = off;
    return ::syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof attributes) == 0;
  };
  constexpr unsigned kRecursive = 0x8000;  // AT_RECURSIVE
  return mount("none", "/", nullptr, MS_REC | MS_PRIVATE) && mount(folder, folder, nullptr, MS_BIND) &&
         (::access("/run", F_OK) != 0 || mount("none", "/run", "tmpfs", 0)) &&
         set("/", kRecursive, MOUNT_ATTR_RDONLY, 0) && set(folder, 0, 0, MOUNT_ATTR_RDONLY);
}

// Landlock: no call that changes a file or a folder, but for those below `folder` and writing to /dev/null; and none
// that would undo MountReadOnly.
bool RestrictWriting(const char* folder) {
  constexpr uint64_t kMaking =
      LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
      LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
      LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
  landlock_ruleset_attr rules{};
  rules.handled_access_fs = LANDLOCK_ACCESS_FS_WRITE_FILE | kMaking;
  constexpr uint64_t kTruncate = 1 << 14;  // LANDLOCK_ACCESS_FS_TRUNCATE, which headers before Linux 6.2 lack
  if (::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 3)
    rules.handled_access_fs |= kTruncate;
  const auto set = static_cast<int>(::syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0));
  if (set < 0) return false;
  const auto allow = [&](const char* path, uint64_t access) {
    landlock_path_beneath_attr rule{};
    rule.allowed_access = access;
    rule.parent_fd = ::open(path, O_PATH | O_CLOEXEC);
    return rule.parent_fd >= 0 && ::syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
  };
  return allow(folder, rules.handled_access_fs) && allow("/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE) &&
         ::syscall(SYS_landlock_restrict_self, set, 0) == 0;
}

[[noreturn]] void BecomeProgram(const Prepared& p, ChildReport report, int to_parent) {
  const auto redirect = [](const char* path, int flags, int to) {
    const int fd = ::open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0 || ::dup2(fd, to) < 0) ::_exit(126);
  };
  redirect("/dev/null", O_RDONLY, STDIN_FILENO);
  redirect(p.output.c_str(), O_WRONLY | O_CREAT | O_APPEND, STDOUT_FILENO);
  redirect(p.output.c_str(), O_WRONLY | O_CREAT | O_APPEND, STDERR_FILENO);
  if (::chdir(p.folder.c_str()) != 0) ::_exit(126);
  Limit(RLIMIT_CPU, static_cast<int64_t>(std::ceil(p.limits.seconds)) + 1);
  Limit(RLIMIT_AS, p.limits.memory_bytes);
  Limit(RLIMIT_FSIZE, p.limits.file_bytes);
  Limit(RLIMIT_NPROC, p.limits.processes);
  Limit(RLIMIT_CORE, 0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (!RestrictWriting(p.folder.c_str())) report.writes_only_inside = false;
  if (::write(to_parent, &report, sizeof report) < 0) ::_exit(126);
  ::syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC);
  ::execvpe(p.argv[0], p.argv.data(), p.envp.data());
  report.exec_error = errno;
  if (::write(to_parent, &report, sizeof report) < 0) ::_exit(126);
  ::_exit(127);
}

volatile pid_t inner_process = 0;  // of the child

void KillInner(int /*signal*/) {
  if (inner_process > 0) ::kill(inner_process, SIGKILL);
}

// The first process after a fork in a new process namespace is its init: when it ends, or is killed, all in it are. The
// program can leave its group and its parent's death behind, so the child kills it by its number: when its time is up,
// and when attune itself ends.
[[noreturn]] void RunChild(const Prepared& p, int to_parent) {
  ::setpgid(0, 0);
  ::signal(SIGTERM, KillInner);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ChildReport report;
  constexpr int kApart = CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS;
  report.has_no_network = ::unshare(CLONE_NEWUSER | kApart) == 0 || ::unshare(kApart) == 0;  // the latter as root
  report.writes_only_inside = report.has_no_network && MountReadOnly(p.folder.c_str());
  const pid_t inner = ::fork();
  if (inner == 0) {
    ::signal(SIGTERM, SIG_DFL);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    BecomeProgram(p, report, to_parent);
  }
  inner_process = inner;
  int status = 0;
  while (inner > 0 && ::waitpid(inner, &status, 0) < 0 && errno == EINTR) {
  }
  if (inner < 0) ::_exit(126);
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

// The exit status, or -1 where it took too long and was killed with all it started.
int WaitFor(pid_t child, double seconds) {
  const double begin = Now();
  int status = 0;
  bool is_late = false;
  for (;;) {
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended < 0) Failed("a program's process was lost: {}", std::strerror(errno));
    if (ended > 0) break;
    is_late = is_late || Now() - begin > seconds;
    if (is_late) ::kill(child, SIGTERM);  // it kills the program, wherever that has gone
    ::usleep(2000);
  }
  ::kill(-child, SIGKILL);  // what it left running
  if (is_late) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string LastLine(const std::string& path) {
  if (!FileExists(path)) return "";
  std::string text = ReadFile(path);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  const size_t line = text.rfind('\n');
  return (line == std::string::npos ? text : text.substr(line + 1)).substr(0, 200);
}

}  // namespace

SandboxResult RunInSandbox(const std::vector<std::string>& command, const std::string& program,
                           const SandboxLimits& limits) {
  const TemporaryFolder folder;
  WriteFileAtomic(folder.path() + "/program", program);
  const char* path = std::getenv("PATH");
  Prepared p{folder.path(),
             folder.path() + "/output",
             command,
             {std::string("PATH=") + (path == nullptr ? "/usr/bin:/bin" : path), "HOME=" + folder.path(),
              "TMPDIR=" + folder.path(), "LANG=C.UTF-8"},
             {},
             {},
             limits};
  p.words.emplace_back("program");
  p.argv = Pointers(p.words);
  p.envp = Pointers(p.variables);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) Failed("cannot start a program: {}", std::strerror(errno));
  const pid_t child = ::fork();
  if (child == 0) RunChild(p, ends[1]);
  ::close(ends[1]);
  if (child < 0) {
    ::close(ends[0]);
    Failed("cannot start a program: {}", std::strerror(errno));
  }
  const int status = WaitFor(child, limits.seconds);
  ChildReport report;
  for (ChildReport next; ::read(ends[0], &next, sizeof next) == static_cast<ssize_t>(sizeof next);) report = next;
  ::close(ends[0]);
  if (report.exec_error != 0) BadInput("{}: cannot be run: {}", command.front(), std::strerror(report.exec_error));
  SandboxResult result{status == 0, "", report.has_no_network, report.writes_only_inside};
  if (result.passed) return result;
  result.why = status < 0 ? fmt::format("took longer than {:g} s", limits.seconds) : LastLine(p.output);
  if (result.why.empty())
    result.why =
        status > 128 ? fmt::format("killed by signal {}", status - 128) : fmt::format("ended with status {}", status);
  return result;
}

}  // namespace attune
