// AdamW and the gradient norm against plain loops.
#include "ops/optimizer.h"

#include "ops/test_operands.h"

namespace attune {
namespace {

constexpr DType kF64 = DType::kF64;

TEST(SumSquares, AgainstReference) {
  for (int64_t n : {1, 7, 8, 100, 4095, 4096, 4097, 50000}) {
    SCOPED_TRACE(n);
    Operands o;
    const SumSquares op{o.Random(1, n), o.Make(1, 1, kF64)}, one{op.x, o.Make(1, 1, kF64)},
        three{op.x, o.Make(1, 1, kF64)}, expected{op.x, o.Make(1, 1, kF64)};
    Cpu().Run(op);
    Cpu(1).Run(one);
    Cpu(3).Run(three);
    Reference(expected);
    ExpectClose(op.out, expected.out, 3e-7);
    ExpectSameBits(op.out, one.out);
    ExpectSameBits(op.out, three.out);
  }
}

TEST(SumSquares, MoreBlocksThanTheirRoomHolds) {
  Operands o;
  const int64_t n = (int64_t{1} << 19) * 4096 / 64 + 5;  // 33.5 million
  const Matrix x = o.Zeros(1, n);
  for (int64_t i = 0; i < n; i += 1000) Put(x, 0, i, 2);
  const SumSquares op{x, o.Make(1, 1, kF64)};
  Cpu().Run(op);
  EXPECT_EQ(Get(op.out, 0, 0), 4.0 * static_cast<double>((n + 999) / 1000));
}

AdamW MakeAdamW(Operands& o, int64_t n) {
  AdamW op;
  op.weight = o.Random(1, n);
  op.gradient = o.Random(1, n, DType::kF32, 1e-3);
  op.m = o.Zeros(1, n);
  op.v = o.Zeros(1, n);
  op.learning_rate = 2e-3;
  op.weight_decay = 0.1;
  op.gradient_scale = 0.5f;
  return op;
}

TEST(AdamW, ManyStepsAgainstReference) {
  for (int64_t n : {1, 7, 8, 33, 5000}) {
    SCOPED_TRACE(n);
    Operands o;
    AdamW op = MakeAdamW(o, n), expected = op;
    expected.weight = o.Clone(op.weight);
    expected.m = o.Clone(op.m);
    expected.v = o.Clone(op.v);
    for (int64_t step = 1; step <= 20; ++step) {
      op.step = expected.step = step;
      op.gradient = expected.gradient = o.Random(1, n, DType::kF32, 1e-3);
      Cpu(step % 2 == 0 ? 1 : 3).Run(op);
      Reference(expected);
    }
    ExpectClose(op.weight, expected.weight, 1e-6);
    ExpectClose(op.m, expected.m, 1e-6);
    ExpectClose(op.v, expected.v, 1e-6);
  }
}

// Decoupled decay acts on the weight before the update (torch); the first step moves by the learning rate
// whatever the gradient's size. With decay after the update the weight would be (1 - 0.1) * (1 - 0.05) =
// 0.855.
TEST(AdamW, DecayComesFirst) {
  Operands o;
  const AdamW op{.weight = o.Floats({1.0f, 1.0f}),
                 .gradient = o.Floats({3e-3f, 500.0f}),
                 .m = o.Zeros(1, 2),
                 .v = o.Zeros(1, 2),
                 .learning_rate = 0.1,
                 .weight_decay = 0.5};
  Cpu().Run(op);
  EXPECT_NEAR(Get(op.weight, 0, 0), 0.95 - 0.1, 1e-6);
  EXPECT_NEAR(Get(op.weight, 0, 1), 0.95 - 0.1, 1e-6);
}

TEST(AdamW, NoGradientNoMove) {
  Operands o;
  AdamW op = MakeAdamW(o, 20);
  op.gradient = o.Zeros(1, 20);
  op.weight_decay = 0;
  const Matrix before = o.Clone(op.weight);
  Cpu().Run(op);
  ExpectSameBits(op.weight, before);
}

}  // namespace
}  // namespace attune
