// The ops of weight-decomposed adapters against their references, and the norms against W + s B A written out.
#include "ops/dora.h"

#include <cmath>

#include "ops/test_operands.h"

namespace attune::dora_test {

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16;

TEST(RowSquares, OfEveryStoredType) {
  for (const DType type : {kF32, kBF16}) {
    for (const int64_t cols : {1, 7, 16, 100, 20000}) {
      Operands o;
      const RowSquares op{o.Make(1, 5), o.Random(5, cols, type)};
      const RowSquares expected{o.Clone(op.out), op.w};
      Cpu().Run(op);
      Reference(expected);
      ExpectClose(op.out, expected.out, 1e-6);
    }
  }
  for (const DType type : kFileTypes) {
    Operands o;
    const RowSquares op{o.Make(1, 3), StoredWeights(o, type, 3, 512)};
    const RowSquares expected{o.Clone(op.out), op.w};
    Cpu().Run(op);
    Reference(expected);
    ExpectClose(op.out, expected.out, 1e-6);
  }
}

struct Factors {
  DoraFactors op;
  Matrix w, a;
};

Factors MakeFactors(Operands& o, int64_t rank, int64_t n, int64_t k, DType type) {
  Factors f;
  f.w = o.Random(n, k, type);
  f.a = o.Random(rank, k, type, 0.3);
  DoraFactors& op = f.op;
  op.norm = o.Make(1, n);
  op.factor = o.Make(1, n);
  op.magnitude = o.Random(1, n);
  op.squares = o.Make(1, n);
  op.cross = o.Make(rank, n);
  op.gram = o.Make(rank, rank);
  op.b_transposed = o.Random(rank, n, type);
  op.scale = 1.7f;
  Cpu().Run(RowSquares{op.squares, f.w});
  Gemm cross;
  cross.c = op.cross;
  cross.a = f.a;
  cross.b = f.w;
  cross.b_transposed = true;
  Cpu().Run(cross);
  Gemm gram = cross;
  gram.c = op.gram;
  gram.b = f.a;
  Cpu().Run(gram);
  return f;
}

TEST(DoraFactors, AreTheNormsOfTheWholeWeight) {
  for (const DType type : {kF32, kBF16}) {
    for (const auto& [rank, n, k] : {std::tuple<int64_t, int64_t, int64_t>{2, 1, 3}, {4, 65, 40}, {16, 200, 64}}) {
      SCOPED_TRACE(fmt::format("rank {} ({}, {}) {}", rank, n, k, NameOf(type)));
      Operands o;
      const Factors f = MakeFactors(o, rank, n, k, type);
      Cpu(3).Run(f.op);
      DoraFactors one = f.op, reference = f.op;
      for (DoraFactors* copy : {&one, &reference}) {
        copy->norm = o.Clone(f.op.norm);
        copy->factor = o.Clone(f.op.factor);
      }
      Cpu(1).Run(one);
      Reference(reference);
      ExpectSameBits(f.op.norm, one.norm);
      ExpectClose(f.op.norm, reference.norm);
      ExpectClose(f.op.factor, reference.factor, 4e-6);
      for (int64_t j = 0; j < n; ++j) {
        double square = 0;
        for (int64_t i = 0; i < k; ++i) {
          double v = Get(f.w, j, i);
          for (int64_t r = 0; r < rank; ++r) v += f.op.scale * Get(f.op.b_transposed, r, j) * Get(f.a, r, i);
          square += v * v;
        }
        EXPECT_NEAR(Get(f.op.norm, 0, j), std::sqrt(square), 1e-5 * std::sqrt(square));
      }
    }
  }
}

TEST(DoraFactors, ARowOfZerosScalesToNothingAndANanStaysOne) {
  Operands o;
  const Factors f = MakeFactors(o, 2, 3, 4, kF32);
  for (int64_t r = 0; r < 2; ++r) Put(f.op.b_transposed, r, 1, 0);
  Put(f.op.squares, 0, 1, 0);
  Put(f.op.squares, 0, 2, NAN);
  Cpu().Run(f.op);
  EXPECT_EQ(Get(f.op.norm, 0, 1), 0);
  EXPECT_EQ(Get(f.op.factor, 0, 1), 0);
  EXPECT_TRUE(std::isnan(Get(f.op.factor, 0, 2)));
}

TEST(ScaleColumns, WithBiasAndStartOfEitherType) {
  for (const DType out : {kF32, kBF16}) {
    for (const DType x : {kF32, kBF16}) {
      for (const int64_t cols : {1, 17, 100}) {
        for (const int extras : {0, 1, 2}) {
          Operands o;
          ScaleColumns op{o.Make(5, cols, out, 3), o.Random(5, cols, x, 1, 2), o.Random(1, cols), {}, {}};
          if (extras > 0) op.bias = o.Random(1, cols);
          if (extras > 1) op.start = o.Random(5, cols, out, 1, 1);
          ScaleColumns expected = op;
          expected.out = o.Clone(op.out);
          Cpu().Run(op);
          Reference(expected);
          ExpectClose(op.out, expected.out);
        }
      }
    }
  }
}

TEST(ColumnProducts, AddUpTheSameInAnyNumberOfThreads) {
  for (const DType type : {kF32, kBF16}) {
    for (const int64_t cols : {1, 63, 200}) {
      Operands o;
      ColumnProducts op{o.Random(1, cols), o.Random(33, cols, type, 1, 3), o.Random(33, cols, type), o.Random(1, cols)};
      Put(op.divisor, 0, 0, 0);
      ColumnProducts one = op, expected = op;
      one.out = o.Clone(op.out);
      expected.out = o.Clone(op.out);
      Cpu(3).Run(op);
      Cpu(1).Run(one);
      Reference(expected);
      ExpectSameBits(op.out, one.out);
      ExpectClose(op.out, expected.out, 1e-4);
    }
  }
}

TEST(SelectScale, KeepsAndDrops) {
  for (const DType type : {kF32, kBF16}) {
    for (const int64_t cols : {1, 8, 21, 100}) {
      for (const bool start : {false, true}) {
        Operands o;
        SelectScale op{o.Make(5, cols, type, 3), o.Random(5, cols, type, 1, 2), o.Mask(5, cols).bits, 1.25f, -0.5f, {}};
        if (start) op.start = o.Random(5, cols, kF32);
        SelectScale expected = op;
        expected.out = o.Clone(op.out);
        Cpu().Run(op);
        Reference(expected);
        ExpectClose(op.out, expected.out);
      }
    }
  }
}

}  // namespace attune::dora_test
