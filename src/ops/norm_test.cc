// RMSNorm against its reference, forward and backward, all rows and chosen ones.
#include "ops/pointwise.h"
#include "ops/test_operands.h"

namespace attune::norm_test {

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16, kF64 = DType::kF64;

// Rows 0, 3, 6, ... of x, or all of them.
RmsNorm MakeNorm(Operands& o, int64_t rows, int64_t cols, DType type, bool some, int64_t gap) {
  RmsNorm op;
  op.out = o.Make(rows, cols, type, gap);
  op.x = o.Random(some ? 3 * rows : rows, cols, kF32, 2, gap);
  op.weight = o.Random(1, cols);
  op.rstd = o.Make(1, rows);
  if (some) {
    std::vector<int32_t> chosen;
    for (int64_t i = 0; i < rows; ++i) chosen.push_back(static_cast<int32_t>(3 * i));
    op.rows = o.Ints(chosen);
  }
  return op;
}

TEST(RmsNorm, ForwardAndBackward) {
  for (DType type : {kF32, kBF16}) {
    for (int64_t rows : {1, 2, 33}) {
      for (int64_t cols : {1, 6, 8, 15, 16, 31, 33, 576, 1000}) {
        for (bool some : {false, true}) {
          for (int64_t gap : {0, 3}) {
            SCOPED_TRACE(fmt::format("{} ({}, {}) some {} gap {}", NameOf(type), rows, cols, some, gap));
            Operands o;
            const RmsNorm op = MakeNorm(o, rows, cols, type, some, gap);
            RmsNorm expected = op;
            expected.out = o.Clone(op.out);
            expected.rstd = o.Clone(op.rstd);
            Cpu().Run(op);
            Reference(expected);
            ExpectClose(op.out, expected.out);
            ExpectClose(op.rstd, expected.rstd);

            RmsNormBackward back;
            back.dx = o.Random(op.x.rows, cols, kF32, 1, gap);
            back.dx_copy = o.Make(op.x.rows, cols, type, gap);
            back.dy = o.Random(rows, cols, kF32, 1, gap);
            back.x = op.x;
            back.weight = op.weight;
            back.rstd = op.rstd;
            back.rows = op.rows;
            RmsNormBackward back_expected = back, no_copy = back;
            back_expected.dx = o.Clone(back.dx);
            back_expected.dx_copy = o.Clone(back.dx_copy);
            no_copy.dx = o.Clone(back.dx);
            no_copy.dx_copy = Matrix{};
            Cpu().Run(back);
            Cpu().Run(no_copy);
            Reference(back_expected);
            const double tolerance = cols == 1 ? 1e-4 : 2e-6;  // one column: the terms cancel but for eps
            ExpectClose(back.dx, back_expected.dx, tolerance);
            ExpectSameBits(back.dx, no_copy.dx);
            for (int64_t i = 0; i < rows; ++i) {  // rows that were not chosen are not copied
              const int64_t r = some ? 3 * i : i;
              ExpectClose(back.dx_copy.Rows(r, 1), back_expected.dx_copy.Rows(r, 1), tolerance);
            }
          }
        }
      }
    }
  }
}

TEST(RmsNorm, WithoutRstd) {
  Operands o;
  RmsNorm op = MakeNorm(o, 4, 40, kF32, false, 0);
  op.rstd = Matrix{};
  RmsNorm expected = op;
  expected.out = o.Clone(op.out);
  Cpu().Run(op);
  Reference(expected);
  ExpectClose(op.out, expected.out);
}

TEST(RmsNorm, SmallAndLargeRows) {
  for (double size : {0.0, 1e-12, 1e-4, 1e15}) {
    Operands o;
    RmsNorm op = MakeNorm(o, 2, 64, kF32, false, 0);
    op.x = o.Random(2, 64, kF32, size);
    RmsNorm expected = op;
    expected.out = o.Clone(op.out);
    Cpu().Run(op);
    Reference(expected);
    ExpectClose(op.out, expected.out);
  }
}

TEST(RmsNorm, BackwardIsTheGradient) {
  Operands o;
  const Matrix x = o.Random(3, 10, kF64), weight = o.Random(1, 10, kF64), dy = o.Random(2, 10, kF64);
  RmsNorm forward{o.Make(2, 10, kF64), x, weight, o.Make(1, 2, kF64), o.Ints({2, 0}), 1e-5f};
  Reference(forward);
  const RmsNormBackward back{o.Zeros(3, 10, kF64), Matrix{}, dy, x, weight, o.Clone(forward.rstd), forward.rows};
  Reference(back);
  ExpectGradient(x, back.dx, [&] {
    Reference(forward);
    return Dot(forward.out, dy);
  });
}

TEST(RmsNormWeightBackward, AgainstReference) {
  for (int64_t rows : {0, 1, 7, 8, 9, 100}) {
    for (int64_t cols : {1, 6, 16, 33, 64, 65, 200, 576, 1000}) {
      for (bool some : {false, true}) {
        for (int64_t gap : {0, 3}) {
          SCOPED_TRACE(fmt::format("({}, {}) some {} gap {}", rows, cols, some, gap));
          Operands o;
          const RmsNorm norm = MakeNorm(o, rows, cols, kF32, some, gap);
          RmsNormWeightBackward op;
          op.dweight = o.Random(1, cols, kF32, 5);
          op.dy = o.Random(rows, cols, kF32, 1, gap);
          op.x = norm.x;
          op.rstd = o.Random(1, rows);
          op.rows = norm.rows;
          RmsNormWeightBackward one = op, three = op, expected = op;
          for (RmsNormWeightBackward* copy : {&one, &three, &expected}) copy->dweight = o.Clone(op.dweight);
          Cpu().Run(op);
          Cpu(1).Run(one);
          Cpu(3).Run(three);
          Reference(expected);
          ExpectClose(op.dweight, expected.dweight);
          ExpectSameBits(op.dweight, one.dweight);
          ExpectSameBits(op.dweight, three.dweight);
        }
      }
    }
  }
}

TEST(RmsNormWeightBackward, IsTheGradient) {
  Operands o;
  const Matrix x = o.Random(3, 10, kF64), weight = o.Random(1, 10, kF64), dy = o.Random(2, 10, kF64);
  RmsNorm forward{o.Make(2, 10, kF64), x, weight, o.Make(1, 2, kF64), o.Ints({2, 0}), 1e-5f};
  Reference(forward);
  const RmsNormWeightBackward back{o.Zeros(1, 10, kF64), dy, x, o.Clone(forward.rstd), forward.rows};
  Reference(back);
  ExpectGradient(weight, back.dweight, [&] {
    Reference(forward);
    return Dot(forward.out, dy);
  });
}

TEST(HeadNorm, ForwardAndBackward) {
  for (DType type : {kF32, kBF16}) {
    for (int64_t rows : {0, 1, 33}) {
      for (int64_t heads : {1, 3}) {
        for (int64_t n : {2, 16, 34, 128}) {
          SCOPED_TRACE(fmt::format("{} {} rows of {} heads of {}", NameOf(type), rows, heads, n));
          Operands o;
          const HeadNorm op{o.Make(rows, heads * n, type, 2), o.Random(rows, heads * n, type, 2, 2), o.Random(1, n),
                            o.Make(rows, heads), 1e-6f};
          HeadNorm expected = op, in_place = op;
          expected.out = o.Clone(op.out);
          expected.rstd = o.Clone(op.rstd);
          in_place.out = in_place.x = o.Clone(op.x);
          in_place.rstd = Matrix{};
          Cpu().Run(op);
          Cpu().Run(in_place);
          Reference(expected);
          ExpectClose(op.out, expected.out);
          ExpectClose(op.rstd, expected.rstd);
          ExpectSameBits(op.out, in_place.out);

          const Matrix dy = o.Random(rows, heads * n, type, 1, 2);
          const HeadNormWeightBackward weight{o.Random(1, n), dy, op.x, op.rstd};
          HeadNormWeightBackward weight_expected = weight, three = weight;
          weight_expected.dweight = o.Clone(weight.dweight);
          three.dweight = o.Clone(weight.dweight);
          Cpu().Run(weight);
          Cpu(3).Run(three);
          Reference(weight_expected);
          ExpectClose(weight.dweight, weight_expected.dweight, 1e-5);
          ExpectSameBits(weight.dweight, three.dweight);

          const HeadNormBackward back{dy, op.x, op.weight, op.rstd};
          HeadNormBackward back_expected = back;
          back_expected.dy = o.Clone(dy);
          Cpu().Run(back);
          Reference(back_expected);
          ExpectClose(back.dy, back_expected.dy, n == 2 ? 1e-5 : 2e-6);
        }
      }
    }
  }
}

TEST(HeadNorm, BackwardIsTheGradient) {
  Operands o;
  const Matrix x = o.Random(3, 20, kF64), weight = o.Random(1, 10, kF64), dy = o.Random(3, 20, kF64);
  const HeadNorm forward{o.Make(3, 20, kF64), x, weight, o.Make(3, 2, kF64), 1e-5f};
  Reference(forward);
  const Matrix rstd = o.Clone(forward.rstd);
  const HeadNormWeightBackward of_weight{o.Zeros(1, 10, kF64), dy, x, rstd};
  Reference(of_weight);
  const HeadNormBackward back{o.Clone(dy), x, weight, rstd};
  Reference(back);
  const auto value = [&] {
    Reference(forward);
    return Dot(forward.out, dy);
  };
  ExpectGradient(x, back.dy, value);
  ExpectGradient(weight, of_weight.dweight, value);
}

}  // namespace attune::norm_test
