// The matrix product against its reference: shapes, transpositions, masks, the low-rank term, starts,
// threads.
#include "ops/gemm.h"

#include "base/error.h"
#include "ops/test_operands.h"

namespace attune::gemm_test {

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16;

struct Case {
  int64_t m, n, k, r = 0;
  bool a_transposed = false, b_transposed = false, low_b_transposed = false;
  bool a_mask = false, b_mask = false, low_mask = false;
  enum Start { kNone, kResidual, kOutput, kBias } start = kNone;
  float alpha = 1.0f;
  DType compute = kF32, out = kF32;
  int64_t gap = 0;  // between rows of every operand; even
};

std::string Describe(const Case& c) {
  return fmt::format("m {} n {} k {} r {} a{} b{} low_b{} masks {}{}{} start {} alpha {} {} -> {} gap {}", c.m, c.n,
                     c.k, c.r, c.a_transposed ? "T" : "", c.b_transposed ? "T" : "", c.low_b_transposed ? "T" : "",
                     c.a_mask, c.b_mask, c.low_mask, static_cast<int>(c.start), c.alpha, NameOf(c.compute),
                     NameOf(c.out), c.gap);
}

Gemm Build(Operands& o, const Case& c) {
  const auto operand = [&](int64_t rows, int64_t cols, bool transposed, double deviation) {
    return transposed ? o.Random(cols, rows, c.compute, deviation, c.gap)
                      : o.Random(rows, cols, c.compute, deviation, c.gap);
  };
  const double deviation = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(1, c.k)));
  Gemm g;
  g.a = operand(c.m, c.k, c.a_transposed, 1);
  g.b = operand(c.k, c.n, c.b_transposed, deviation);
  g.a_transposed = c.a_transposed;
  g.b_transposed = c.b_transposed;
  if (c.a_mask) g.a_mask = o.Mask(g.a.rows, g.a.cols);
  if (c.b_mask) g.b_mask = o.Mask(g.b.rows, g.b.cols);
  g.alpha = c.alpha;
  if (c.r > 0) {
    // bf16 rows of low_a are read in pairs (ops/gemm.h).
    const int64_t odd = c.compute == kBF16 ? c.r % 2 : 0;
    g.low_a = o.Zeros(c.m, c.r + odd, c.compute, c.gap);
    for (int64_t i = 0; i < c.m; ++i) {
      for (int64_t j = 0; j < c.r; ++j) Put(g.low_a, i, j, std::sin(static_cast<double>(7 * i + 3 * j)));
    }
    g.low_a.cols = c.r;
    g.low_b = operand(c.r, c.n, c.low_b_transposed, 1);
    g.low_b_transposed = c.low_b_transposed;
    if (c.low_mask) g.low_mask = o.Mask(c.m, c.n);
  }
  g.c = c.start == Case::kOutput ? o.Random(c.m, c.n, c.out, 1, c.gap) : o.Make(c.m, c.n, c.out, c.gap);
  if (c.start == Case::kResidual) g.start = o.Random(c.m, c.n, kF32, 1, c.gap);
  if (c.start == Case::kOutput) g.start = g.c;
  if (c.start == Case::kBias) g.start = o.Random(1, c.n);
  return g;
}

void Check(const Case& c) {
  SCOPED_TRACE(Describe(c));
  Operands o(static_cast<uint32_t>(c.m * 31 + c.n * 7 + c.k));
  const Gemm g = Build(o, c);
  Gemm expected = g;
  expected.c = o.Clone(g.c);
  if (c.start == Case::kOutput) expected.start = expected.c;
  std::vector<Matrix> results;
  for (int threads : {1, 2, 3}) {
    Gemm mine = g;
    mine.c = o.Clone(g.c);
    if (c.start == Case::kOutput) mine.start = mine.c;
    Cpu(threads).Run(mine);
    results.push_back(mine.c);
  }
  Reference(expected);
  ExpectClose(results[0], expected.c, 4e-6);
  ExpectSameBits(results[0], results[1]);
  ExpectSameBits(results[0], results[2]);
}

// Runs a case in f32, in bf16 with an f32 output and in bf16 with a bf16 output.
void CheckTypes(Case c) {
  Check(c);
  c.compute = kBF16;
  Check(c);
  if (c.start == Case::kOutput) return;
  c.out = kBF16;
  Check(c);
}

