// Dropout masks: the bits of the reference, the rate asked for, and nothing that looks like a pattern.
#include "ops/pointwise.h"
#include "ops/test_operands.h"

namespace attune::dropout_test {

Matrix MaskBits(Operands& o, const std::vector<int32_t>& keys, int64_t columns, uint32_t module, float probability,
                int threads = 2) {
  const auto rows = static_cast<int64_t>(keys.size()), bytes = 2 * ((columns + 15) / 16);
  const std::vector<uint8_t> zeros(static_cast<size_t>(rows * bytes));
  const DropoutMask op{o.Bytes(zeros.data(), bytes, DType::kU8, rows), o.Ints(keys), module, probability};
  Cpu(threads).Run(op);
  return op.bits;
}

bool Bit(const Matrix& bits, int64_t r, int64_t c) {
  return (Operands::Pointer(bits)[r * bits.stride + c / 8] >> (c % 8) & 1) != 0;
}

std::vector<int32_t> Sequential(int32_t count, int32_t first = 0) {
  std::vector<int32_t> keys;
  for (int32_t i = 0; i < count; ++i) keys.push_back(first + i);
  return keys;
}

// Expects a fraction of `trials` draws within 5 standard errors of `rate`.
void ExpectRate(double hits, double trials, double rate, const char* what) {
  EXPECT_NEAR(hits / trials, rate, 5 * std::sqrt(rate * (1 - rate) / trials)) << what;
}

TEST(DropoutMask, BitsOfTheReference) {
  for (int64_t columns : {1, 15, 16, 17, 576, 1000}) {
    for (float probability : {0.0f, 0.05f, 0.5f, 1.0f}) {
      Operands o;
      const std::vector<int32_t> keys = {0, 1, -1, 123456789, INT32_MIN, 7, 7};
      const Matrix bits = MaskBits(o, keys, columns, 3, probability);
      const DropoutMask expected{o.Clone(bits), o.Ints(keys), 3, probability};
      Reference(expected);
      ExpectSameBits(bits, expected.bits);
      ExpectSameBits(bits, MaskBits(o, keys, columns, 3, probability, 1));
    }
  }
}

TEST(DropoutMask, SameKeySameBitsWhereverTheRowStands) {
  Operands o;
  const Matrix a = MaskBits(o, {5, 6, 7, 8}, 100, 9, 0.3f), b = MaskBits(o, {8, 7, 100, 6, 5}, 100, 9, 0.3f);
  const std::pair<int64_t, int64_t> same[] = {{0, 4}, {1, 3}, {2, 1}, {3, 0}};
  for (const auto& [i, j] : same) ExpectSameBits(a.Rows(i, 1), b.Rows(j, 1));
}

TEST(DropoutMask, ProbabilityZeroKeepsEverything) {
  Operands o;
  const Matrix bits = MaskBits(o, Sequential(50), 77, 1, 0.0f);
  for (int64_t i = 0; i < bits.rows * bits.cols; ++i) ASSERT_EQ(Operands::Pointer(bits)[i], 0xff);
}

TEST(DropoutMask, KeepsAtTheRate) {
  for (float probability : {0.05f, 0.1f, 0.5f}) {
    Operands o;
    constexpr int kTokens = 1000;
    constexpr int64_t kColumns = 576;
    double kept = 0;
    std::vector<double> of_column(kColumns), of_bit(16);
    const Matrix bits = MaskBits(o, Sequential(kTokens), kColumns, 5, probability);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t c = 0; c < kColumns; ++c) {
        const double bit = Bit(bits, t, c);
        kept += bit;
        of_column[static_cast<size_t>(c)] += bit;
        of_bit[static_cast<size_t>(c % 16)] += bit;
      }
    }
    ExpectRate(kept, kTokens * kColumns, 1 - probability, "all");
    for (double hits : of_column) ExpectRate(hits, kTokens, 1 - probability, "one column");
    for (double hits : of_bit) ExpectRate(hits, kTokens * kColumns / 16.0, 1 - probability, "one place of sixteen");
  }
}

// Two neighbours are both dropped with probability p², whatever neighbour means.
TEST(DropoutMask, NeighboursAreIndependent) {
  for (float probability : {0.05f, 0.1f, 0.5f}) {
    Operands o;
    constexpr int kTokens = 1000;
    constexpr int64_t kColumns = 576;
    const double both = static_cast<double>(probability) * static_cast<double>(probability);
    // Keys as the trainer may make them: consecutive, and multiples of a power of two.
    for (int32_t step : {1, 256, 65536}) {
      std::vector<int32_t> keys = Sequential(kTokens);
      for (int32_t& key : keys) key *= step;
      const Matrix a = MaskBits(o, keys, kColumns, 5, probability), b = MaskBits(o, keys, kColumns, 6, probability);
      double modules = 0;
      for (int64_t t = 0; t < kTokens; ++t) {
        for (int64_t c = 0; c < kColumns; ++c) modules += !Bit(a, t, c) && !Bit(b, t, c);
      }
      ExpectRate(modules, kTokens * kColumns, both, "next module");
      for (int64_t shift : {1, 8, 16, 64}) {
        double columns = 0, tokens = 0;
        for (int64_t t = 0; t + shift < kTokens; ++t) {
          for (int64_t c = 0; c + shift < kColumns; ++c) {
            columns += !Bit(a, t, c) && !Bit(a, t, c + shift);
            tokens += !Bit(a, t, c) && !Bit(a, t + shift, c);
          }
        }
        const double trials = static_cast<double>((kTokens - shift) * (kColumns - shift));
        ExpectRate(columns, trials, both, "columns apart");
        ExpectRate(tokens, trials, both, "tokens apart");
      }
    }
  }
}

}  // namespace attune::dropout_test
