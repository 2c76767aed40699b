#include "quant/gguf_blocks.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "quant/float16.h"

namespace attune::gguf_blocks_test {

const std::string kData = ATTUNE_TEST_DATA;

// Distance in representable floats.
int64_t UlpsApart(float a, float b) {
  const auto ordered = [](float value) {
    const auto bits = std::bit_cast<int32_t>(value);
    return int64_t{bits < 0 ? INT32_MIN - bits : bits};
  };
  return std::abs(ordered(a) - ordered(b));
}

TEST(GgufBlocks, EveryTypeDecodesToTheReferenceWithinOneUlp) {
  const GgufFile file(kData + "/gguf/tiny_llama_mixed.gguf");
  const SafetensorsFile expected(kData + "/gguf/dequantized.safetensors");
  std::vector<bool> seen(32);
  for (const TensorView& tensor : file.tensors()) {
    const TensorView* reference = expected.Find(tensor.name);
    ASSERT_NE(reference, nullptr) << tensor.name;
    ASSERT_EQ(reference->shape, tensor.shape) << tensor.name;
    const int64_t elements = *ElementCount(tensor.shape);
    std::vector<float> decoded(static_cast<size_t>(elements));
    DecodeBlocks(tensor.dtype, tensor.bytes.data(), elements, decoded.data());
    std::vector<float> wanted(decoded.size());
    DecodeBlocks(DType::kF32, reference->bytes.data(), elements, wanted.data());
    int64_t worst = 0;
    for (size_t i = 0; i < decoded.size(); ++i) worst = std::max(worst, UlpsApart(decoded[i], wanted[i]));
    EXPECT_LE(worst, 1) << tensor.name << " " << NameOf(tensor.dtype);
    seen[static_cast<size_t>(tensor.dtype)] = true;
  }
  for (int type = 0; type <= static_cast<int>(DType::kQ6_K); ++type) {
    EXPECT_EQ(seen[static_cast<size_t>(type)], CanDecode(static_cast<DType>(type))) << NameOf(static_cast<DType>(type));
  }
}

TEST(GgufBlocks, RefusesWhatIsNoWeight) {
  float out = 0;
  const std::byte in[8] = {};
  EXPECT_THROW(DecodeBlocks(DType::kI32, in, 1, &out), Error);
}

// Against the definition: sign * 2^(exponent - 15) * 1.fraction, for all 65536 halves.
TEST(Float16, HalfToFloatIsExactForEveryHalf) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float got = HalfToFloat(static_cast<uint16_t>(bits));
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31 && fraction != 0) {
      EXPECT_TRUE(std::isnan(got));
      continue;
    }
    double wanted = exponent == 31  ? INFINITY
                    : exponent == 0 ? std::ldexp(fraction, -24)
                                    : std::ldexp(1024 + fraction, exponent - 25);
    if (bits & 0x8000) wanted = -wanted;
    ASSERT_EQ(got, wanted) << bits;
    ASSERT_EQ(std::signbit(got), std::signbit(wanted)) << bits;
  }
}

TEST(Float16, Bf16RoundsToNearestEvenAndKeepsNan) {
  EXPECT_EQ(FloatToBf16(1.0f), 0x3F80);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3F808000u)), 0x3F80);  // a tie: to even
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3F818000u)), 0x3F82);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  EXPECT_EQ(FloatToBf16(std::bit_cast<float>(0x7F7FFFFFu)), 0x7F80);  // overflows to infinity
  EXPECT_EQ(FloatToBf16(-INFINITY), 0xFF80);
  EXPECT_TRUE(std::isnan(Bf16ToFloat(FloatToBf16(std::bit_cast<float>(0x7F800001u)))));
}

}  // namespace attune::gguf_blocks_test
