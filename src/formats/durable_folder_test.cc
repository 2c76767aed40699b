#include "formats/durable_folder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>

#include "base/error.h"
#include "base/faulty_env.h"
#include "base/file.h"

namespace attune::durable_folder_test {

using Kind = Fault::Kind;

class DurableFolderTest : public testing::Test {
 protected:
  DurableFolderTest()
      : parent_(QuickTempFolder(testing::UnitTest::GetInstance()->current_test_info()->name())),
        path_(parent_ + "/folder") {
    Clear();
  }
  ~DurableFolderTest() override { RemoveTree(parent_); }

  void Clear() {
    RemoveTree(parent_);
    MakeDirectories(parent_);
  }

  void Save(const std::string& text) {
    DurableFolder folder(path_);
    WriteFileAtomic(folder.partial() + "/a.bin", text);
    MakeDirectories(folder.partial() + "/sub");
    AppendFile(folder.partial() + "/sub/log.txt").WriteLine(text);  // which does not sync
    folder.Commit();
  }

  // What is saved, as a run that comes after finds it: a whole folder, or nothing.
  std::string Saved() {
    RecoverFolder(path_);
    if (!PathExists(path_)) return "";
    if (const auto reason = VerifyFolder(path_)) return "damaged: " + *reason;
    const std::string text = ReadFile(path_ + "/a.bin");
    return ReadFile(path_ + "/sub/log.txt") == text + "\n" ? text : "mixed";
  }

  // The error of Save, which must be one line that names something in the parent folder; empty when there is
  // none.
  std::string ErrorOfSave(const std::string& text) {
    try {
      Save(text);
    } catch (const Error& error) {
      const std::string line = error.what();
      EXPECT_EQ(line.find('\n'), std::string::npos) << line;
      EXPECT_NE(line.find(parent_), std::string::npos) << line;
      return line;
    }
    return "";
  }

  std::vector<FaultyEnv::Call> CallsOfSave(const std::string& previous) {
    Clear();
    if (!previous.empty()) Save(previous);
    FaultyEnv env;
    Save("new");
    return env.calls();
  }

  // Saves "new" over `previous` with the fault, checks what must hold whatever happens, and hands what is
  // found after it and the error line to `check`.
  void SaveWith(const Fault& fault, const std::string& previous,
                const std::function<void(const std::string& saved, const std::string& line)>& check) {
    Clear();
    if (!previous.empty()) Save(previous);
    std::string line;
    {
      FaultyEnv env(fault);
      line = ErrorOfSave("new");
      if (fault.kind == Kind::kDeath) env.LoseUnsyncedData();
    }
    const std::string saved = Saved();
    EXPECT_TRUE(saved == previous || saved == "new") << "call " << fault.at << ": " << saved << "; " << line;
    check(saved, line);
    // Nothing needs hands: the next save works and leaves nothing else behind.
    EXPECT_EQ(ErrorOfSave("newest"), "");
    EXPECT_EQ(Saved(), "newest");
    EXPECT_EQ(ListDirectory(parent_), std::vector<std::string>{"folder"});
  }

