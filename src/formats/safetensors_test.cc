#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/error.h"

namespace attune::safetensors_test {

const std::string kData = ATTUNE_TEST_DATA;

std::string WithHeader(const std::string& header, const std::string& data = "") {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

SafetensorsHeader Parse(const std::string& file) {
  return ParseSafetensors(std::as_bytes(std::span(file.data(), file.size())), "f");
}

std::string ErrorOf(const std::string& file) {
  try {
    Parse(file);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    return error.what();
  }
  return "no error";
}

void ExpectError(const std::string& header, const std::string& data, const std::string& part) {
  const std::string error = ErrorOf(WithHeader(header, data));
  EXPECT_NE(error.find(part), std::string::npos) << error;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

TEST(Safetensors, ReadsAModelFile) {
  const SafetensorsFile file(kData + "/models/llama/model.safetensors");
  const TensorView* embed = file.Find("model.embed_tokens.weight");
  ASSERT_NE(embed, nullptr);
  EXPECT_EQ(embed->dtype, DType::kF32);
  EXPECT_EQ(embed->shape, (std::vector<int64_t>{256, 36}));
  EXPECT_EQ(embed->bytes.size(), 256u * 36 * 4);
  EXPECT_EQ(file.metadata(), (Metadata{{"format", "pt"}}));
  EXPECT_EQ(file.Find("absent"), nullptr);
}

TEST(Safetensors, AcceptsAScalarAnEmptyTensorAndAnyOrder) {
  const auto header = Parse(WithHeader(R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},)"
                                       R"("s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                                       R"("e":{"data_offsets":[4,4],"shape":[3,0],"dtype":"F64"}}  )",
                                       "123456"));
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "s");
  EXPECT_EQ(header.tensors[1].name, "e");
  EXPECT_EQ(header.tensors[2].name, "b");
}

TEST(Safetensors, KeepsMetadataInFileOrder) {
  const auto header = Parse(WithHeader(R"({"__metadata__":{"z":"1","a":"2"}})"));
  EXPECT_EQ(header.metadata, (Metadata{{"z", "1"}, {"a", "2"}}));
}

TEST(Safetensors, RefusesDamagedFilesByName) {
  EXPECT_NE(ErrorOf("abc").find("too short"), std::string::npos);
  EXPECT_NE(ErrorOf(std::string(8, '\xff')).find("header length"), std::string::npos);
  EXPECT_NE(ErrorOf(std::string("\x20\0\0\0\0\0\0\0{}", 10)).find("cut short"), std::string::npos);
  ExpectError("[]", "", "not a JSON object");
  ExpectError(" {}", "", "not a JSON object");
  ExpectError(std::string("{}\0 ", 4), "", "not a JSON object");
  ExpectError("{]", "", "not valid JSON");
  ExpectError("{} x", "", "not valid JSON");
  ExpectError(R"({"a":1})", "", "at its top (\"a\")");
  ExpectError(R"({"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "1", "dtype F8_E4M3");
  ExpectError(R"({"a":{"dtype":"U8","shape":[1]}})", "1", "must have a dtype");
  ExpectError(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", "1", "two data_offsets");
  ExpectError(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}})", "1", "takes 2 bytes");
  ExpectError(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "1", "bytes 1 to 0");
  ExpectError(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "1", "cut short");
  ExpectError(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})", "", "negative");
  ExpectError(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", "1", "fraction");
  ExpectError(R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}})", "1", "too large");
  ExpectError(R"({"a":{"dtype":"F32","shape":[4611686018427387904,2],"data_offsets":[0,0]}})", "", "too large");
  ExpectError(R"({"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", "", "too large");
  ExpectError(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", "1", "a list");
  ExpectError(R"({"a":{"dtype":"U8","shape":{},"data_offsets":[0,1]}})", "1", "an object");
  ExpectError(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", "1", "second list");
  ExpectError(R"({"__metadata__":{"a":1}})", "", "texts only");
  ExpectError(R"({"__metadata__":{"a":{}}})", "", "texts only");
}

TEST(Safetensors, RefusesOverlapHolesTrailingBytesAndDuplicates) {
  const std::string a = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  ExpectError("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", "123", "\"b\" overlaps");
  ExpectError("{" + a + R"(,"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})", "1234", "\"b\" follows a hole");
  ExpectError("{" + a + "}", "123", "1 bytes after the last tensor");
  ExpectError("{" + a + R"(,"a":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})", "123", "\"a\" occurs twice");
  ExpectError("{" + a + R"(,"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "12", "\"b\" overlaps");
}