TEST(Gemm, ShapesAndTranspositions) {
  const int64_t shapes[][3] = {{1, 1, 1},       {1, 7, 2},     {2, 16, 3},   {6, 16, 8},    {7, 17, 9},
                               {13, 33, 31},    {14, 32, 64},  {15, 31, 65}, {64, 576, 16}, {130, 48, 100},
                               {200, 100, 330}, {385, 70, 20}, {3, 800, 50}, {65, 5, 640},  {1, 300, 321}};
  for (const auto& [m, n, k] : shapes) {
    for (bool at : {false, true}) {
      for (bool bt : {false, true}) CheckTypes({.m = m, .n = n, .k = k, .a_transposed = at, .b_transposed = bt});
    }
  }
}

TEST(Gemm, StridedViews) {
  for (int64_t gap : {2, 10}) {
    for (bool at : {false, true}) {
      for (bool bt : {false, true}) {
        CheckTypes({.m = 37,
                    .n = 50,
                    .k = 29,
                    .r = 4,
                    .a_transposed = at,
                    .b_transposed = bt,
                    .low_b_transposed = bt,
                    .start = Case::kResidual,
                    .gap = gap});
        CheckTypes({.m = 3, .n = 90, .k = 40, .a_transposed = at, .b_transposed = bt, .gap = gap});
      }
    }
  }
}

// Views that start at an odd element and have odd strides: nothing may assume pairs of bf16 are aligned.
TEST(Gemm, OddStridesAndOffsets) {
  for (DType type : {kF32, kBF16}) {
    for (bool at : {false, true}) {
      for (bool bt : {false, true}) {
        SCOPED_TRACE(fmt::format("{} {} {}", NameOf(type), at, bt));
        Operands o;
        const int64_t m = 9, n = 35, k = 21;
        Gemm g;
        g.a = (at ? o.Random(k, m + 4, type) : o.Random(m, k + 4, type)).Columns(3, at ? m : k);
        g.b = (bt ? o.Random(n, k + 4, type) : o.Random(k, n + 4, type)).Columns(1, bt ? k : n);
        g.a_transposed = at;
        g.b_transposed = bt;
        g.c = o.Make(m, n);
        Gemm expected = g;
        expected.c = o.Make(m, n);
        Cpu().Run(g);
        Reference(expected);
        ExpectClose(g.c, expected.c, 4e-6);
      }
    }
  }
}

TEST(Gemm, LowRank) {
  for (int64_t r : {1, 2, 3, 8, 16, 33}) {
    for (bool transposed : {false, true}) {
      for (bool mask : {false, true}) {
        CheckTypes({.m = 31,
                    .n = 45,
                    .k = 64,
                    .r = r,
                    .b_transposed = true,
                    .low_b_transposed = transposed,
                    .low_mask = mask,
                    .start = Case::kResidual,
                    .alpha = 0.5f});
        CheckTypes({.m = 5, .n = 130, .k = 48, .r = r, .low_b_transposed = transposed, .low_mask = mask});
      }
    }
  }
  // More than one block of the reduction: the term must be added once.
  CheckTypes({.m = 40, .n = 40, .k = 1500, .r = 16, .b_transposed = true, .low_b_transposed = true, .low_mask = true});
}

TEST(Gemm, Masks) {
  for (int64_t n : {1, 16, 30, 64}) {
    for (int64_t k : {1, 15, 16, 50, 129}) {
      CheckTypes({.m = 20, .n = n, .k = k, .a_mask = true});
      CheckTypes({.m = 20, .n = n, .k = k, .b_transposed = true, .a_mask = true});
      CheckTypes({.m = 20, .n = n, .k = k, .b_mask = true});
      CheckTypes(
          {.m = 16, .n = n, .k = k, .a_transposed = true, .b_mask = true, .start = Case::kOutput, .alpha = 2.0f});
    }
  }
}

