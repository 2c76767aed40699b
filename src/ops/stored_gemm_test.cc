// Products by weights as they are stored: tiles to the bits of the plain decoders, and a product to the bits of the
// same product by weights decoded beforehand.
#include "ops/cpu/stored_tile.h"

#include "base/error.h"
#include "ops/stored_samples.h"
#include "quant/float16.h"

namespace attune::stored_gemm_test {

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16;

TEST(RowSquares, OfEveryStoredFormat) {
  Operands o;
  for (const Sample& s : Samples(o, 5, 512)) {
    SCOPED_TRACE(NameOf(s.w.dtype));
    const RowSquares op{o.Make(1, 5), s.w};
    Cpu().Run(op);
    for (int64_t r = 0; r < 5; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < 512; ++c) sum += std::pow(s.values[static_cast<size_t>(r * 512 + c)], 2);
      EXPECT_NEAR(Get(op.out, 0, r), sum, 1e-5 * sum);
    }
  }
}

TEST(Embedding, ReadsRowsOfEveryStoredFormat) {
  Operands o;
  for (const Sample& s : Samples(o, 5, 512)) {
    SCOPED_TRACE(NameOf(s.w.dtype));
    const Embedding op{o.Make(2, 512), s.w, o.Ints({3, 1})};
    Cpu().Run(op);
    for (int64_t c = 0; c < 512; ++c) {
      ASSERT_EQ(Get(op.out, 0, c), s.values[static_cast<size_t>(3 * 512 + c)]);
      ASSERT_EQ(Get(op.out, 1, c), s.values[static_cast<size_t>(512 + c)]);
    }
  }
}

// One tile, with a gap after each row that must stay as it is.
template <class T>
void CheckTile(const Sample& s, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  const int64_t stride = cols + 3;
  const T untouched = static_cast<T>(77);
  std::vector<T> out(static_cast<size_t>(rows * stride), untouched);
  DecodeTile({s.w, row, rows, col, cols, out.data(), stride}, sizeof(T) == 2 ? kBF16 : kF32);
  for (int64_t r = 0; r < rows; ++r) {
    const T* line = out.data() + r * stride;
    for (int64_t c = 0; c < cols; ++c) {
      const float value = s.values[static_cast<size_t>((row + r) * s.w.cols + col + c)];
      T expected;
      if constexpr (sizeof(T) == 2) {
        expected = FloatToBf16(value);
      } else {
        expected = value;
      }
      ASSERT_EQ(std::memcmp(&line[c], &expected, sizeof expected), 0)
          << NameOf(s.w.dtype) << " element " << row + r << ", " << col + c << ": " << static_cast<double>(line[c])
          << " for " << static_cast<double>(expected);
    }
    for (int64_t c = cols; c < stride; ++c) ASSERT_EQ(line[c], untouched) << "written behind a row";
  }
}

TEST(StoredTile, IsWhatTheDecoderSays) {
  Operands o;
  for (const Sample& s : Samples(o, 7, 768)) {
    for (const int64_t col : {0, 16, 48, 256, 720}) {
      for (const int64_t cols : {16, 48, 256, 768}) {
        if (col + cols > 768) continue;
        CheckTile<float>(s, 1, 5, col, cols);
        CheckTile<uint16_t>(s, 0, 7, col, cols);
      }
    }
  }
}

TEST(StoredTile, RowsThatAreNoWholeBlocks) {
  Operands o;
  for (const int64_t width : {1, 31, 33, 97, 130}) {
    for (const Sample& s : Samples(o, 9, width)) {
      CheckTile<float>(s, 0, 9, 0, width);
      CheckTile<uint16_t>(s, 2, 6, width / 2, width - width / 2);
    }
  }
}

