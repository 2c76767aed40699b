// Attention against its reference: packed sequences of unequal lengths, groups of heads, windows, awkward
// head sizes.
#include "ops/attention.h"

#include <numeric>

#include "ops/test_operands.h"

namespace attune::attention_test {

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16, kF64 = DType::kF64;

struct Case {
  std::vector<int32_t> lengths;
  int64_t kv_heads = 1, group = 1, head_dim = 16, window = 0;
  DType type = kF32;
  int64_t gap = 0;
  double size = 1;  // standard deviation of q and k
};

std::string Describe(const Case& c) {
  return fmt::format("lengths {} kv_heads {} group {} head_dim {} window {} {} gap {}", fmt::join(c.lengths, ","),
                     c.kv_heads, c.group, c.head_dim, c.window, NameOf(c.type), c.gap);
}

Attention MakeAttention(Operands& o, const Case& c) {
  std::vector<int32_t> starts = {0};
  for (int32_t length : c.lengths) starts.push_back(starts.back() + length);
  const int64_t tokens = starts.back(), heads = c.kv_heads * c.group;
  Attention op;
  op.out = o.Make(tokens, heads * c.head_dim, c.type, c.gap);
  op.lse = o.Make(tokens, heads, c.type == kF64 ? kF64 : kF32, c.gap);
  op.q = o.Random(tokens, heads * c.head_dim, c.type, c.size, c.gap);
  op.k = o.Random(tokens, c.kv_heads * c.head_dim, c.type, c.size, c.gap);
  op.v = o.Random(tokens, c.kv_heads * c.head_dim, c.type, 1, c.gap);
  op.starts = o.Ints(starts);
  op.shape = {heads, c.kv_heads, c.head_dim, c.window, 1 / std::sqrt(static_cast<float>(c.head_dim))};
  return op;
}

AttentionBackward MakeBackward(Operands& o, const Case& c, const Attention& forward) {
  AttentionBackward op;
  op.dq = o.Make(forward.q.rows, forward.q.cols, c.type, c.gap);
  op.dk = o.Make(forward.k.rows, forward.k.cols, c.type, c.gap);
  op.dv = o.Make(forward.v.rows, forward.v.cols, c.type, c.gap);
  const bool own_sums = c.type == kBF16;
  op.dk_sum = own_sums ? o.Make(forward.k.rows, forward.k.cols, kF32, c.gap) : op.dk;
  op.dv_sum = own_sums ? o.Make(forward.v.rows, forward.v.cols, kF32, c.gap) : op.dv;
  op.out = forward.out;
  op.dout = o.Random(forward.out.rows, forward.out.cols, c.type, 1, c.gap);
  op.lse = forward.lse;
  op.q = forward.q;
  op.k = forward.k;
  op.v = forward.v;
  op.starts = forward.starts;
  op.shape = forward.shape;
  return op;
}

Attention CloneOutputs(Operands& o, const Attention& op) {
  Attention copy = op;
  copy.out = o.Clone(op.out);
  copy.lse = o.Clone(op.lse);
  return copy;
}

AttentionBackward CloneOutputs(Operands& o, const AttentionBackward& op) {
  AttentionBackward copy = op;
  copy.dq = o.Clone(op.dq);
  copy.dk = o.Clone(op.dk);
  copy.dv = o.Clone(op.dv);
  const bool own_sums = op.dk_sum.data.value != op.dk.data.value;
  copy.dk_sum = own_sums ? o.Clone(op.dk_sum) : copy.dk;
  copy.dv_sum = own_sums ? o.Clone(op.dv_sum) : copy.dv;
  return copy;
}

// Root mean square of the difference, relative to that of `expected`, or to `least` where results cancel to less.
double RelativeError(const Matrix& actual, const Matrix& expected, double least) {
  double squares = 0, size = 0;
  for (int64_t r = 0; r < expected.rows; ++r) {
    for (int64_t c = 0; c < expected.cols; ++c) {
      squares += std::pow(Get(actual, r, c) - Get(expected, r, c), 2);
      size += std::pow(Get(expected, r, c), 2);
    }
  }
  const double count = static_cast<double>(std::max<int64_t>(1, expected.rows * expected.cols));
  return std::sqrt(squares / count) / std::max(least, std::sqrt(size / count));
}

// bf16 products round probabilities and score gradients, each by up to 2^-9 of itself; so results are right in the mean
// and no single one is far off.
void ExpectBf16Close(const Matrix& actual, const Matrix& expected, double tolerance, double least) {
  EXPECT_LT(RelativeError(actual, expected, least), tolerance);
  ExpectClose(actual, expected, 8 * tolerance, least);
}

void Check(const Case& c) {
  SCOPED_TRACE(Describe(c));
  const bool bf16 = c.type == kBF16;
  Operands o;
  const Attention op = MakeAttention(o, c);
  const Attention expected = CloneOutputs(o, op), one = CloneOutputs(o, op), two = CloneOutputs(o, op);
  Cpu(3).Run(op);
  Cpu(1).Run(one);
  Cpu(2).Run(two);
  Reference(expected);
  // exp of a score that is off by a rounding of its own size.
  const double tolerance = 5e-6 * std::max(1.0, c.size * c.size);
  if (bf16) {
    ExpectBf16Close(op.out, expected.out, 0.004, 0.01);
  } else {
    ExpectClose(op.out, expected.out, tolerance);
  }
  ExpectClose(op.lse, expected.lse, 2 * tolerance, 1);
  for (const Attention& other : {one, two}) {
    ExpectSameBits(op.out, other.out);
    ExpectSameBits(op.lse, other.lse);
  }

  const AttentionBackward back = MakeBackward(o, c, op);
  const AttentionBackward back_expected = CloneOutputs(o, back), back_one = CloneOutputs(o, back);
  const AttentionBackward back_two = CloneOutputs(o, back);
  Cpu(3).Run(back);
  Cpu(1).Run(back_one);
  Cpu(2).Run(back_two);
  Reference(back_expected);
  for (const auto& [actual, wanted] : {std::pair{back.dq, back_expected.dq}, std::pair{back.dk, back_expected.dk},
                                       std::pair{back.dv, back_expected.dv}}) {
    if (bf16) {
      ExpectBf16Close(actual, wanted, 0.01, 0.1);
    } else {
      ExpectClose(actual, wanted, 3 * tolerance, 1);
    }
  }
  for (const AttentionBackward& other : {back_one, back_two}) {
    ExpectSameBits(back.dq, other.dq);
    ExpectSameBits(back.dk, other.dk);
    ExpectSameBits(back.dv, other.dv);
  }
}

void CheckTypes(Case c) {
  Check(c);
  c.type = kBF16;
  Check(c);
}

TEST(Attention, HeadSizes) {
  for (int64_t head_dim : {2, 5, 6, 8, 16, 20, 64, 80, 128, 256}) {
    CheckTypes({.lengths = {1, 70, 33}, .kv_heads = 2, .group = 2, .head_dim = head_dim});
    CheckTypes({.lengths = {20}, .kv_heads = 1, .group = 1, .head_dim = head_dim, .gap = 5});
  }
}

// The widest head; of the longer sequence's keys a thread's room holds no more than a block.
TEST(Attention, WidestHead) {
  CheckTypes({.lengths = {40}, .group = 5, .head_dim = 1024, .size = 0.5});
  CheckTypes({.lengths = {316}, .head_dim = 1024, .size = 0.5});
}

// Keys of many queries pass by block by block where a thread's room cannot hold them all.
TEST(Attention, ALongSequence) { Check({.lengths = {5300}, .head_dim = 2, .window = 70}); }

TEST(Attention, Lengths) {
  for (int32_t length : {1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 130, 200, 300})
    CheckTypes({.lengths = {length}});
  CheckTypes({.lengths = {1, 63, 64, 65, 130, 1, 2}, .kv_heads = 2, .group = 3});
  CheckTypes({.lengths = {513, 5}, .head_dim = 64});
}

TEST(Attention, Groups) {
  for (int64_t group : {1, 2, 3, 4, 8}) {
    for (int64_t kv_heads : {1, 3}) CheckTypes({.lengths = {65, 40}, .kv_heads = kv_heads, .group = group});
  }
}

TEST(Attention, Windows) {
  for (int64_t window : {1, 9, 63, 64, 65, 100, 1000}) {
    CheckTypes({.lengths = {1, 64, 200}, .kv_heads = 1, .group = 2, .head_dim = 8, .window = window});
    CheckTypes({.lengths = {300}, .head_dim = 6, .window = window, .gap = 3});
  }
}

// More blocks of queries, and heads, than are computed together.
TEST(Attention, ManyBlocks) {
  CheckTypes({.lengths = {700}, .kv_heads = 1, .group = 3, .head_dim = 8});
  CheckTypes({.lengths = {600}, .kv_heads = 1, .group = 2, .head_dim = 8, .window = 130});
  CheckTypes({.lengths = {130}, .kv_heads = 1, .group = 11, .head_dim = 128});
  CheckTypes({.lengths = {70}, .kv_heads = 1, .group = 2, .head_dim = 1024});
}

TEST(Attention, EmptySequences) { CheckTypes({.lengths = {0, 5, 0, 0, 70, 0}}); }

TEST(Attention, ColumnViewsOfOneMatrix) {
  Operands o;
  Attention op = MakeAttention(o, {.lengths = {50, 30}, .kv_heads = 2, .group = 2, .head_dim = 16});
  const Matrix fused = o.Random(80, (4 + 2 + 2) * 16);
  op.q = fused.Columns(0, 64);
  op.k = fused.Columns(64, 32);
  op.v = fused.Columns(96, 32);
  const Attention expected = CloneOutputs(o, op);
  Cpu().Run(op);
  Reference(expected);
  ExpectClose(op.out, expected.out, 5e-6);
}

TEST(Attention, LargeScores) {
  Check({.lengths = {100}, .head_dim = 64, .size = 10});
  Check({.lengths = {100}, .head_dim = 64, .window = 20, .size = 10});
}

TEST(Attention, WithoutLse) {
  Operands o;
  Attention op = MakeAttention(o, {.lengths = {70}});
  op.lse = Matrix{};
  Attention expected = op;
  expected.out = o.Clone(op.out);
  Cpu().Run(op);
  Reference(expected);
  ExpectClose(op.out, expected.out, 5e-6);
}

// The last queries behind the keys of the first ones: what they get when all are computed.
TEST(Attention, QueriesBehindACache) {
  for (const DType type : {kF32, kBF16}) {
    for (const int64_t past : {1, 37, 64, 149}) {
      for (const int64_t window : {0, 20, 70}) {
        SCOPED_TRACE(fmt::format("{} past {} window {}", NameOf(type), past, window));
        Operands o;
        const Attention whole = MakeAttention(
            o, {.lengths = {150}, .kv_heads = 2, .group = 3, .head_dim = 16, .window = window, .type = type});
        Attention rest = whole;
        rest.past = past;
        rest.q = whole.q.Rows(past, 150 - past);
        rest.out = o.Make(150 - past, whole.out.cols, type);
        rest.lse = Matrix{};
        Cpu().Run(whole);
        Cpu().Run(rest);
        ExpectClose(rest.out, whole.out.Rows(past, 150 - past), type == kBF16 ? 0.01 : 5e-6);
      }
    }
  }
}

// Packing must not matter: a sequence gives the same bits alone and between others.
TEST(Attention, SameBitsHoweverPacked) {
  for (const DType type : {kF32, kBF16}) {
    Operands o;
    const Attention all = MakeAttention(o, {.lengths = {30, 100, 7}, .kv_heads = 2, .group = 2, .type = type});
    Attention alone = all;
    for (Matrix* m : {&alone.out, &alone.lse, &alone.q, &alone.k, &alone.v}) *m = o.Clone(m->Rows(30, 100));
    alone.starts = o.Ints({0, 100});
    Cpu().Run(all);
    Cpu().Run(alone);
    ExpectSameBits(alone.out, all.out.Rows(30, 100));
  }
}

TEST(Attention, BackwardIsTheGradient) {
  for (int64_t window : {0, 3}) {
    Operands o;
    const Case c{.lengths = {5, 1, 4}, .kv_heads = 2, .group = 2, .head_dim = 4, .window = window, .type = kF64};
    const Attention forward = MakeAttention(o, c);
    const AttentionBackward back = MakeBackward(o, c, forward);
    Reference(forward);
    Reference(back);
    const auto loss = [&] {
      Reference(forward);
      return Dot(forward.out, back.dout);
    };
    ExpectGradient(forward.q, back.dq, loss);
    ExpectGradient(forward.k, back.dk, loss);
    ExpectGradient(forward.v, back.dv, loss);
  }
}

AttentionCached MakeCached(Operands& o, int64_t rows, int64_t first, const Case& c) {
  const int64_t heads = c.kv_heads * c.group;
  AttentionCached op;
  op.out = o.Make(rows, heads * c.head_dim, kF32, c.gap);
  op.q = o.Random(rows, heads * c.head_dim, kF32, 1, c.gap);
  op.k = o.Make(first + rows + 5, c.kv_heads * c.head_dim, kF32, c.gap);  // rows beyond the filled ones stay NaN
  op.v = o.Clone(op.k);
  for (Matrix* m : {&op.k, &op.v}) {
    const Matrix filled = o.Random(first + rows, m->cols);
    for (int64_t r = 0; r < filled.rows; ++r) {
      for (int64_t i = 0; i < m->cols; ++i) Put(*m, r, i, Get(filled, r, i));
    }
  }
  op.first = first;
  op.shape = {heads, c.kv_heads, c.head_dim, c.window, 1 / std::sqrt(static_cast<float>(c.head_dim))};
  return op;
}

TEST(AttentionCached, AgainstReference) {
  for (int64_t head_dim : {6, 8, 16, 64, 80, 128}) {
    for (int64_t group : {1, 3}) {
      for (int64_t window : {0, 1, 9, 100}) {
        for (const auto& [rows, first] : {std::pair<int64_t, int64_t>{1, 0}, {1, 130}, {7, 0}, {64, 65}}) {
          const Case c{.lengths = {}, .kv_heads = 2, .group = group, .head_dim = head_dim, .window = window, .gap = 3};
          SCOPED_TRACE(Describe(c) + fmt::format(" rows {} first {}", rows, first));
          Operands o;
          const AttentionCached op = MakeCached(o, rows, first, c);
          AttentionCached expected = op, one = op;
          expected.out = o.Clone(op.out);
          one.out = o.Clone(op.out);
          Cpu(3).Run(op);
          Cpu(1).Run(one);
          Reference(expected);
          ExpectClose(op.out, expected.out, 5e-6);
          ExpectSameBits(op.out, one.out);
        }
      }
    }
  }
}

// Fed in pieces, the cached op gives what attention over the whole sequence gives.
TEST(AttentionCached, AgreesWithAttention) {
  for (int64_t window : {0, 20}) {
    Operands o;
    const Attention whole =
        MakeAttention(o, {.lengths = {150}, .kv_heads = 2, .group = 3, .head_dim = 64, .window = window});
    Cpu().Run(whole);
    int64_t first = 0;
    for (int64_t rows : {40, 1, 1, 64, 44}) {
      const AttentionCached op{
          o.Make(rows, whole.q.cols), whole.q.Rows(first, rows), whole.k, whole.v, first, whole.shape};
      Cpu().Run(op);
      ExpectClose(op.out, whole.out.Rows(first, rows), 5e-6);
      first += rows;
    }
  }
}

}  // namespace attune::attention_test
