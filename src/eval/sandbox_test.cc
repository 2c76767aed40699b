#include "eval/sandbox.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"

namespace attune::sandbox_test {

SandboxResult Shell(const std::string& program, const SandboxLimits& limits = {}) {
  return RunInSandbox({"/bin/sh"}, program, limits);
}

TEST(Sandbox, TellsWhetherAProgramPassed) {
  EXPECT_TRUE(Shell("exit 0").passed);
  const SandboxResult failed = Shell("echo first; echo 'assert 1 == 2' >&2; exit 3");
  EXPECT_FALSE(failed.passed);
  EXPECT_EQ(failed.why, "assert 1 == 2");
  EXPECT_EQ(Shell("exit 3").why, "ended with status 3");
  EXPECT_THROW(RunInSandbox({"no-such-program"}, "", {}), Error);
}

TEST(Sandbox, EndsWhatTakesTooLongAndWhatItStarted) {
  SandboxLimits limits;
  limits.seconds = 0.5;
  const double begin = Now();
  EXPECT_EQ(Shell("sleep 30 & sleep 30", limits).why, "took longer than 0.5 s");
  EXPECT_LT(Now() - begin, 5);
}

TEST(Sandbox, KeepsTheEnvironmentToItself) {
  ::setenv("ATTUNE_TEST_SECRET", "secret", 1);
  EXPECT_TRUE(Shell("test -z \"$ATTUNE_TEST_SECRET\" && test \"$HOME\" = \"$PWD\"").passed);
  ::unsetenv("ATTUNE_TEST_SECRET");
}

TEST(Sandbox, LimitsFilesAndMemory) {
  SandboxLimits limits;
  limits.file_bytes = 1 << 16;
  EXPECT_FALSE(Shell("head -c 1000000 /dev/zero > big && exit 0; exit 1", limits).passed);
  EXPECT_TRUE(Shell("head -c 1000 /dev/zero > small", limits).passed);
  limits.memory_bytes = 64 << 20;
  EXPECT_FALSE(Shell("x=$(head -c 200000000 /dev/zero | tr '\\0' a) && exit 0; exit 1", limits).passed);
}

TEST(Sandbox, GivesUpNetworkAndForeignFilesWhereItCan) {
  const std::string outside = testing::TempDir() + "/sandbox-outside";
  RemoveTree(outside);
  const SandboxResult result = Shell("echo x > '" + outside + "'; grep -q eth0 /proc/net/dev && exit 4; exit 0");
  EXPECT_TRUE(result.passed || !result.has_no_network) << result.why;
  EXPECT_EQ(FileExists(outside), !result.writes_only_inside);
}

// What changes a file without opening it to write.
TEST(Sandbox, LeavesForeignFilesAsTheyAre) {
  const std::string outside = testing::TempDir() + "/sandbox-victim";
  WriteFileAtomic(outside, "keep");
  ::chmod(outside.c_str(), 0640);
  const SandboxResult result = Shell("chmod 777 '" + outside + "'; touch -d 2001-01-01 '" + outside +
                                     "'; perl -e 'truncate(\"" + outside + "\", 0)'; echo x > /dev/null");
  EXPECT_TRUE(result.passed) << result.why;
  if (!result.writes_only_inside) GTEST_SKIP() << "this system lets no process give that up";
  EXPECT_EQ(ReadFile(outside), "keep");
  struct stat info {};
  ASSERT_EQ(::stat(outside.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_GT(info.st_mtime, 1'000'000'000);
}

// It leaves its group and asks for no signal when its parent dies.
TEST(Sandbox, NothingOutlivesItsTime) {
  SandboxLimits limits;
  limits.seconds = 0.5;
  const SandboxResult result = Shell(
      "exec perl -e 'use POSIX; syscall(157, 1, 0, 0, 0, 0); POSIX::setsid(); sleep 30; \"sandbox-survivor\"'", limits);
  EXPECT_EQ(result.why, "took longer than 0.5 s");
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    const std::string line((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(line.find("sandbox-survivor"), std::string::npos) << entry.path();
  }
}

}  // namespace attune::sandbox_test
