// Products against stored weights: every type that can be decoded, against decoding and a dot product in
// double.
#include "ops/linear.h"

#include "ops/stored_samples.h"

namespace attune::linear_test {

void Check(Operands& o, const StoredLinear& op) {
  StoredLinear expected = op, one = op;
  const bool in_place = op.start.data.value == op.y.data.value;
  for (StoredLinear* other : {&expected, &one}) {
    other->y = o.Clone(op.y);
    if (in_place) other->start = other->y;
  }
  Cpu(3).Run(op);
  Cpu(1).Run(one);
  Reference(expected);
  ExpectClose(op.y, expected.y, 1e-5);
  ExpectSameBits(op.y, one.y);
}

TEST(StoredLinear, EveryType) {
  for (DType type : kFileTypes) {
    const int64_t block = LayoutOf(type).block_elements;
    for (int64_t blocks : {1, 2, 3, 18}) {
      for (int64_t n : {1, 3, 4, 5, 33}) {
        for (int64_t m : {1, 2, 3, 4, 7, 8, 9, 30}) {
          SCOPED_TRACE(fmt::format("{} m {} n {} k {}", NameOf(type), m, n, blocks * block));
          Operands o;
          const Matrix w = StoredWeights(o, type, n, blocks * block);
          const Matrix x = o.Random(m, w.cols, DType::kF32, 1, 3);
          Check(o, {o.Make(m, n, DType::kF32, 2), x, w, Matrix{}});
        }
      }
    }
  }
}

TEST(StoredLinear, Starts) {
  for (DType type : {DType::kF32, DType::kQ4_1, DType::kQ2_K, DType::kQ3_K}) {
    Operands o;
    const Matrix w = StoredWeights(o, type, 9, 256), x = o.Random(3, 256);
    Check(o, {o.Make(3, 9), x, w, o.Random(3, 9)});
    const Matrix y = o.Random(3, 9);
    Check(o, {y, x, w, y});
  }
}

TEST(StoredLinear, AwkwardLengthsOfPlainTypes) {
  for (DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (int64_t k : {1, 7, 15, 17, 31, 33, 100}) {
      SCOPED_TRACE(fmt::format("{} k {}", NameOf(type), k));
      Operands o;
      Check(o, {o.Make(2, 6), o.Random(2, k), StoredWeights(o, type, 6, k), Matrix{}});
    }
  }
}

// Rows of a wider matrix: whole blocks, not all of them.
TEST(StoredLinear, ColumnViews) {
  for (DType type : kFileTypes) {
    SCOPED_TRACE(NameOf(type));
    Operands o;
    const int64_t block = LayoutOf(type).block_elements;
    const Matrix w = StoredWeights(o, type, 7, 6 * block).Columns(2 * block, 3 * block);
    Check(o, {o.Make(3, 7), o.Random(3, w.cols), w, Matrix{}});
  }
}

// Formats whose scales lie apart, against the product by what they decode to.
void CheckSample(Operands& o, const Sample& s, int64_t m, bool starts) {
  SCOPED_TRACE(fmt::format("{} ({}, {}) m {}", NameOf(s.w.dtype), s.w.rows, s.w.cols, m));
  const Matrix dense = o.Bytes(s.values.data(), s.w.cols, DType::kF32, s.w.rows);
  const Matrix x = o.Random(m, s.w.cols, DType::kF32, 1, 5);
  const StoredLinear op{o.Make(m, s.w.rows, DType::kF32, 2), x, s.w, starts ? o.Random(m, s.w.rows) : Matrix{}};
  StoredLinear expected = op, one = op;
  expected.w = dense;
  expected.y = o.Clone(op.y);
  one.y = o.Clone(op.y);
  Cpu(3).Run(op);
  Cpu(1).Run(one);
  Reference(expected);
  ExpectClose(op.y, expected.y, 1e-5);
  ExpectSameBits(op.y, one.y);
}

TEST(StoredLinear, CodesWithScalesApart) {
  Operands o;
  for (const int64_t k : {1, 7, 31, 32, 33, 64, 96, 130, 224, 576, 1100, 4096, 4192, 8480}) {
    for (const int64_t n : {1, 4, 6}) {
      for (const Sample& s : Samples(o, n, k)) {
        if (s.w.dtype != DType::kBnb4 && s.w.dtype != DType::kInt8Rows) continue;
        for (const int64_t m : {1, 2, 3, 5, 8, 15}) CheckSample(o, s, m, m == 3);
      }
    }
  }
}

TEST(StoredLinear, LargeBlocksThatCrossRows) {
  Operands o;
  for (const int64_t block : {128, 1024, 4096}) {
    for (const bool nested : {false, true}) {
      CheckSample(o, Bnb4(o, {DType::kBnb4, block, nested}, 13, 8480), 1, true);
      CheckSample(o, Bnb4(o, {DType::kBnb4, block, nested}, 700, 288), 2, false);
    }
  }
}

// The kernel may compute d * sum(q x) where the decoder computes sum((d q) x): a large common part of x must
// cancel as well as it does in f32.
TEST(StoredLinear, OffsetInputs) {
  for (DType type : kFileTypes) {
    SCOPED_TRACE(NameOf(type));
    Operands o;
    const Matrix w = StoredWeights(o, type, 5, 1536), x = o.Random(1, 1536);
    for (int64_t i = 0; i < 1536; ++i) Put(x, 0, i, Get(x, 0, i) + 30);
    Check(o, {o.Make(1, 5), x, w, Matrix{}});
  }
}

// Rows that no fixed point holds, with one among them that is: they are computed in floats.
TEST(StoredLinear, RowsOfEverySize) {
  for (DType type : kFileTypes) {
    SCOPED_TRACE(NameOf(type));
    Operands o;
    const Matrix w = StoredWeights(o, type, 6, 512);
    for (const double size : {0.0, 4e-32, 1e-28, 1e-12, 1e20}) {
      SCOPED_TRACE(size);
      const Matrix x = o.Random(2, 512);
      for (int64_t i = 0; i < 512; ++i) Put(x, 1, i, Get(x, 1, i) * size);
      Check(o, {o.Make(2, 6), x, w, Matrix{}});
      const StoredLinear alone{o.Make(1, 6), x.Rows(1, 1), w, Matrix{}};
      Check(o, alone);
    }
    for (const double strange : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      const Matrix x = o.Random(2, 512);
      Put(x, 1, 300, strange);
      const StoredLinear op{o.Make(2, 6), x, w, Matrix{}};
      Cpu().Run(op);
      for (int64_t r = 0; r < 6; ++r) {
        EXPECT_TRUE(std::isfinite(Get(op.y, 0, r)));
        EXPECT_FALSE(std::isfinite(Get(op.y, 1, r)));
      }
    }
  }
}

TEST(StoredLinear, FactorsOfEveryKind) {
  Operands o;
  Matrix w = StoredWeights(o, DType::kQ8_0, 8, 32);
  const uint16_t factors[] = {0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x8001};
  for (int64_t r = 0; r < 8; ++r) std::memcpy(Operands::Pointer(w.Rows(r, 1)), &factors[r], 2);
  const StoredLinear op{o.Make(1, 8), o.Random(1, 32), w, Matrix{}};
  StoredLinear expected = op;
  expected.y = o.Make(1, 8);
  Cpu().Run(op);
  Reference(expected);
  for (int64_t r = 0; r < 8; ++r) {
    const double e = Get(expected.y, 0, r);
    EXPECT_NEAR(Get(op.y, 0, r), e, 1e-5 * std::abs(e)) << factors[r];
  }
}

}  // namespace attune::linear_test
