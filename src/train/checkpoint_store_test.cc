#include "train/checkpoint_store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <random>
#include <set>

#include "base/error.h"
#include "base/faulty_env.h"
#include "base/file.h"
#include "formats/durable_folder.h"

namespace attune::checkpoint_store_test {

using Kind = Fault::Kind;
using Names = std::vector<std::string>;

class CheckpointStoreTest : public testing::Test {
 protected:
  CheckpointStoreTest() : output_(QuickTempFolder(testing::UnitTest::GetInstance()->current_test_info()->name())) {
    Clear();
  }
  ~CheckpointStoreTest() override { RemoveTree(output_); }

  void Clear() {
    RemoveTree(output_);
    MakeDirectories(output_);
    WriteFileAtomic(output_ + "/run.json", "{}");
  }

  std::string Path(const std::string& name) const { return output_ + "/" + name; }

  void Save(const std::string& name, const std::string& text = "state") {
    DurableFolder folder(Path(name));
    WriteFileAtomic(folder.partial() + "/weights", text);
    WriteFileAtomic(folder.partial() + "/state.json", "{}");
    folder.Commit();
  }

  void Rename(const std::string& from, const std::string& to) {
    ASSERT_EQ(::rename(Path(from).c_str(), Path(to).c_str()), 0);
  }

  int64_t Newest() {
    const CheckpointSearch search = FindNewest(output_);
    if (!search.found) return -1;
    EXPECT_EQ(search.found->path, Path("checkpoint-" + std::to_string(search.found->step)));
    EXPECT_EQ(VerifyFolder(search.found->path), std::nullopt);
    return search.found->step;
  }

  Names Checkpoints() {
    Names names = ListDirectory(output_);
    std::erase(names, "run.json");
    return names;
  }