  FaultyEnv fast_;  // flushes nothing
  std::string parent_, path_;
};

TEST_F(DurableFolderTest, IsThereAfterCommitAndNotBefore) {
  {
    DurableFolder folder(path_);
    WriteFileAtomic(folder.partial() + "/a.bin", "half");
    EXPECT_FALSE(PathExists(path_));
  }
  EXPECT_EQ(ListDirectory(parent_), std::vector<std::string>{});
  Save("text");
  EXPECT_EQ(Saved(), "text");
  EXPECT_EQ(ListDirectory(path_), (std::vector<std::string>{"a.bin", "manifest.json", "sub"}));
  Save("another");
  EXPECT_EQ(Saved(), "another");
  EXPECT_EQ(ListDirectory(parent_), std::vector<std::string>{"folder"});
}

TEST_F(DurableFolderTest, ASlashAtTheEndChangesNothing) {
  {
    DurableFolder folder(path_ + "//");
    WriteFileAtomic(folder.partial() + "/a", "x");
    folder.Commit();
  }
  EXPECT_EQ(ListDirectory(parent_), std::vector<std::string>{"folder"});
  EXPECT_EQ(VerifyFolder(path_ + "/"), std::nullopt);
}

TEST_F(DurableFolderTest, AnEmptyFolderIsAMistake) {
  DurableFolder folder(path_);
  EXPECT_THROW(folder.Commit(), Error);
  EXPECT_FALSE(PathExists(path_));
}

// Every file before the manifest, the manifest and the names before the renaming, and the parent after each
// renaming.
TEST_F(DurableFolderTest, FlushesBeforeItRenames) {
  std::vector<std::string> order;
  for (const FaultyEnv::Call& call : CallsOfSave("old")) {
    if (call.what != "sync" && call.what != "rename") continue;
    std::string text = call.what + " " + call.path;
    for (size_t at; (at = text.find(parent_)) != std::string::npos;) text.replace(at, parent_.size(), "~");
    order.push_back(text);
  }
  const auto commit = std::find(order.begin(), order.end(), "sync ~/folder.partial/sub/log.txt");
  const std::vector<std::string> expected = {
      "sync ~/folder.partial/sub/log.txt",
      "sync ~/folder.partial/sub",
      "sync ~/folder.partial/manifest.json.partial",
      "rename ~/folder.partial/manifest.json.partial -> ~/folder.partial/manifest.json",
      "sync ~/folder.partial",
      "rename ~/folder -> ~/folder.old",
      "sync ~",
      "rename ~/folder.partial -> ~/folder",
      "sync ~",
  };
  EXPECT_EQ(std::vector<std::string>(commit, order.end()), expected);
  EXPECT_NE(std::find(order.begin(), commit, "sync ~/folder.partial/a.bin"), commit);
}

TEST_F(DurableFolderTest, EveryCallThatFailsLeavesThePreviousOrTheNewFolder) {
  for (const std::string previous : {"", "old"}) {
    const auto calls = CallsOfSave(previous);
    for (const int error : {EIO, ENOSPC, EINTR}) {
      for (int at = 0; at < static_cast<int>(calls.size()); ++at) {
        const FaultyEnv::Call& call = calls[static_cast<size_t>(at)];
        SaveWith({Kind::kError, at, error}, previous, [&](const std::string& saved, const std::string& line) {
          const std::string where = "call " + std::to_string(at) + ", " + call.what + " " + call.path + ": " + line;
          const std::set<std::string> may_be_interrupted = {"open", "create", "read", "write", "sync", "close"};
          if (line.empty()) {  // nothing went wrong that matters, or it was made good
            EXPECT_EQ(saved, "new") << where;
            EXPECT_TRUE(call.what == "close" || call.what == "stat" || error == EINTR) << where;
          } else {
            EXPECT_FALSE(error == EINTR && may_be_interrupted.contains(call.what)) << where;
          }
        });
      }
    }
  }
}

TEST_F(DurableFolderTest, AFullDiskLeavesThePreviousFolder) {
  for (const std::string previous : {"", "old"}) {
    const auto calls = CallsOfSave(previous);
    std::set<std::string> seen;
    for (int at = 0; at <= static_cast<int>(calls.size()); ++at) {
      SaveWith({Kind::kDiskFull, at}, previous, [&](const std::string& saved, const std::string& line) {
        EXPECT_EQ(saved, line.empty() ? "new" : previous) << at;
        EXPECT_EQ(line.empty(), line.find("No space left on device") == std::string::npos) << line;
        seen.insert(saved);
      });
      SaveWith({Kind::kShortWrite, at}, previous, [&](const std::string& saved, const std::string& line) {
        EXPECT_EQ(line, "") << at;
        EXPECT_EQ(saved, "new") << at;
      });
    }
    EXPECT_EQ(seen, (std::set<std::string>{previous, "new"}));
  }
}

TEST_F(DurableFolderTest, DeathAtEveryCallLeavesThePreviousOrTheNewFolder) {
  for (const std::string previous : {"", "old"}) {
    const auto calls = CallsOfSave(previous);
    std::set<std::string> seen;
    for (int at = 0; at <= static_cast<int>(calls.size()); ++at) {
      SaveWith({Kind::kDeath, at}, previous, [&](const std::string& saved, const std::string&) { seen.insert(saved); });
    }
    EXPECT_EQ(seen, (std::set<std::string>{previous, "new"}));
  }
}

// The recovery may be cut off, too.
TEST_F(DurableFolderTest, RecoveryMayDieAtAnyCall) {
  for (const bool is_new_in_place : {false, true}) {
    bool died = true;
    for (int at = 0; died; ++at) {
      Clear();
      Save("old");
      ASSERT_EQ(::rename(path_.c_str(), (parent_ + "/set_aside").c_str()), 0);
      if (is_new_in_place) Save("new");
      ASSERT_EQ(::rename((parent_ + "/set_aside").c_str(), (path_ + ".old").c_str()), 0);
      {
        FaultyEnv env({Kind::kDeath, at});
        try {
          RecoverFolder(path_);
        } catch (const Error&) {
        }
        died = static_cast<int>(env.calls().size()) > at;
      }
      EXPECT_EQ(Saved(), is_new_in_place ? "new" : "old") << at;
      EXPECT_EQ(ListDirectory(parent_), std::vector<std::string>{"folder"}) << at;
    }
  }
}

TEST_F(DurableFolderTest, AWholePreviousFolderStaysBesideADamagedOne) {
  Save("old");
  ASSERT_EQ(::rename(path_.c_str(), (path_ + ".old").c_str()), 0);
  MakeDirectories(path_);
  RecoverFolder(path_);
  EXPECT_EQ(VerifyFolder(path_ + ".old"), std::nullopt);
  Save("new");
  EXPECT_EQ(ListDirectory(parent_), std::vector<std::string>{"folder"});
}

class VerifyFolderTest : public DurableFolderTest {
 protected:
  VerifyFolderTest() { Save(std::string(5000, 'x')); }
  std::string Reason() { return VerifyFolder(path_).value_or("fine"); }
};

TEST_F(VerifyFolderTest, TellsWhatIsWrongWithWhichFile) {
  EXPECT_EQ(Reason(), "fine");
  const std::string file = path_ + "/a.bin";
  WriteFileAtomic(path_ + "/notes.txt", "not listed");
  EXPECT_EQ(Reason(), "fine");

  std::string changed(5000, 'x');
  changed[4999] ^= 1;
  WriteFileAtomic(file, changed);
  EXPECT_EQ(Reason(), "a.bin is not what its manifest says: its content was changed or damaged");
  WriteFileAtomic(file, std::string(1234567, 'x'));
  EXPECT_EQ(Reason(), "a.bin has 1,234,567 bytes, its manifest says 5,000");
  WriteFileAtomic(file, "");
  EXPECT_EQ(Reason(), "a.bin has 0 bytes, its manifest says 5,000");
  RemoveTree(file);
  EXPECT_EQ(Reason(), "a.bin is missing");
  MakeDirectories(file);
  EXPECT_EQ(Reason(), "a.bin: is not a regular file");
  RemoveTree(file);
  ASSERT_EQ(::symlink("/dev/zero", file.c_str()), 0);
  EXPECT_EQ(Reason(), "a.bin: is not a regular file");
  RemoveTree(file);
  WriteFileAtomic(file, std::string(5000, 'x'));
  EXPECT_EQ(Reason(), "fine");
  RemoveTree(path_ + "/sub");
  EXPECT_EQ(Reason(), "sub/log.txt is missing");
}

TEST_F(VerifyFolderTest, TellsWhatIsWrongWithTheManifest) {
  const std::string manifest = path_ + "/manifest.json";
  WriteFileAtomic(manifest, R"({"version": 1, "hash": "xxh3_128", "files": [{"path": "../a"}]})");
  EXPECT_EQ(Reason(), "manifest.json: the path \"../a\" leads out of the folder");
  WriteFileAtomic(manifest, "{\n");
  EXPECT_EQ(Reason().substr(0, 33), "manifest.json:2:1: not valid JSON");
  ASSERT_EQ(::truncate(manifest.c_str(), int64_t{1} << 40), 0);  // sparse
  EXPECT_EQ(Reason(), "manifest.json is too large");
  RemoveTree(manifest);
  EXPECT_EQ(Reason(), "has no manifest.json");
  ASSERT_EQ(::mkfifo(manifest.c_str(), 0600), 0);
  EXPECT_EQ(Reason(), "manifest.json: is not a regular file");
  RemoveTree(path_);
  EXPECT_EQ(Reason(), "has no manifest.json");
}

TEST_F(VerifyFolderTest, AnyCutOrChangedByteOfTheManifestIsAReason) {
  const std::string manifest = path_ + "/manifest.json", text = ReadFile(manifest);
  for (size_t i = 0; i < text.size() - 2; ++i) {  // without the line's end it is still whole
    WriteFileAtomic(manifest, text.substr(0, i));
    EXPECT_NE(Reason(), "fine") << i;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] ^= 1;
    WriteFileAtomic(manifest, changed);
    EXPECT_NE(Reason(), "fine") << i;
  }
}

TEST_F(VerifyFolderTest, EveryCallThatFailsIsAReason) {
  std::vector<FaultyEnv::Call> calls;
  {
    FaultyEnv env;
    EXPECT_EQ(Reason(), "fine");
    calls = env.calls();
  }
  for (int at = 0; at < static_cast<int>(calls.size()); ++at) {
    FaultyEnv env({Kind::kError, at, EIO});
    const FaultyEnv::Call& call = calls[static_cast<size_t>(at)];
    EXPECT_EQ(Reason().find("Input/output error") != std::string::npos, call.what != "close")
        << call.what << " " << call.path << ": " << Reason();
  }
}

}  // namespace attune::durable_folder_test
