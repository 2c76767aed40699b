// Cross-entropy and its gradient against the reference, and where floats run out.
#include "ops/loss.h"

#include <string>

#include "formats/safetensors.h"
#include "ops/test_operands.h"

namespace attune::loss_test {

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16, kF64 = DType::kF64;

CrossEntropy MakeLoss(Operands& o, int64_t rows, int64_t vocabulary, double size, int64_t gap) {
  CrossEntropy op;
  op.logits = o.Random(rows, vocabulary, kF32, size, gap);
  std::vector<int32_t> targets;
  for (int64_t r = 0; r < rows; ++r) targets.push_back(static_cast<int32_t>(r * 7919 % vocabulary));
  op.targets = o.Ints(targets);
  op.losses = o.Make(1, rows);
  op.correct = o.Make(1, rows);
  op.scale = 0.37f;
  return op;
}

CrossEntropy CloneOutputs(Operands& o, const CrossEntropy& op) {
  CrossEntropy copy = op;
  copy.logits = o.Clone(op.logits);
  copy.losses = o.Clone(op.losses);
  copy.correct = o.Clone(op.correct);
  copy.gradient = op.gradient.data.value == op.logits.data.value ? copy.logits : o.Clone(op.gradient);
  return copy;
}

void Check(Operands& o, const CrossEntropy& op) {
  const CrossEntropy expected = CloneOutputs(o, op), one = CloneOutputs(o, op);
  Cpu(3).Run(op);
  Cpu(1).Run(one);
  Reference(expected);
  ExpectClose(op.losses, expected.losses);
  ExpectSameBits(op.correct, expected.correct);
  ExpectSameBits(op.losses, one.losses);
  if (!op.gradient) return;
  ExpectClose(op.gradient, expected.gradient);
  ExpectSameBits(op.gradient, one.gradient);
  for (int64_t r = 0; r < op.gradient.rows;
       ++r) {  // small against the row, but what the target's embedding learns from
    const auto target = static_cast<int64_t>(Get(op.targets, 0, r));
    const double e = Get(expected.gradient, r, target);
    EXPECT_NEAR(Get(op.gradient, r, target), e, (1e-5 + UlpOf(op.gradient.dtype)) * std::abs(e));
  }
}

TEST(CrossEntropy, AgainstReference) {
  for (int64_t vocabulary : {2, 7, 8, 256, 1000, 1023, 1025, 49152}) {
    for (int64_t rows : {1, 5}) {
      for (int64_t gap : {0, 3}) {
        SCOPED_TRACE(fmt::format("({}, {}) gap {}", rows, vocabulary, gap));
        Operands o;
        CrossEntropy op = MakeLoss(o, rows, vocabulary, 3, gap);
        Check(o, op);
        op.gradient = o.Make(rows, vocabulary, kF32, gap);
        Check(o, op);
        op.gradient = o.Make(rows, vocabulary, kBF16, gap);
        Check(o, op);
        op.gradient = op.logits;
        Check(o, op);
      }
    }
  }
}

TEST(CrossEntropy, HugeAndSmallLogits) {
  for (double size : {0.0, 1e-20, 1e-3, 100.0, 1e4, 1e30}) {
    SCOPED_TRACE(size);
    Operands o;
    CrossEntropy op = MakeLoss(o, 4, 300, size, 0);
    op.gradient = o.Make(4, 300, kF32);
    Check(o, op);
  }
}

// The target's probability rounds to 1: the loss is about 0 and the gradient is that of everything else, not
// 0 - 0.
TEST(CrossEntropy, TargetCertain) {
  for (float lead : {5.0f, 14.0f, 16.0f, 17.0f, 60.0f}) {
    SCOPED_TRACE(lead);
    Operands o;
    std::vector<float> logits(64, 0.0f);
    logits[5] = lead;
    const CrossEntropy op{o.Floats(logits), o.Ints({5}), o.Make(1, 1), o.Make(1, 1), o.Make(1, 64), 1.0f};
    CrossEntropy expected = CloneOutputs(o, op);
    Cpu().Run(op);
    Reference(expected);
    EXPECT_NEAR(Get(op.losses, 0, 0), Get(expected.losses, 0, 0), 1e-6);
    EXPECT_NEAR(Get(op.gradient, 0, 5), Get(expected.gradient, 0, 5), 1e-6);
    EXPECT_LE(Get(op.gradient, 0, 5), 0);
    EXPECT_EQ(Get(op.correct, 0, 0), 1);
    EXPECT_NEAR(Get(op.gradient, 0, 6), Get(expected.gradient, 0, 6), 1e-6 * Get(expected.gradient, 0, 6));
  }
}

TEST(CrossEntropy, ForbiddenTokens) {
  Operands o;
  std::vector<float> logits(40, 1.0f);
  logits[3] = logits[39] = -INFINITY;
  const CrossEntropy op{o.Floats(logits), o.Ints({4}), o.Make(1, 1), o.Make(1, 1), o.Make(1, 40), 1.0f};
  Cpu().Run(op);
  EXPECT_NEAR(Get(op.losses, 0, 0), std::log(38.0), 1e-6);
  EXPECT_EQ(Get(op.gradient, 0, 3), 0);
  EXPECT_EQ(Get(op.gradient, 0, 39), 0);
}

TEST(CrossEntropy, LabelSmoothing) {
  for (int64_t vocabulary : {2, 7, 256, 1000, 1025, 49152}) {
    for (float smoothing : {0.1f, 0.9f}) {
      for (double size : {1e-3, 3.0, 1e4}) {
        SCOPED_TRACE(fmt::format("{} {} {}", vocabulary, smoothing, size));
        Operands o;
        CrossEntropy op = MakeLoss(o, 3, vocabulary, size, 3);
        op.label_smoothing = smoothing;
        Check(o, op);
        op.gradient = o.Make(3, vocabulary, kF32, 3);
        Check(o, op);
        op.gradient = op.logits;
        Check(o, op);
      }
    }
  }
}

// transformers.trainer_pt_utils.LabelSmoother (tests/data/optim/generate.py).
TEST(CrossEntropy, LabelSmoothingOfTransformers) {
  const SafetensorsFile file(std::string(ATTUNE_TEST_DATA) + "/optim/optim.safetensors");
  const auto load = [&](const char* name) { return file.Find(std::string("smoothing.") + name); };
  Operands o;
  const auto rows = load("logits")->shape[0], vocabulary = load("logits")->shape[1];
  const Matrix logits = o.Bytes(load("logits")->bytes.data(), vocabulary, kF32, rows);
  const Matrix targets = o.Bytes(load("targets")->bytes.data(), rows, DType::kI32, 1);
  const CrossEntropy op{logits, targets, o.Make(1, rows), o.Make(1, rows), o.Make(rows, vocabulary), 1.0f, 0.1f};
  Cpu().Run(op);
  double sum = 0;
  for (int64_t r = 0; r < rows; ++r) sum += Get(op.losses, 0, r);
  const double expected = Get(o.Bytes(load("loss")->bytes.data(), 1, kF32, 1), 0, 0);
  EXPECT_NEAR(sum, expected, 1e-6 * expected);
  ExpectClose(op.gradient, o.Bytes(load("gradient")->bytes.data(), vocabulary, kF32, rows));
}

TEST(CrossEntropy, NaNIsSeen) {
  Operands o;
  const CrossEntropy op{o.Make(1, 40), o.Ints({4}), o.Make(1, 1), o.Make(1, 1), Matrix{}, 1.0f};
  Put(op.losses, 0, 0, 1);
  Cpu().Run(op);
  EXPECT_TRUE(std::isnan(Get(op.losses, 0, 0)));
}

TEST(CrossEntropy, GradientIsTheGradient) {
  for (const float smoothing : {0.0f, 0.2f}) {
    Operands o;
    CrossEntropy op{o.Random(3, 9, kF64, 2), o.Ints({0, 8, 4}),  o.Make(1, 3, kF64),
                    o.Make(1, 3, kF64),      o.Make(3, 9, kF64), 0.5f};
    op.label_smoothing = smoothing;
    Reference(op);
    ExpectGradient(op.logits, o.Clone(op.gradient), [&] {
      Reference(op);
      return 0.5 * (Get(op.losses, 0, 0) + Get(op.losses, 0, 1) + Get(op.losses, 0, 2));
    });
  }
}

}  // namespace attune::loss_test