  FaultyEnv fast_;  // flushes nothing
  std::string output_;
};

TEST_F(CheckpointStoreTest, TheHighestStepIsTheNewest) {
  EXPECT_EQ(Newest(), -1);
  for (const char* name : {"checkpoint-9", "checkpoint-100", "checkpoint-20"}) Save(name);
  for (const char* other : {"checkpoint-", "checkpoint-x", "checkpoint--5", "checkpoint-300x", "checkpoint-+400",
                            "checkpoint-99999999999999999999", "my-checkpoint-500"}) {
    MakeDirectories(Path(other));
  }
  const CheckpointSearch search = FindNewest(output_);
  ASSERT_TRUE(search.found);
  EXPECT_EQ(search.found->step, 100);
  EXPECT_EQ(search.found->path, Path("checkpoint-100"));
  EXPECT_TRUE(search.skipped.empty());
}

TEST_F(CheckpointStoreTest, DamagedOnesArePassedOverAndNamed) {
  for (const char* name : {"checkpoint-10", "checkpoint-20", "checkpoint-30", "checkpoint-40"}) Save(name);
  WriteFileAtomic(Path("checkpoint-20/weights"), "stat");
  RemoveTree(Path("checkpoint-30/manifest.json"));
  WriteFileAtomic(Path("checkpoint-40/weights"), "stale");
  WriteFileAtomic(Path("checkpoint-50"), "a file");
  const CheckpointSearch search = FindNewest(output_);
  ASSERT_TRUE(search.found);
  EXPECT_EQ(search.found->step, 10);
  EXPECT_EQ(search.skipped,
            (Names{"checkpoint-50: has no manifest.json",
                   "checkpoint-40: weights is not what its manifest says: its content was changed or damaged",
                   "checkpoint-30: has no manifest.json", "checkpoint-20: weights has 4 bytes, its manifest says 5"}));
  EXPECT_EQ(Checkpoints().size(), 5u);  // what is damaged stays for its owner to look at
}

TEST_F(CheckpointStoreTest, AFolderThatIsNoneIsBadInput) {
  for (const char* name : {"nowhere", "run.json"}) {
    try {
      FindNewest(Path(name));
      ADD_FAILURE();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
      EXPECT_EQ(error.what(), Path(name) + ": is not a folder; name the output_dir of a run");
    }
  }
}

TEST_F(CheckpointStoreTest, LeftoversArePutRight) {
  Save("checkpoint-10");
  Save("checkpoint-20");
  Rename("checkpoint-20", "checkpoint-20.old");  // died between the two renamings
  Save("checkpoint-5");
  Rename("checkpoint-5", "checkpoint-5.old");
  Save("checkpoint-6");
  Rename("checkpoint-6", "checkpoint-5");  // died before the old one was removed
  MakeDirectories(Path("checkpoint-30.partial/sub"));
  MakeDirectories(Path("checkpoint-40.removing"));
  WriteFileAtomic(Path("checkpoint-40.removing/weights"), "half gone");
  MakeDirectories(Path("checkpoint-50.mine"));
  EXPECT_EQ(Newest(), 20);
  EXPECT_EQ(Checkpoints(), (Names{"checkpoint-10", "checkpoint-20", "checkpoint-5", "checkpoint-50.mine"}));
}

TEST_F(CheckpointStoreTest, RotationCountsBySteps) {
  const auto rotated = [&](std::optional<int64_t> limit, const std::string& keep) {
    Clear();
    for (const char* name : {"checkpoint-100", "checkpoint-30", "checkpoint-9", "checkpoint-20"}) Save(name);
    RotateCheckpoints(output_, limit, 100, keep);
    return Checkpoints();
  };
  const Names all = {"checkpoint-100", "checkpoint-20", "checkpoint-30", "checkpoint-9"};
  EXPECT_EQ(rotated(std::nullopt, ""), all);
  EXPECT_EQ(rotated(0, ""), all);
  EXPECT_EQ(rotated(-1, ""), all);
  EXPECT_EQ(rotated(4, ""), all);
  EXPECT_EQ(rotated(3, ""), (Names{"checkpoint-100", "checkpoint-20", "checkpoint-30"}));
  EXPECT_EQ(rotated(1, ""), (Names{"checkpoint-100"}));
  EXPECT_EQ(rotated(1, Path("checkpoint-9")), (Names{"checkpoint-100", "checkpoint-9"}));
  EXPECT_EQ(rotated(2, "from/elsewhere/checkpoint-9/"), (Names{"checkpoint-100", "checkpoint-9"}));
  EXPECT_EQ(rotated(2, Path("checkpoint-100")), (Names{"checkpoint-100", "checkpoint-30"}));
  EXPECT_EQ(rotated(3, Path("checkpoint-9")), (Names{"checkpoint-100", "checkpoint-30", "checkpoint-9"}));
}

// A run that went on from 20 because 40 was damaged, and has saved 25.
TEST_F(CheckpointStoreTest, RotationLeavesTheNewestAndWhatWasPassedOver) {
  for (const char* name : {"checkpoint-10", "checkpoint-20", "checkpoint-25", "checkpoint-40"}) Save(name);
  WriteFileAtomic(Path("checkpoint-40/weights"), "stale");
  RotateCheckpoints(output_, 1, 25, "");
  EXPECT_EQ(Checkpoints(), (Names{"checkpoint-25", "checkpoint-40"}));
  EXPECT_EQ(Newest(), 25);
}

TEST_F(CheckpointStoreTest, RotationRemovesALinkAndNotWhatItPointsTo) {
  Save("checkpoint-2");
  Save("checkpoint-1");
  Rename("checkpoint-1", "moved");
  ASSERT_EQ(::symlink(Path("moved").c_str(), Path("checkpoint-1").c_str()), 0);
  RotateCheckpoints(output_, 1, 2, "");
  EXPECT_EQ(Checkpoints(), (Names{"checkpoint-2", "moved"}));
  EXPECT_EQ(VerifyFolder(Path("moved")), std::nullopt);
}

// A run with a limit of 1 saves step 20 where 10 is, then replaces its 20.
TEST_F(CheckpointStoreTest, DeathAtEveryCallOfASaveFindsThePreviousOrTheNewCheckpoint) {
  for (const bool replace : {false, true}) {
    const auto save = [&] {
      Save("checkpoint-20", "new state");
      RotateCheckpoints(output_, 1, 20, "");
    };
    std::set<int64_t> seen;
    bool died = true;
    for (int at = 0; died; ++at) {
      Clear();
      Save("checkpoint-10");
      if (replace) Save("checkpoint-20");
      {
        FaultyEnv env({Kind::kDeath, at});
        try {
          save();
        } catch (const Error&) {
        }
        env.LoseUnsyncedData();
        died = static_cast<int>(env.calls().size()) > at;
      }
      const CheckpointSearch search = FindNewest(output_);
      ASSERT_TRUE(search.found) << at;
      EXPECT_TRUE(search.skipped.empty()) << at << ": " << search.skipped[0];
      seen.insert(search.found->step);
      EXPECT_TRUE(search.found->step == 20 || (died && !replace)) << at;
      for (const std::string& name : Checkpoints())
        EXPECT_TRUE(name == "checkpoint-10" || name == "checkpoint-20") << name;
      save();
      EXPECT_EQ(Checkpoints(), Names{"checkpoint-20"}) << at;
      EXPECT_EQ(ReadFile(Path("checkpoint-20/weights")), "new state") << at;
    }
    EXPECT_EQ(seen, replace ? std::set<int64_t>{20} : (std::set<int64_t>{10, 20}));
  }
}

TEST_F(CheckpointStoreTest, EveryCallOfASearchThatFailsIsToldAndLosesNothing) {
  const auto prepare = [&] {
    Clear();
    Save("checkpoint-10");
    Save("checkpoint-20");
    Rename("checkpoint-20", "checkpoint-20.old");
    Save("checkpoint-9");
    Rename("checkpoint-9", "checkpoint-9.removing");
    MakeDirectories(Path("checkpoint-30.partial"));
  };
  prepare();
  std::vector<FaultyEnv::Call> calls;
  {
    FaultyEnv env;
    FindNewest(output_);
    calls = env.calls();
  }
  for (const Kind kind : {Kind::kError, Kind::kDeath}) {
    for (int at = 0; at < static_cast<int>(calls.size()); ++at) {
      const FaultyEnv::Call& call = calls[static_cast<size_t>(at)];
      prepare();
      {
        FaultyEnv env({kind, at, EIO});
        try {
          const CheckpointSearch search = FindNewest(output_);
          const bool is_complete = search.found && search.found->step == 20;
          EXPECT_TRUE(is_complete ? call.what == "close" : !search.skipped.empty()) << call.what << " " << call.path;
        } catch (const Error& error) {
          EXPECT_NE(std::string(error.what()).find(output_), std::string::npos) << error.what();
        }
      }
      EXPECT_EQ(Newest(), 20) << at;
      EXPECT_EQ(Checkpoints(), (Names{"checkpoint-10", "checkpoint-20"})) << at;
    }
  }
}

TEST_F(CheckpointStoreTest, EveryCallOfARotationThatFailsLosesNoCheckpointThatIsToStay) {
  const auto prepare = [&] {
    Clear();
    for (const char* name : {"checkpoint-10", "checkpoint-20", "checkpoint-30"}) Save(name);
  };
  prepare();
  size_t count = 0;
  {
    FaultyEnv env;
    RotateCheckpoints(output_, 1, 30, Path("checkpoint-10"));
    count = env.calls().size();
  }
  for (const Kind kind : {Kind::kError, Kind::kDeath}) {
    for (int at = 0; at < static_cast<int>(count); ++at) {
      prepare();
      {
        FaultyEnv env({kind, at, EIO});
        try {
          RotateCheckpoints(output_, 1, 30, Path("checkpoint-10"));
        } catch (const Error& error) {
          EXPECT_NE(std::string(error.what()).find(output_), std::string::npos) << error.what();
        }
      }
      EXPECT_EQ(Newest(), 30) << at;
      EXPECT_EQ(VerifyFolder(Path("checkpoint-10")), std::nullopt) << at;
      RotateCheckpoints(output_, 1, 30, Path("checkpoint-10"));
      EXPECT_EQ(Checkpoints(), (Names{"checkpoint-10", "checkpoint-30"})) << at;
    }
  }
}

// Real processes, killed at random moments: each goes on from what the one before left.
TEST_F(CheckpointStoreTest, RandomKillsLoseNoCheckpointThatWasReported) {
  std::minstd_rand random(7);
  int64_t known = -1;
  for (int kill = 0; kill < 100; ++kill) {
    int reports[2];
    ASSERT_EQ(::pipe(reports), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        for (int64_t step = std::max<int64_t>(known, 0);; ++step) {  // the first one replaces
          Save("checkpoint-" + std::to_string(step), std::string(10000, 'x'));
          if (::write(reports[1], &step, sizeof step) != sizeof step) ::_exit(1);
          RotateCheckpoints(output_, 2, step, "");
        }
      } catch (const std::exception&) {
        ::_exit(1);
      }
    }
    ::close(reports[1]);
    ::usleep(static_cast<useconds_t>(random() % 5000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
    for (int64_t step; ::read(reports[0], &step, sizeof step) == sizeof step;) known = step;
    ::close(reports[0]);

    const CheckpointSearch search = FindNewest(output_);
    EXPECT_TRUE(search.skipped.empty()) << search.skipped[0];
    const int64_t step = search.found ? search.found->step : -1;
    EXPECT_TRUE(step == known || step == known + 1) << step << " where " << known << " was reported";
    known = step;
    EXPECT_LE(Checkpoints().size(), 3u);  // killed between a save and the removal of the oldest
  }
  EXPECT_GT(known, 0);
}

}  // namespace attune::checkpoint_store_test
