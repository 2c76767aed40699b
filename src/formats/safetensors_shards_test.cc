#include "formats/safetensors_shards.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/faulty_env.h"

namespace attune::safetensors_shards_test {

std::vector<std::byte> Bytes(size_t count, int value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

std::string Folder(const std::string& name) {
  const std::string path = testing::TempDir() + "/shards-" + name;
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path;
}

const std::vector<TensorGroup> kGroups = {
    {{{"a.weight", DType::kU8, {10}}, {"a.map", DType::kF32, {2}}}, {"a.state", DType::kU8, {40}}},
    {{{"b.weight", DType::kBF16, {2, 3}}}, {}},
    {{{"c.weight", DType::kU8, {12}}}, {"c.state", DType::kU8, {40}}},
};

void Fill(ShardedSafetensorsWriter& writer) {
  writer.WriteAt("c.weight", 0, Bytes(12, 7));
  writer.WriteLate("c.state", Bytes(5, 8));
  writer.WriteAt("b.weight", 6, Bytes(6, 5));  // the second half first
  std::exception_ptr failure;
  std::thread other([&] {
    try {
      writer.WriteAt("b.weight", 0, Bytes(6, 4));
    } catch (...) {
      failure = std::current_exception();
    }
  });
  other.join();
  if (failure) std::rethrow_exception(failure);
  writer.WriteAt("a.map", 0, Bytes(8, 1));
  writer.WriteLate("a.state", Bytes(3, 2));
  writer.WriteAt("a.weight", 0, Bytes(10, 3));
}

void ExpectTensors(const std::string& folder) {
  const SafetensorsModel model(folder);
  ASSERT_EQ(model.tensors().size(), 6u);
  const auto expect = [&](const char* name, const std::vector<std::byte>& bytes) {
    const TensorView* tensor = model.Find(name);
    ASSERT_NE(tensor, nullptr) << name;
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), tensor->bytes.begin(), tensor->bytes.end())) << name;
  };
  expect("a.map", Bytes(8, 1));
  expect("a.state", Bytes(3, 2));
  expect("a.weight", Bytes(10, 3));
  auto b = Bytes(6, 4);
  b.insert(b.end(), 6, std::byte{5});
  expect("b.weight", b);
  expect("c.weight", Bytes(12, 7));
  expect("c.state", Bytes(5, 8));
}

TEST(SafetensorsShards, OneFileOrManyHoldTheSame) {
  for (const int64_t limit : {1000, 75, 1}) {
    const std::string folder = Folder(std::to_string(limit));
    {
      ShardedSafetensorsWriter writer(folder, kGroups, limit);
      EXPECT_EQ(writer.files(), limit == 1000 ? 1 : limit == 75 ? 2 : 3);
      Fill(writer);
      EXPECT_FALSE(FileExists(folder + "/model.safetensors.index.json"));
      writer.Commit();
      int64_t bytes = 0;
      for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        if (entry.path().extension() == ".safetensors") bytes += static_cast<int64_t>(entry.file_size());
      }
      EXPECT_EQ(bytes, writer.bytes() - (40 - 3) - (40 - 5));
    }
    EXPECT_EQ(FileExists(folder + "/model.safetensors"), limit == 1000);
    EXPECT_EQ(FileExists(folder + "/model.safetensors.index.json"), limit != 1000);
    ExpectTensors(folder);
  }
}

// Without late tensors the file is the one that the streaming writer makes.
TEST(SafetensorsShards, WritesTheSameBytesAsTheStreamingWriter) {
  const std::string folder = Folder("same");
  const std::vector<TensorDeclaration> tensors = {
      {"x", DType::kU8, {5}}, {"z", DType::kF32, {2}}, {"y", DType::kF32, {1}}};
  SafetensorsWriter streaming(folder + "/streamed", tensors);
  for (const TensorDeclaration& t : streaming.order())
    streaming.Write(t.name, Bytes(t.name == "x" ? 5 : t.name == "z" ? 8 : 4, 9));
  streaming.Commit();
  ShardedSafetensorsWriter writer(folder, {{tensors, {}}});
  writer.WriteAt("x", 0, Bytes(5, 9));
  writer.WriteAt("y", 0, Bytes(4, 9));
  writer.WriteAt("z", 0, Bytes(8, 9));
  writer.Commit();
  EXPECT_EQ(ReadFile(folder + "/model.safetensors"), ReadFile(folder + "/streamed"));
}

TEST(SafetensorsShards, WhatWasNotDeclaredOrNotWrittenFailsAndLeavesNothing) {
  const std::string folder = Folder("bad");
  {
    ShardedSafetensorsWriter writer(folder, kGroups);
    EXPECT_THROW(writer.WriteAt("d", 0, Bytes(1, 0)), Error);
    EXPECT_THROW(writer.WriteAt("b.weight", 8, Bytes(6, 0)), Error);
    EXPECT_THROW(writer.WriteLate("a.state", Bytes(41, 0)), Error);
    EXPECT_THROW(writer.WriteLate("a.weight", Bytes(10, 0)), Error);
    EXPECT_THROW(writer.Commit(), Error);
    Fill(writer);
    EXPECT_THROW(writer.WriteAt("c.weight", 0, Bytes(1, 0)), Error);
    EXPECT_THROW(writer.WriteLate("c.state", Bytes(1, 0)), Error);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

// Whatever call the disk fills up at, one error says so; no file is half written and no index names it.
TEST(SafetensorsShards, AFullDiskLeavesNoHalfFiles) {
  const std::string folder = Folder("full");
  const auto write = [&] {
    ShardedSafetensorsWriter writer(folder, kGroups, 75);
    Fill(writer);
    writer.Commit();
  };
  int calls = 0, failures = 0;
  {
    FaultyEnv env;
    write();
    calls = static_cast<int>(env.calls().size());
  }
  ASSERT_GT(calls, 10);
  for (int at = 0; at < calls; ++at) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    FaultyEnv env({Fault::Kind::kDiskFull, at, 0});
    try {
      write();
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFailed);
      ++failures;
      for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        EXPECT_EQ(entry.path().extension(), ".safetensors") << "at call " << at << ": " << entry.path();
      }
      EXPECT_FALSE(FileExists(folder + "/model.safetensors.index.json")) << at;
    }
  }
  EXPECT_GT(failures, 5);
}

}  // namespace attune::safetensors_shards_test
