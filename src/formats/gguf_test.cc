#include "formats/gguf.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/gguf_builder_for_test.h"

namespace attune::gguf_test {

const std::string kData = ATTUNE_TEST_DATA;

GgufContents Parse(const std::string& file) {
  return ParseGguf(std::as_bytes(std::span(file.data(), file.size())), "f.gguf");
}

void ExpectError(const GgufBuilder& file, const std::string& part) {
  try {
    Parse(file.text());
    ADD_FAILURE() << "no error where \"" << part << "\" was expected";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    const std::string text = error.what();
    EXPECT_NE(text.find(part), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  }
}

std::string FileOf(const GgufBuilder& builder) {
  const std::string path = testing::TempDir() + "/built.gguf";
  WriteFileAtomic(path, builder.text());
  return path;
}

TEST(Gguf, ReadsTheFixture) {
  const GgufFile file(kData + "/gguf/tiny_llama_mixed.gguf");
  EXPECT_EQ(file.String("general.architecture"), "llama");
  EXPECT_EQ(file.Integer("llama.block_count"), 2);
  EXPECT_EQ(file.Integer("absent"), std::nullopt);
  const TensorView* gate = file.FindTensor("blk.0.ffn_gate.weight");
  ASSERT_NE(gate, nullptr);
  EXPECT_EQ(gate->dtype, DType::kQ4_K);
  EXPECT_EQ(gate->shape, (std::vector<int64_t>{32, 256}));  // outermost first
  EXPECT_EQ(file.FindTensor("absent"), nullptr);
}

TEST(Gguf, ReadsEveryTypeOfValue) {
  GgufBuilder builder;
  builder.Header(0, 15);
  builder.Key("u8", GgufType::kU8).Number(uint8_t{200}).Key("i8", GgufType::kI8).Number(int8_t{-3});
  builder.Key("u16", GgufType::kU16).Number(uint16_t{60000}).Key("i16", GgufType::kI16).Number(int16_t{-300});
  builder.Key("u32", GgufType::kU32).Number(uint32_t{4000000000}).Key("i32", GgufType::kI32).Number(int32_t{-70000});
  builder.Key("u64", GgufType::kU64).Number(UINT64_MAX).Key("i64", GgufType::kI64).Number(INT64_MIN);
  builder.Key("f32", 0.5f).Key("f64", GgufType::kF64).Number(0.1).Key("yes", GgufType::kBool).Number(uint8_t{1});
  builder.Key("text", "h\xc3\xa9");
  builder.Key("texts", GgufType::kArray).Number(static_cast<uint32_t>(GgufType::kString)).Number(uint64_t{2});
  builder.Text("a").Text("");
  builder.Key("numbers", GgufType::kArray).Number(static_cast<uint32_t>(GgufType::kI16)).Number(uint64_t{2});
  builder.Number(int16_t{-1}).Number(int16_t{7});
  builder.Key("nested", GgufType::kArray).Number(static_cast<uint32_t>(GgufType::kArray)).Number(uint64_t{1});
  builder.Number(static_cast<uint32_t>(GgufType::kF32)).Number(uint64_t{1}).Number(2.5f);
  const GgufFile file(FileOf(builder));
  EXPECT_EQ(file.Integer("u8"), 200);
  EXPECT_EQ(file.Integer("i8"), -3);
  EXPECT_EQ(file.Integer("u16"), 60000);
  EXPECT_EQ(file.Integer("i16"), -300);
  EXPECT_EQ(file.Integer("u32"), 4000000000);
  EXPECT_EQ(file.Integer("i32"), -70000);
  EXPECT_EQ(file.Integer("i64"), INT64_MIN);
  EXPECT_THROW(file.Integer("u64"), Error);  // does not fit
  EXPECT_EQ(file.Number("u64"), static_cast<double>(UINT64_MAX));
  EXPECT_EQ(file.Number("f32"), 0.5);
  EXPECT_EQ(file.Number("f64"), 0.1);
  EXPECT_EQ(file.Boolean("yes"), true);
  EXPECT_EQ(file.String("text"), "h\xc3\xa9");
  ASSERT_EQ(file.Strings("texts")->size(), 2u);
  EXPECT_EQ((*file.Strings("texts"))[0], "a");
  EXPECT_EQ(*file.Integers("numbers"), (std::vector<int64_t>{-1, 7}));
  const GgufArray& nested = std::get<GgufArray>(file.Find("nested")->value);
  EXPECT_EQ(nested.arrays.at(0).size, 1u);
  EXPECT_EQ(file.metadata().front().first, "u8");
  for (const std::string key : {"text", "texts", "f32"}) EXPECT_THROW(file.Integers(key), Error);
  EXPECT_THROW(file.Strings("numbers"), Error);
  EXPECT_THROW(file.Floats("numbers"), Error);
  EXPECT_THROW(file.String("u8"), Error);
  EXPECT_THROW(file.Boolean("u8"), Error);
}

TEST(Gguf, AlignmentIsTheFilesOwn) {
  GgufBuilder builder;
  builder.Header(2, 1, 2).Key("general.alignment", uint32_t{8});
  builder.Tensor("a", {3}, 24, 0).Tensor("b", {2, 2}, 0, 8).Data(24, 8);
  const GgufContents contents = Parse(builder.text());
  EXPECT_EQ(contents.version, 2u);
  EXPECT_EQ(contents.tensors[1].bytes.data() - contents.tensors[0].bytes.data(), 8);
  EXPECT_EQ(contents.tensors[1].bytes.size(), 16u);
}

TEST(Gguf, RefusesOtherFilesAndVersionsByName) {
  GgufBuilder big_endian, one, four;
  ExpectError(GgufBuilder(), "header: needs 4 bytes");
  ExpectError(GgufBuilder().Number(uint32_t{1}), "does not begin with GGUF");
  ExpectError(big_endian.Header(0, 0, 0x03000000), "big-endian");
  ExpectError(one.Header(0, 0, 1), "version 1; versions 2 and 3");
  ExpectError(four.Header(0, 0, 4), "version 4");
}

TEST(Gguf, RefusesAbsurdCountsBeforeAllocating) {
  ExpectError(GgufBuilder().Header(uint64_t{1} << 60, 0), "tensors cannot be in a file of 24 bytes");
  ExpectError(GgufBuilder().Header(0, UINT64_MAX), "metadata entries cannot be");
  ExpectError(GgufBuilder().Header(0, 1).Number(UINT64_MAX).Data(64, 1),
              "metadata entry 1: needs 18446744073709551615");
  const auto array = [](GgufType type, uint64_t size) {
    GgufBuilder builder;
    builder.Header(0, 1).Key("k", GgufType::kArray).Number(static_cast<uint32_t>(type)).Number(size).Data(16, 1);
    return builder;
  };
  for (const GgufType type : {GgufType::kU8, GgufType::kF64, GgufType::kString, GgufType::kArray, GgufType::kBool}) {
    ExpectError(array(type, uint64_t{1} << 61), "key \"k\": an array of");
    ExpectError(array(type, UINT64_MAX), "key \"k\": an array of");
  }
  GgufBuilder deep;
  deep.Header(0, 1).Key("k", GgufType::kArray);
  for (int i = 0; i < 100000; ++i) deep.Number(static_cast<uint32_t>(GgufType::kArray)).Number(uint64_t{1});
  ExpectError(deep, "nested deeper than");
}

TEST(Gguf, RefusesWrongValuesByKey) {
  ExpectError(GgufBuilder().Header(0, 1).Text("k").Number(uint32_t{13}).Data(8, 1), "key \"k\": has value type 13");
  ExpectError(GgufBuilder().Header(0, 1).Key("k", GgufType::kBool).Number(uint8_t{2}), "holds 2 where a boolean");
  ExpectError(GgufBuilder().Header(0, 2).Key("k", uint32_t{1}).Key("k", uint32_t{1}), "key \"k\" occurs twice");
  for (const uint32_t bad : {0u, 3u, 0x80000000u}) {
    ExpectError(GgufBuilder().Header(0, 1).Key("general.alignment", bad), "must be a power of two");
  }
  ExpectError(GgufBuilder().Header(0, 1).Key("general.alignment", "32"), "must be a power of two");
}

TEST(Gguf, RefusesWrongTensorsByName) {
  const auto one = [](std::initializer_list<uint64_t> dims, uint32_t type, uint64_t offset) {
    GgufBuilder builder;
    builder.Header(1, 0).Tensor("t", dims, type, offset).Data(64);
    return builder;
  };
  EXPECT_EQ(Parse(one({4, 4}, 0, 0).text()).tensors.size(), 1u);
  ExpectError(one({1, 1, 1, 1, 1}, 0, 0), "tensor \"t\": has 5 dimensions");
  ExpectError(one({UINT64_MAX}, 0, 0), "has a dimension of");
  ExpectError(one({uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0), "is too large");
  ExpectError(one({uint64_t{1} << 62}, 0, 0), "is too large");
  ExpectError(one({33}, 2, 0), "not whole blocks of Q4_0");
  ExpectError(one({4, 5}, 0, 0), "lies outside the file");
  ExpectError(one({4}, 0, 64), "lies outside the file");
  ExpectError(one({4}, 0, 4), "not a multiple of the alignment");
  ExpectError(one({4}, 0, UINT64_MAX - 31), "lies outside the file");
  ExpectError(one({32}, 20, 0), "has type IQ4_NL, which is not supported");
  ExpectError(one({32}, 40, 0), "has type NVFP4, which is not supported");
  ExpectError(one({32}, 4, 0), "has an unknown type, number 4");
  ExpectError(GgufBuilder().Header(2, 0).Tensor("t", {4}, 0, 0).Tensor("t", {4}, 0, 32).Data(64),
              "tensor \"t\" occurs twice");
  ExpectError(GgufBuilder().Header(2, 0).Tensor("t", {16}, 0, 0).Tensor("u", {4}, 0, 32).Data(64),
              "tensor \"u\": overlaps tensor \"t\"");
}

TEST(Gguf, EveryShorterPieceOfAFileIsRefused) {
  GgufBuilder builder;
  builder.Header(1, 2).Key("name", "value").Key("k", GgufType::kArray).Number(static_cast<uint32_t>(GgufType::kU16));
  builder.Number(uint64_t{1}).Number(uint16_t{5}).Tensor("t", {8}, 0, 0).Data(32);
  EXPECT_EQ(Parse(builder.text()).tensors.size(), 1u);
  for (size_t size = 0; size < builder.text().size(); ++size) {
    EXPECT_THROW(Parse(builder.text().substr(0, size)), Error) << size;
  }
}

}  // namespace attune::gguf_test
