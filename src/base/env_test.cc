// Every call that file.h makes fails once, in turn, and the process dies at every call, in turn.
#include "base/env.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <set>

#include "base/error.h"
#include "base/faulty_env.h"
#include "base/file.h"
#include "base/hash.h"

namespace attune::env_test {

using Kind = Fault::Kind;

class FaultTest : public testing::Test {
 protected:
  FaultTest() : folder_(QuickTempFolder(UnitTestName())), path_(folder_ + "/file.txt") {
    RemoveTree(folder_);
    MakeDirectories(folder_);
  }
  ~FaultTest() override { RemoveTree(folder_); }

  static std::string UnitTestName() { return testing::UnitTest::GetInstance()->current_test_info()->name(); }

  // The error of `work`, which must be one line that names something in the folder; empty when there is none.
  std::string ErrorOf(const std::function<void()>& work) const {
    try {
      work();
    } catch (const Error& error) {
      const std::string line = error.what();
      EXPECT_EQ(line.find('\n'), std::string::npos) << line;
      EXPECT_NE(line.find(folder_), std::string::npos) << line;
      return line;
    }
    return "";
  }

  static std::vector<FaultyEnv::Call> CallsOf(const std::function<void()>& work) {
    FaultyEnv env;
    work();
    return env.calls();
  }