// Rewriting what the reference library wrote must give the same bytes: order, header text, padding.
TEST(SafetensorsWriter, WritesTheBytesOfTheReference) {
  for (const std::string name :
       {"/models/llama/model.safetensors", "/lora/llama_bias_lora_only/adapter_model.safetensors",
        "/models/llama/io.safetensors", "/train/batches.safetensors"}) {
    const SafetensorsFile source(kData + name);
    std::vector<TensorDeclaration> declarations;
    for (const TensorView& tensor : source.tensors()) declarations.push_back({tensor.name, tensor.dtype, tensor.shape});
    std::reverse(declarations.begin(), declarations.end());
    const std::string path = testing::TempDir() + "/written.safetensors";
    SafetensorsWriter writer(path, declarations, source.metadata());
    for (const TensorDeclaration& next : writer.order()) {
      const auto bytes = source.Find(next.name)->bytes;
      const size_t half = bytes.size() / 2;
      writer.Write(next.name, bytes.first(half));  // in two pieces
      writer.Write(next.name, bytes.subspan(half));
    }
    writer.Commit();
    EXPECT_EQ(ReadFile(path), ReadFile(source.path())) << name;
  }
}

TEST(SafetensorsWriter, RefusesWrongOrderTooManyAndTooFewBytes) {
  const std::string path = testing::TempDir() + "/refused.safetensors";
  SafetensorsWriter writer(path, {{"a", DType::kU8, {2}}, {"b", DType::kF32, {1}}, {"c", DType::kF32, {0}}});
  EXPECT_EQ(writer.order().front().name, "b");
  const std::vector<std::byte> bytes(8);
  EXPECT_THROW(writer.Write("a", std::span(bytes).first(2)), Error);
  EXPECT_THROW(writer.Write("b", bytes), Error);
  writer.Write("b", std::span(bytes).first(4));
  EXPECT_THROW(writer.Commit(), Error);
  writer.Write("a", std::span(bytes).first(2));
  writer.Commit();
  EXPECT_EQ(SafetensorsFile(path).tensors().size(), 3u);
}

class ShardedModel : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    MakeDirectories(folder_);
    WriteShard("model-00001-of-00002.safetensors", "a");
    WriteShard("model-00002-of-00002.safetensors", "b");
  }
  void WriteShard(const std::string& file, const std::string& tensor) {
    SafetensorsWriter writer(folder_ + "/" + file, {{tensor, DType::kU8, {1}}});
    const std::byte byte{7};
    writer.Write(tensor, std::span(&byte, 1));
    writer.Commit();
  }
  std::string Open(const std::string& index) {
    WriteFileAtomic(folder_ + "/model.safetensors.index.json", index);
    try {
      const SafetensorsModel model(folder_);
      return fmt::format("{} tensors", model.tensors().size());
    } catch (const Error& error) {
      return error.what();
    }
  }
  std::string folder_ = testing::TempDir() + "/sharded";
};

TEST_F(ShardedModel, IndexIsFollowedAndChecked) {
  EXPECT_EQ(Open(R"({"metadata":{"total_size":2},"weight_map":{"a":"model-00001-of-00002.safetensors",)"
                 R"("b":"model-00002-of-00002.safetensors"}})"),
            "2 tensors");
  EXPECT_NE(Open(R"({"weight_map":{"a":"model-00003-of-00002.safetensors"}})").find("shard model-00003"),
            std::string::npos);
  EXPECT_NE(Open(R"({"weight_map":{"a":"model-00002-of-00002.safetensors"}})").find("no such tensor"),
            std::string::npos);
  EXPECT_NE(Open(R"({"weight_map":{"a":"../x.safetensors"}})").find("not a file name"), std::string::npos);
  EXPECT_NE(Open(R"({"weight_map":{"a":"/etc/passwd"}})").find("not a file name"), std::string::npos);
  EXPECT_NE(Open(R"({"weight_map":{"a":".."}})").find("not a file name"), std::string::npos);
  EXPECT_NE(Open(R"({"weight_map":{}})").find("weight_map"), std::string::npos);
  EXPECT_NE(Open(R"({"weight_map":{"a":1}})").find("must be a text"), std::string::npos);
  EXPECT_NE(Open("[").find(":1:2: not valid JSON"), std::string::npos) << Open("[");
}

TEST(SafetensorsModel, NamesWhatIsMissing) {
  const std::string folder = testing::TempDir() + "/no_weights";
  MakeDirectories(folder);
  try {
    SafetensorsModel model(folder);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("model.safetensors.index.json"), std::string::npos);
  }
}

}  // namespace attune::safetensors_test
