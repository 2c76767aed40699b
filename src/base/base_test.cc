#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/nearest.h"

namespace attune::base_test {

// To put a file in the place of /dev/null is to break the system of whoever may.
TEST(File, DevicesAndPipesAreWrittenToAndNotReplaced) {
  const std::string path = testing::TempDir() + "/attune_pipe";
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { std::getline(std::ifstream(path), read); });
  WriteFileAtomic(path, "content");
  reader.join();
  EXPECT_EQ(read, "content");
  EXPECT_EQ(std::filesystem::status(path).type(), std::filesystem::file_type::fifo);
  WriteFileAtomic("/dev/null", "content");  // by whoever may replace it, too
  EXPECT_EQ(std::filesystem::status("/dev/null").type(), std::filesystem::file_type::character);
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
}

TEST(File, AtomicFileLeavesTheOldContentUntilCommit) {
  const std::string path = testing::TempDir() + "/atomic.txt";
  WriteFileAtomic(path, "old");
  {
    AtomicFile file(path);
    file.Write("half of the new content");
  }  // destroyed without Commit: as in an error
  EXPECT_EQ(ReadFile(path), "old");
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  WriteFileAtomic(path, "new");
  EXPECT_EQ(MappedFile(path).text(), "new");
}

TEST(File, AMissingFileIsBadInputThatNamesThePath) {
  try {
    MappedFile file("/no/such/file");
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_NE(std::string(error.what()).find("/no/such/file"), std::string::npos);
  }
}

TEST(NearestName, FindsTypingMistakesAndStaysQuietOtherwise) {
  const std::vector<std::string> known = {"learning_rate", "lr_scheduler_type", "num_train_epochs"};
  EXPECT_EQ(NearestName("learning_rat", known), "learning_rate");
  EXPECT_EQ(NearestName("num_epochs", known), "num_train_epochs");
  EXPECT_EQ(NearestName("zzz", known), "");
}

}  // namespace attune::base_test