TEST(StoredTile, InfinitiesAndNanStay) {
  Operands o;
  for (const uint16_t factor : {0x7c00, 0xfc00, 0x7e00, 0x7fff}) {
    Sample s = OfFileType(o, DType::kQ8_0, 1, 32);
    std::memcpy(Operands::Pointer(s.w), &factor, 2);
    std::vector<uint16_t> out(32);
    DecodeTile({s.w, 0, 1, 0, 32, out.data(), 32}, kBF16);
    DecodeBlocks(DType::kQ8_0, reinterpret_cast<const std::byte*>(Operands::Pointer(s.w)), 32, s.values.data());
    for (size_t i = 0; i < 32; ++i) {
      EXPECT_EQ(std::isnan(Bf16ToFloat(out[i])), std::isnan(s.values[i]));
      EXPECT_EQ(std::isinf(Bf16ToFloat(out[i])), std::isinf(s.values[i]));
    }
  }
}

// c = a w or a w^T by the stored matrix and by its values.
void CheckProduct(Operands& o, const Sample& s, int64_t m, bool transposed, DType compute, bool with_rest) {
  SCOPED_TRACE(fmt::format("{} ({}, {}) m {} {} {}", NameOf(s.w.dtype), s.w.rows, s.w.cols, m, transposed ? "T" : "",
                           NameOf(compute)));
  Matrix dense = o.Make(s.w.rows, s.w.cols, compute);
  for (int64_t r = 0; r < dense.rows; ++r) {
    for (int64_t c = 0; c < dense.cols; ++c) Put(dense, r, c, s.values[static_cast<size_t>(r * dense.cols + c)]);
  }
  Gemm g;
  const int64_t k = transposed ? s.w.cols : s.w.rows, n = transposed ? s.w.rows : s.w.cols;
  g.a = o.Random(m, k, compute);
  g.b = s.w;
  g.b_transposed = transposed;
  if (with_rest) {
    g.low_a = o.Random(m, 4, compute);
    g.low_b = o.Random(4, n, compute);
    g.start = o.Random(m, n);
  }
  for (const int threads : {1, 3}) {
    g.c = o.Make(m, n);
    Gemm plain = g;
    plain.b = dense;
    plain.c = o.Make(m, n);
    Cpu(threads).Run(g);
    Cpu(threads).Run(plain);
    ExpectSameBits(g.c, plain.c);
  }
}

TEST(StoredGemm, IsTheProductByTheDecodedWeights) {
  Operands o;
  for (const Sample& s : Samples(o, 80, 512)) {
    for (const int64_t m : {1, 9, 60}) {
      for (const DType compute : {kF32, kBF16}) {
        CheckProduct(o, s, m, true, compute, m == 9);
        CheckProduct(o, s, m, false, compute, m == 60);
      }
    }
  }
}

TEST(StoredGemm, AwkwardShapes) {
  Operands o;
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{33, 65}, {70, 31}, {1, 40}}) {
    for (const Sample& s : Samples(o, rows, cols)) {
      for (const DType compute : {kF32, kBF16}) {
        CheckProduct(o, s, 40, true, compute, false);
        CheckProduct(o, s, 40, false, compute, true);
      }
    }
  }
}

// Reductions that run in several pieces: the pieces start inside the stored matrix.
TEST(StoredGemm, LongReductions) {
  Operands o;
  for (const DType type : {DType::kQ4_K, DType::kQ8_0, DType::kBF16}) {
    CheckProduct(o, OfFileType(o, type, 20, 8448), 9, true, kF32, false);
    CheckProduct(o, OfFileType(o, type, 8450, 256), 9, false, kBF16, true);
  }
  CheckProduct(o, Bnb4(o, {DType::kBnb4, 64, true}, 20, 8450), 70, true, kF32, true);
  CheckProduct(o, Bnb4(o, {DType::kBnb4, 64, true}, 8450, 40), 9, false, kBF16, false);
}

TEST(StoredGemm, RefusesViewsAndMasks) {
  Operands o;
  const Sample s = OfFileType(o, DType::kQ8_0, 64, 64);
  Gemm g{.c = o.Make(4, 64), .a = o.Random(4, 64), .b = s.w};
  g.b.cols = 32;
  EXPECT_THROW(Cpu().Run(g), Error);
  g.b.cols = 64;
  g.b_mask = o.Mask(64, 64);
  EXPECT_THROW(Cpu().Run(g), Error);
}

}  // namespace attune::stored_gemm_test
