// The optimisers, the gradient norm and the search for what is not finite, against plain loops.
#include "ops/optimizer.h"

#include "ops/test_operands.h"

namespace attune::optimizer_test {

constexpr DType kF64 = DType::kF64;
constexpr int64_t kSharedColumns = (int64_t{4} << 20) / 4 + 100;  // floats of the shared scratch, and some

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

// Runs `op` for 12 steps on devices of 1, 2 and 3 threads and as the reference; `fields` are the matrices it
// changes.
template <class Op>
void ExpectSteps(Operands& o, const Op& op, std::initializer_list<Matrix Op::*> fields, double tolerance) {
  Op ops[4] = {op, op, op, op};
  for (Op& copy : ops) {
    for (const auto field : fields) copy.*field = o.Clone(op.*field);
  }
  for (int64_t step = 1; step <= 12; ++step) {
    const Matrix gradient = o.Random(op.weight.rows, op.weight.cols, DType::kF32, step == 4 ? 1.0 : 1e-3);
    for (Op& copy : ops) {
      copy.gradient = gradient;
      if constexpr (requires { copy.step; }) copy.step = step;
    }
    for (int threads = 1; threads <= 3; ++threads) Cpu(threads).Run(ops[threads - 1]);
    Reference(ops[3]);
  }
  for (const auto field : fields) {
    if (!(op.*field)) continue;
    ExpectSameBits(ops[0].*field, ops[1].*field);
    ExpectSameBits(ops[0].*field, ops[2].*field);
    ExpectClose(ops[0].*field, ops[3].*field, tolerance);
  }
}

// To the bit: states that are encoded again would carry a difference on. Gradients span many decades, so that every
// part of the maps is met; some are zero, some not finite, one's square is too large for a float.
TEST(AdamW8bit, ManyStepsToTheBit) {
  for (const int64_t n : {1, 7, 255, 256, 257, 4096, 9001}) {
    SCOPED_TRACE(n);
    Operands o;
    const int64_t blocks = (n + 255) / 256;
    const std::vector<uint8_t> zeros(static_cast<size_t>(n));
    AdamW8bit first{.weight = o.Random(1, n), .gradient = {}, .m = {}, .v = {}, .absmax_m = {}, .absmax_v = {}};
    first.gradient_scale = 0.5f;
    first.learning_rate = 0.02;
    first.weight_decay = 0.1;
    AdamW8bit ops[4] = {first, first, first, first};
    for (AdamW8bit& op : ops) {
      op.weight = o.Clone(first.weight);
      op.m = o.Bytes(zeros.data(), n, DType::kU8, 1);
      op.v = o.Bytes(zeros.data(), n, DType::kU8, 1);
      op.absmax_m = o.Zeros(1, blocks);
      op.absmax_v = o.Zeros(1, blocks);
    }
    for (int64_t step = 1; step <= 8; ++step) {
      const Matrix gradient = o.Random(1, n);
      std::uniform_real_distribution<double> decades(-9, 1);
      for (int64_t i = 0; i < n; ++i) Put(gradient, 0, i, Get(gradient, 0, i) * std::pow(10, decades(o.random())));
      for (int64_t i = 5; i < n; i += 97) Put(gradient, 0, i, 0);
      if (step == 3 && n > 6) Put(gradient, 0, 6, NAN);
      if (step == 4) Put(gradient, 0, n / 2, -INFINITY);
      if (step == 8 && n > 300) Put(gradient, 0, 300, 1e30);
      for (AdamW8bit& op : ops) {
        op.gradient = gradient;
        op.step = step;
      }
      for (int threads = 1; threads <= 3; ++threads) Cpu(threads).Run(ops[threads - 1]);
      Reference(ops[3]);
      for (int i = 0; i < 3; ++i) {
        for (const auto field :
             {&AdamW8bit::weight, &AdamW8bit::m, &AdamW8bit::v, &AdamW8bit::absmax_m, &AdamW8bit::absmax_v}) {
          ExpectSameBits(ops[i].*field, ops[3].*field);
        }
      }
      if (HasFailure()) return;
    }
  }
}

TEST(Sgd, ManyStepsAgainstReference) {
  for (int64_t n : {1, 7, 8, 33, 5000, 9000}) {
    SCOPED_TRACE(n);
    Operands o;
    Sgd op;
    op.weight = o.Random(1, n);
    op.learning_rate = 0.02;
    op.weight_decay = 0.1;
    op.gradient_scale = 0.5f;
    ExpectSteps(o, op, {&Sgd::weight}, 1e-6);
    op.m = o.Zeros(1, n);
    op.momentum = 0.9;
    for (const bool nesterov : {false, true}) {
      op.nesterov = nesterov;
      op.dampening = nesterov ? 0 : 0.3;
      ExpectSteps(o, op, {&Sgd::weight, &Sgd::m}, 2e-6);
    }
  }
}

TEST(Lion, ManyStepsAgainstReference) {
  for (int64_t n : {1, 7, 8, 33, 5000, 9000}) {
    SCOPED_TRACE(n);
    Operands o;
    Lion op;
    op.weight = o.Random(1, n);
    op.m = o.Zeros(1, n);
    op.learning_rate = 0.02;
    op.weight_decay = 0.1;
    op.gradient_scale = 0.5f;
    ExpectSteps(o, op, {&Lion::weight, &Lion::m}, 2e-6);
  }
}

// Decay first, then a whole step, whatever the size of the gradient; no step where gradient and momentum are
// 0.
TEST(Lion, SignsOnly) {
  Operands o;
  const Lion op{.weight = o.Floats({1.0f, 1.0f, 1.0f}),
                .gradient = o.Floats({1e-30f, -500.0f, 0.0f}),
                .m = o.Zeros(1, 3),
                .learning_rate = 0.1,
                .weight_decay = 0.5};
  Cpu().Run(op);
  EXPECT_NEAR(Get(op.weight, 0, 0), 0.95 - 0.1, 1e-6);
  EXPECT_NEAR(Get(op.weight, 0, 1), 0.95 + 0.1, 1e-6);
  EXPECT_NEAR(Get(op.weight, 0, 2), 0.95, 1e-6);
  EXPECT_NEAR(Get(op.m, 0, 1), -0.5, 1e-6);
}

void CheckAdafactor(int64_t rows, int64_t cols, bool vector, int64_t gap) {
  SCOPED_TRACE(fmt::format("({}, {}) vector {} gap {}", rows, cols, vector, gap));
  Operands o;
  Adafactor op;
  op.weight = o.Random(rows, cols, DType::kF32, 1, gap);
  if (vector) {
    op.full = o.Zeros(1, cols);
  } else {
    op.row = o.Zeros(1, rows);
    op.col = o.Zeros(1, cols);
  }
  op.learning_rate = 0.02;
  op.weight_decay = 0.1;
  op.gradient_scale = 0.5f;
  ExpectSteps(o, op, {&Adafactor::weight, &Adafactor::row, &Adafactor::col, &Adafactor::full}, 3e-6);
}

TEST(Adafactor, ManyStepsAgainstReference) {
  for (int64_t cols : {1, 7, 16, 33, 4100, 20000}) CheckAdafactor(1, cols, true, 0);
  for (int64_t rows : {1, 3, 8, 9, 256, 300}) {
    for (int64_t cols : {1, 5, 16, 33, 200}) CheckAdafactor(rows, cols, false, rows % 2 == 0 ? 3 : 0);
  }
  CheckAdafactor(5000, 3, false, 0);  // more rows than sums that wait
  CheckAdafactor(2, 5000, false, 0);
}

// More columns than factors that fit into scratch.
TEST(Adafactor, VeryWide) {
  Operands o;
  const int64_t cols = kSharedColumns;
  Adafactor op{
      .weight = o.Random(2, cols), .gradient = o.Random(2, cols), .row = o.Zeros(1, 2), .col = o.Zeros(1, cols)};
  op.learning_rate = 0.1;
  Adafactor expected = op;
  expected.weight = o.Clone(op.weight);
  expected.row = o.Zeros(1, 2);
  expected.col = o.Zeros(1, cols);
  Cpu().Run(op);
  Reference(expected);
  ExpectClose(op.weight, expected.weight, 3e-6);
}

TEST(Adafactor, NaNIsSeen) {
  Operands o;
  Adafactor op{.weight = o.Random(3, 20), .gradient = o.Random(3, 20), .row = o.Zeros(1, 3), .col = o.Zeros(1, 20)};
  Put(op.gradient, 1, 2, std::nan(""));
  op.learning_rate = 0.1;
  Cpu().Run(op);
  for (int64_t r = 0; r < 3; ++r) EXPECT_TRUE(std::isnan(Get(op.weight, r, 7)));
}

TEST(FindNonFinite, FirstOfThem) {
  for (int64_t n : {1, 7, 40, 4096, 4099, 30000}) {
    for (int64_t at : {int64_t{-1}, int64_t{0}, n / 2, n - 1}) {
      for (const float bad : {INFINITY, -INFINITY, NAN}) {
        Operands o;
        const std::vector<int64_t> unset = {-7};
        const FindNonFinite op{o.Random(1, n, DType::kF32, 1e37), o.Bytes(unset.data(), 1, DType::kI64, 1)};
        if (at >= 0) Put(op.x, 0, at, bad);
        if (at >= 0) Put(op.x, 0, n - 1, bad);  // a later one does not count
        for (const int threads : {1, 3}) {
          Cpu(threads).Run(op);
          EXPECT_EQ(*reinterpret_cast<const int64_t*>(op.out.data.value), at) << n;
        }
        Reference(op);
        EXPECT_EQ(*reinterpret_cast<const int64_t*>(op.out.data.value), at) << n;
      }
    }
  }
}

}  // namespace attune::optimizer_test