  FaultyEnv fast_;  // flushes nothing
  std::string folder_, path_;
};

TEST_F(FaultTest, AnAtomicFileGoesThroughTheseCallsInThisOrder) {
  const std::string partial = path_ + ".partial";
  const std::vector<FaultyEnv::Call> expected = {
      {"stat", path_},   {"create", partial}, {"write", partial},
      {"sync", partial}, {"close", partial},  {"rename", partial + " -> " + path_},
      {"open", folder_}, {"sync", folder_},   {"close", folder_},
  };
  EXPECT_EQ(CallsOf([&] { WriteFileAtomic(path_, "content"); }), expected);
}

TEST_F(FaultTest, AnAtomicFileThatFailsLeavesTheOldContentAndNothingElse) {
  for (const int error : {EIO, ENOSPC}) {
    for (int at = 0; at < 9; ++at) {
      WriteFileAtomic(path_, "old");
      std::string line;
      {
        FaultyEnv env({Kind::kError, at, error});
        line = ErrorOf([&] { WriteFileAtomic(path_, "the new one"); });
      }
      EXPECT_EQ(ListDirectory(folder_), std::vector<std::string>{"file.txt"}) << at;
      EXPECT_EQ(ReadFile(path_), at <= 5 ? "old" : "the new one") << at;
      // Call 8 closes a directory that was only read.
      EXPECT_EQ(line.find(std::strerror(error)) != std::string::npos, at < 8) << at << ": " << line;
    }
  }
}

TEST_F(FaultTest, AFullDiskLeavesTheOldContent) {
  for (int at = 0; at < 2; ++at) {
    WriteFileAtomic(path_, "old");
    std::string line;
    {
      FaultyEnv env({Kind::kDiskFull, at});
      line = ErrorOf([&] { WriteFileAtomic(path_, "the new one"); });
    }
    EXPECT_EQ(line, path_ + ": cannot be written: No space left on device");
    EXPECT_EQ(ListDirectory(folder_), std::vector<std::string>{"file.txt"}) << at;
    EXPECT_EQ(ReadFile(path_), "old");
  }
}

TEST_F(FaultTest, ASignalOrAShortWriteDoesNoHarm) {
  const auto write = [&] { WriteFileAtomic(path_, "the new one"); };
  const auto calls = CallsOf(write);
  for (const Kind kind : {Kind::kError, Kind::kShortWrite}) {
    for (int at = 0; at < static_cast<int>(calls.size()); ++at) {
      const std::string& what = calls[static_cast<size_t>(at)].what;
      if (what == "rename" || what == "stat") continue;  // never interrupted
      WriteFileAtomic(path_, "old");
      FaultyEnv env({kind, at, EINTR});
      EXPECT_EQ(ErrorOf(write), "") << at;
      EXPECT_EQ(ReadFile(path_), "the new one") << at;
    }
  }
}

TEST_F(FaultTest, DeathAtAnyCallLeavesTheOldOrTheNewContent) {
  std::set<std::string> seen;
  for (int at = 0; at <= 8; ++at) {
    WriteFileAtomic(path_, "old");
    {
      FaultyEnv env({Kind::kDeath, at});
      ErrorOf([&] { WriteFileAtomic(path_, "the new one"); });
      env.LoseUnsyncedData();
    }
    const std::string content = ReadFile(path_);
    EXPECT_TRUE(content == "old" || content == "the new one") << at << ": " << content;
    seen.insert(content);
    EXPECT_TRUE(at < 8 || content == "the new one");  // Commit had returned
  }
  EXPECT_EQ(seen.size(), 2u);
}

TEST_F(FaultTest, ThePowerTakesWhatWasNotSynced) {
  FaultyEnv env;
  AppendFile file(path_);
  file.WriteLine("not flushed");
  WriteFileAtomic(folder_ + "/flushed.txt", "flushed");
  env.LoseUnsyncedData();
  EXPECT_EQ(ReadFile(path_), "");
  EXPECT_EQ(ReadFile(folder_ + "/flushed.txt"), "flushed");
}

// Reading and the rest: each failing call is told, save the close of what was only read.
TEST_F(FaultTest, EveryOtherFailureIsToldToo) {
  const std::string tree = folder_ + "/a/b";
  const std::vector<std::pair<const char*, std::function<void()>>> jobs = {
      {"ReadFile", [&] { EXPECT_EQ(ReadFile(path_), "content"); }},
      {"MappedFile", [&] { EXPECT_EQ(MappedFile(path_).text(), "content"); }},
      {"ReadInPieces", [&] { ReadInPieces(path_, [](auto) {}); }},
      {"FileSize", [&] { EXPECT_EQ(FileSize(path_), 7); }},
      {"PathExists", [&] { EXPECT_TRUE(PathExists(path_)); }},
      {"MakeDirectories", [&] { MakeDirectories(tree); }},
      {"AppendFile", [&] { AppendFile(folder_ + "/a.jsonl").WriteLine("{}"); }},
      {"ScratchFile",
       [&] {
         const ScratchFile file(folder_, "a state", 10000);
         file.data()[9999] = std::byte{7};
         file.DropPages();
         EXPECT_EQ(file.data()[9999], std::byte{7});
         EXPECT_EQ(file.data()[0], std::byte{0});
       }},
      {"SpillFile",
       [&] {
         SpillFile file(folder_);
         EXPECT_EQ(file.Append("first", 5), 0);
         EXPECT_EQ(file.Append("second", 6), 5);
         std::string back(6, ' ');
         file.Read(5, back.data(), 6);
         EXPECT_EQ(back, "second");
       }},
      {"SyncFile", [&] { SyncFile(path_); }},
      {"RenameDurably", [&] { RenameDurably(path_, folder_ + "/renamed"); }},
      {"RemoveTree", [&] { RemoveTree(folder_ + "/full"); }},
      {"ListDirectory", [&] { EXPECT_EQ(ListDirectory(folder_).size(), 2u); }},
  };
  for (const auto& [name, job] : jobs) {
    const auto prepare = [&] {
      for (const char* made : {"/a", "/a.jsonl", "/renamed"}) RemoveTree(folder_ + made);
      WriteFileAtomic(path_, "content");
      MakeDirectories(folder_ + "/full/of");
      WriteFileAtomic(folder_ + "/full/of/things", "x");
    };
    prepare();
    const auto calls = CallsOf(job);
    ASSERT_FALSE(calls.empty()) << name;
    for (int at = 0; at < static_cast<int>(calls.size()); ++at) {
      const FaultyEnv::Call& call = calls[static_cast<size_t>(at)];
      prepare();
      std::string line;
      {
        FaultyEnv env({Kind::kError, at, EIO});
        line = ErrorOf(job);
      }
      EXPECT_EQ(line.find("Input/output error") != std::string::npos, call.what != "close")
          << name << ", " << call.what << " " << call.path << ": " << line;
    }
    prepare();
    EXPECT_EQ(ErrorOf(job), "") << name;
  }
}

TEST_F(FaultTest, RemoveTreeTakesALinkAndNotWhatItPointsTo) {
  MakeDirectories(folder_ + "/kept");
  WriteFileAtomic(folder_ + "/kept/file", "x");
  MakeDirectories(folder_ + "/gone/below");
  ASSERT_EQ(::symlink((folder_ + "/kept").c_str(), (folder_ + "/gone/below/link").c_str()), 0);
  RemoveTree(folder_ + "/gone");
  EXPECT_EQ(ListDirectory(folder_), std::vector<std::string>{"kept"});
  EXPECT_TRUE(FileExists(folder_ + "/kept/file"));
  RemoveTree(folder_ + "/gone");  // nothing there is no error
}

TEST_F(FaultTest, MakeDirectoriesRefusesWhatCannotBe) {
  WriteFileAtomic(path_, "x");
  EXPECT_EQ(ErrorOf([&] { MakeDirectories(path_); }), path_ + ": cannot create the directory: Not a directory");
  EXPECT_EQ(ErrorOf([&] { MakeDirectories(path_ + "/below"); }),
            path_ + "/below: cannot create the directory: Not a directory");
  std::string deep = folder_;
  for (int i = 0; i < 100000; ++i) deep += "/d";
  EXPECT_NE(ErrorOf([&] { MakeDirectories(deep); }).find("File name too long"), std::string::npos);
  EXPECT_EQ(ListDirectory(folder_), std::vector<std::string>{"file.txt"});
  MakeDirectories(folder_ + "//x///y/");
  EXPECT_TRUE(DirectoryExists(folder_ + "/x/y"));
}

TEST_F(FaultTest, APipeIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  EXPECT_EQ(ErrorOf([&] { ReadFile(path_); }), path_ + ": is not a regular file");
}

TEST(ParentOf, TakesThePathAsItIsWritten) {
  EXPECT_EQ(ParentOf("a/b"), "a");
  EXPECT_EQ(ParentOf("a//b//"), "a");
  EXPECT_EQ(ParentOf("a"), ".");
  EXPECT_EQ(ParentOf("a/"), ".");
  EXPECT_EQ(ParentOf("/a"), "/");
  EXPECT_EQ(ParentOf("/"), "/");
  EXPECT_EQ(ParentOf(""), ".");
}

// The digests of "abc", and of 2.5 MB in three pieces, as sha256sum and xxhsum -H2 print them.
TEST_F(FaultTest, DigestsAreThoseOfTheUsualTools) {
  WriteFileAtomic(path_, "abc");
  EXPECT_EQ(Sha256OfFile(path_), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Xxh3OfFile(path_), "06b05ab6733a618578af5f94892f3950");
  WriteFileAtomic(path_, std::string(2500000, 'a'));
  EXPECT_EQ(Sha256OfFile(path_), "38a637965059125eeb67f54c30e7f48a61859a467a800ba09740ba48a924f2b9");
  EXPECT_EQ(Xxh3OfFile(path_), "c06e6201c02dbec454ae46d59e0a9970");
}

}  // namespace attune::env_test
