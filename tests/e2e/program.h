// For tests of the program from outside: starts it as a process of its own, lets a test signal it, and keeps
// what it says.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"

namespace attune {

struct Outcome {
  int exit_code = -1;  // -1: a signal ended it
  std::string out, err;
};

// One process. Its standard output and error go to two files, which may be read while it runs.
class Program {
 public:
  // `arguments` as after "attune"; `folder`: where it runs; `outputs`: the start of the two files' names.
  Program(const std::vector<std::string>& arguments, const std::string& folder, std::string outputs)
      : out_(outputs + ".out"), err_(std::move(outputs) + ".err") {
    std::string program = std::string(ATTUNE_BINARY_DIR) + "/attune";
    std::vector<char*> argv = {program.data()};
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    // What an earlier process said there must not be taken for this one's.
    for (const std::string& path : {out_, err_})
      ::close(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    pid_ = ::fork();
    if (pid_ != 0) return;
    const auto redirect = [](const char* path, int flags, int to) {
      const int fd = ::open(path, flags, 0644);
      if (fd < 0 || ::dup2(fd, to) < 0) ::_exit(126);
    };
    redirect("/dev/null", O_RDONLY, STDIN_FILENO);
    redirect(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    redirect(err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
    if (::chdir(folder.c_str()) != 0) ::_exit(126);
    ::execv(program.c_str(), argv.data());
    ::_exit(127);
  }
  ~Program() {
    if (!is_running_) return;
    Signal(SIGKILL);
    Wait();
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void Signal(int number) const { ::kill(pid_, number); }

  Outcome Wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    is_running_ = false;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(out_), ReadFile(err_)};
  }

  // Looks again and again until `seen` or the process has ended; whether it was seen.
  bool WaitFor(const std::function<bool()>& seen) const {
    for (;;) {
      siginfo_t ended{};
      ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT);
      if (seen()) return true;
      if (ended.si_pid != 0) return false;
      ::usleep(1000);
    }
  }
  bool WaitForOutput(const std::string& text) const {
    return WaitFor([&] { return FileExists(out_) && ReadFile(out_).find(text) != std::string::npos; });
  }

 private:
  std::string out_, err_;
  pid_t pid_ = -1;
  bool is_running_ = true;
};

// Tests in a folder of their own, where the program runs too.
class ProgramTest : public testing::Test {
 protected:
  void SetUp() override {
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    folder_ = testing::TempDir() + "/" + test.test_suite_name() + "-" + test.name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  Outcome Attune(const std::vector<std::string>& arguments) {
    return Program(arguments, folder_, Path("outcome")).Wait();
  }
  // Exit code 2 and one line that holds `piece`.
  void ExpectRefused(const std::vector<std::string>& arguments, const std::string& piece) {
    const Outcome outcome = Attune(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(piece), std::string::npos) << outcome.err;
  }
  // A folder "model": a tiny made-up model that answers chats.
  void MakeChatModel() {
    ASSERT_EQ(Attune({"synth", "--shape", "tiny", "--output", "model"}).exit_code, 0);
    WriteFileAtomic(Path("model/chat_template.jinja"),
                    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}"
                    "{% if add_generation_prompt %}a:{% endif %}");
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  std::string folder_;
};

}  // namespace attune
