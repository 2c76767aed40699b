#include "quant/bnb_state.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::bnb_state_test {

std::string ErrorOf(const std::string& text) {
  try {
    ParseBnbQuantState(text, "m: \"x\"");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "no error";
}

// Texts that bitsandbytes 0.50.2 wrote.
TEST(BnbState, ReadsAndWritesTheTextsOfBitsandbytes) {
  for (const std::string text :
       {R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [3, 21]})",
        R"({"quant_type": "fp4", "blocksize": 64, "dtype": "float16", "shape": [4, 32], "nested_blocksize": 256, )"
        R"("nested_dtype": "float32", "nested_offset": 2.6162109375})",
        R"({"quant_type": "nf4", "blocksize": 4096, "dtype": "bfloat16", "shape": [14336, 4096], "nested_blocksize": )"
        R"(256, "nested_dtype": "float32", "nested_offset": 0.5999606847763062})"}) {
    const BnbQuantState state = ParseBnbQuantState(text, "here");
    EXPECT_EQ(BnbQuantStateText(state), text);
  }
  const BnbQuantState state =
      ParseBnbQuantState(R"({"quant_type": "fp4", "blocksize": 128, "dtype": "bfloat16", "shape": [2, 3]})", "here");
  EXPECT_EQ(state, (BnbQuantState{Bnb4Type::kFp4, 128, DType::kBF16, {2, 3}, std::nullopt}));
}

// repr() of CPython 3.11 for each.
TEST(BnbState, PrintsOffsetsAsPythonDoes) {
  const std::pair<double, const char*> cases[] = {{0.0, "0.0"},
                                                  {-0.0, "-0.0"},
                                                  {1.0, "1.0"},
                                                  {123456.0, "123456.0"},
                                                  {0.0001, "0.0001"},
                                                  {9.999999747378752e-05, "9.999999747378752e-05"},
                                                  {1e15, "1000000000000000.0"},
                                                  {1e16, "1e+16"},
                                                  {1.0000000150474662e+30, "1.0000000150474662e+30"},
                                                  {1.401298464324817e-45, "1.401298464324817e-45"},
                                                  {0.012345679104328156, "0.012345679104328156"},
                                                  {5e-324, "5e-324"}};
  for (const auto& [offset, text] : cases) {
    BnbQuantState state{.shape = {1}, .nested = BnbQuantState::Nested{256, offset}};
    const std::string whole = BnbQuantStateText(state);
    EXPECT_TRUE(whole.ends_with("\"nested_offset\": " + std::string(text) + "}")) << whole;
    EXPECT_EQ(ParseBnbQuantState(whole, "here"), state);
  }
}

TEST(BnbState, ErrorsNameTheField) {
  const auto with = [](const std::string& field, const std::string& value) {
    std::string text = R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [4, 4]})";
    const size_t at = text.find("\"" + field + "\": ") + field.size() + 4;
    const size_t end = field == "shape" ? text.size() - 1 : text.find(',', at);
    return text.substr(0, at) + value + text.substr(end);
  };
  EXPECT_EQ(ErrorOf(with("quant_type", "\"int4\"")),
            "m: \"x\": \"quant_type\" must be \"nf4\" or \"fp4\", not \"int4\"");
  EXPECT_EQ(ErrorOf(with("blocksize", "96")), "m: \"x\": \"blocksize\" must be a power of two from 32 to 4096, not 96");
  EXPECT_EQ(ErrorOf(with("dtype", "\"int8\"")),
            "m: \"x\": \"dtype\" must be \"float32\", \"float16\" or \"bfloat16\", not \"int8\"");
  for (const char* size : {"0", "-64", "64.0", "\"64\"", "null", "18446744073709551615", "1e99", "8192"}) {
    EXPECT_NE(ErrorOf(with("blocksize", size)).find("\"blocksize\" must be"), std::string::npos) << size;
  }
  for (const char* shape : {"[]", "4", "null", "[0]", "[4, -1]", "[4.0]", "[4611686018427387904, 4]", "{}", "[[4]]",
                            "[18446744073709551615]", "[1, 1, 1, 1, 1, 1, 1, 1, 1]"}) {
    EXPECT_NE(ErrorOf(with("shape", shape)).find("\"shape\" must be"), std::string::npos) << shape;
  }
  const std::string start = R"({"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [4])";
  EXPECT_EQ(ErrorOf(start + R"(, "nested_offset": 1.0})"),
            "m: \"x\": \"nested_blocksize\" is missing; quantise the model again");
  EXPECT_EQ(ErrorOf(start + R"(, "nested_blocksize": 256, "nested_dtype": "float16", "nested_offset": 1.0})"),
            "m: \"x\": \"nested_dtype\" must be \"float32\", not \"float16\"");
  EXPECT_EQ(ErrorOf(start + R"(, "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 1e39})"),
            "m: \"x\": \"nested_offset\" must be a number within float32, not 1e+39");
  EXPECT_EQ(ErrorOf(start + R"(, "colour": 1})"), "m: \"x\": unknown field \"colour\"");
  EXPECT_EQ(ErrorOf("[]"), "m: \"x\": not a JSON object");
  EXPECT_EQ(ErrorOf("{}"), "m: \"x\": \"quant_type\" is missing; quantise the model again");
  EXPECT_NE(ErrorOf("{\"quant_type\": ").find("not valid JSON"), std::string::npos);
}

}  // namespace attune::bnb_state_test