// Products with an adapter's few rows or columns have a way of their own: over several of its tasks, blocks and parts.
TEST(Gemm, ThinOperands) {
  for (int64_t r : {1, 5, 8, 16, 17, 32}) {
    for (bool mask : {false, true}) {
      CheckTypes({.m = 101, .n = r, .k = 1601, .b_transposed = true, .a_mask = mask, .alpha = 0.5f});
      CheckTypes({.m = 50, .n = r, .k = 96, .b_transposed = true, .a_mask = mask, .start = Case::kBias, .gap = 6});
      CheckTypes(
          {.m = r, .n = 213, .k = 1101, .a_transposed = true, .b_mask = mask, .start = Case::kOutput, .alpha = 0.5f});
      CheckTypes({.m = r, .n = 64, .k = 67, .a_transposed = true, .b_mask = mask, .start = Case::kResidual, .gap = 6});
    }
  }
  Check({.m = 16, .n = 40, .k = 16500, .a_transposed = true, .b_mask = true, .start = Case::kOutput, .compute = kBF16});
}

TEST(Gemm, Starts) {
  for (auto start : {Case::kResidual, Case::kOutput, Case::kBias}) {
    for (int64_t m : {1, 4, 90}) {
      CheckTypes({.m = m, .n = 75, .k = 33, .start = start});
      CheckTypes({.m = m, .n = 75, .k = 700, .b_transposed = true, .start = start, .alpha = -0.25f});
    }
  }
}

TEST(Gemm, LongReductions) {
  for (int64_t k : {4096, 4097, 8191, 8192, 8193, 16400}) {
    for (bool transposed : {false, true}) {
      // Weight gradients: the reduction runs over tokens.
      Check({.m = 8, .n = 70, .k = k, .a_transposed = transposed, .b_mask = true, .start = Case::kOutput});
      Check({.m = 70, .n = 40, .k = k, .b_transposed = transposed, .a_mask = true, .compute = kBF16});
      Check({.m = 5, .n = 200, .k = k, .r = 64, .b_transposed = transposed, .low_mask = true, .compute = kBF16});
    }
  }
  // The longest reduction of one piece with a high rank fills a thread's room for panels.
  Check({.m = 3, .n = 200, .k = 8192, .r = 512, .b_transposed = true, .compute = kBF16, .out = kBF16});
}

// Sums of many rows wait in f32 between the parts of a reduction, also where the result is bf16: the tile of a thread
// is used several times over.
TEST(Gemm, LongReductionsOfManyRows) {
  Check({.m = 510, .n = 512, .k = 2050, .compute = kBF16, .out = kBF16});
  for (DType out : {kF32, kBF16}) {
    Check({.m = 130, .n = 70, .k = 5000, .start = Case::kBias, .compute = kBF16, .out = out});
    Check(
        {.m = 20, .n = 300, .k = 5000, .r = 16, .b_transposed = true, .low_mask = true, .compute = kBF16, .out = out});
  }
  Check({.m = 130, .n = 600, .k = 1300, .r = 16, .b_transposed = true, .low_mask = true});
}

TEST(Gemm, NothingToReduce) {
  for (auto start : {Case::kNone, Case::kResidual, Case::kOutput, Case::kBias}) {
    CheckTypes({.m = 5, .n = 40, .k = 0, .start = start});
    CheckTypes({.m = 70, .n = 20, .k = 0, .a_transposed = true, .start = start});
  }
}

TEST(Gemm, NothingToWrite) {
  CheckTypes({.m = 0, .n = 40, .k = 8});
  CheckTypes({.m = 4, .n = 0, .k = 8});
}

// Narrow and wide outputs with many and few rows take both ways of sharing the work, each over several
// blocks.
TEST(Gemm, ManyRowsAndManyColumns) {
  CheckTypes({.m = 700, .n = 200, .k = 90, .b_transposed = true, .start = Case::kResidual});
  CheckTypes({.m = 4, .n = 3000, .k = 90, .b_transposed = true, .start = Case::kResidual});
  CheckTypes({.m = 220, .n = 1100, .k = 350, .b_transposed = true});
}

TEST(Gemm, ColumnViewsOfOneMatrix) {
  Operands o;
  const Matrix fused = o.Random(50, 96);
  Gemm g{.c = o.Make(50, 40), .a = fused.Columns(32, 64), .b = o.Random(40, 64), .b_transposed = true};
  Gemm expected = g;
  expected.c = o.Make(50, 40);
  Cpu().Run(g);
  Reference(expected);
  ExpectClose(g.c, expected.c, 4e-6);
}

}  // namespace attune::gemm_test
