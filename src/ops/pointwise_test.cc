// Embedding, rotation, SwiGLU, copies, biases and dropout masks against their references.
#include "ops/pointwise.h"

#include <set>

#include "ops/test_operands.h"

namespace attune::pointwise_test {

constexpr DType kF32 = DType::kF32, kBF16 = DType::kBF16;
constexpr int64_t kRows[] = {1, 2, 5, 33};
constexpr int64_t kCols[] = {1, 6, 7, 8, 15, 16, 17, 64, 100, 576};

// Calls body(rows, cols, dtype, gap) for all shapes, both compute dtypes, dense and strided.
template <class Body>
void ForEachShape(const Body& body) {
  for (DType type : {kF32, kBF16}) {
    for (int64_t gap : {0, 3}) {
      for (int64_t rows : kRows) {
        for (int64_t cols : kCols) {
          SCOPED_TRACE(fmt::format("({}, {}) {} gap {}", rows, cols, NameOf(type), gap));
          body(rows, cols, type, gap);
        }
      }
    }
  }
}

TEST(Embedding, GathersRows) {
  ForEachShape([](int64_t rows, int64_t cols, DType type, int64_t gap) {
    Operands o;
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < rows; ++t) ids.push_back(static_cast<int32_t>(t * 7 % 11));
    const Embedding op{o.Make(rows, cols, kF32, gap), o.Random(11, cols, type, 1, gap), o.Ints(ids)};
    Embedding expected = op;
    expected.out = o.Clone(op.out);
    Cpu().Run(op);
    Reference(expected);
    ExpectSameBits(op.out, expected.out);
  });
}

TEST(Embedding, BackwardAddsEveryOccurrence) {
  ForEachShape([](int64_t rows, int64_t cols, DType, int64_t gap) {
    Operands o;
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < rows; ++t) ids.push_back(t % 5 == 3 ? -1 : static_cast<int32_t>(t * t % 11));
    const EmbeddingBackward op{o.Random(11, cols, kF32, 1, gap), o.Random(rows, cols, kF32, 1, gap), o.Ints(ids)};
    const EmbeddingBackward expected{o.Clone(op.dtable), op.dx, op.ids}, one{o.Clone(op.dtable), op.dx, op.ids};
    Cpu(3).Run(op);
    Cpu(1).Run(one);
    Reference(expected);
    ExpectClose(op.dtable, expected.dtable);
    ExpectSameBits(op.dtable, one.dtable);
  });
}

TEST(GatherColumns, TakesThemInOrder) {
  ForEachShape([](int64_t rows, int64_t cols, DType type, int64_t gap) {
    Operands o;
    std::vector<int32_t> columns;
    for (int64_t j = 0; j < 9; ++j) columns.push_back(static_cast<int32_t>(j * 31 % cols));
    const GatherColumns op{o.Make(rows, 9, type, gap), o.Random(rows, cols, type, 1, gap), o.Ints(columns)};
    GatherColumns expected = op;
    expected.out = o.Clone(op.out);
    Cpu().Run(op);
    Reference(expected);
    ExpectSameBits(op.out, expected.out);
  });
}

Rope MakeRope(Operands& o, int64_t tokens, int64_t heads, int64_t head_dim, DType type, int64_t gap) {
  Rope op;
  op.x = o.Random(tokens, heads * head_dim, type, 1, gap);
  op.cos = o.Make(64, head_dim / 2, type == DType::kF64 ? type : kF32);
  op.sin = o.Make(64, head_dim / 2, type == DType::kF64 ? type : kF32);
  for (int64_t p = 0; p < 64; ++p) {
    for (int64_t i = 0; i < head_dim / 2; ++i) {
      const double angle =
          static_cast<double>(p) * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      Put(op.cos, p, i, std::cos(angle));
      Put(op.sin, p, i, std::sin(angle));
    }
  }
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < tokens; ++t) positions.push_back(static_cast<int32_t>(t * 13 % 64));
  op.positions = o.Ints(positions);
  op.head_dim = head_dim;
  return op;
}

TEST(Rope, TurnsPairs) {
  for (DType type : {kF32, kBF16}) {
    for (int64_t head_dim : {2, 6, 8, 16, 64, 80, 128}) {
      for (int64_t tokens : {1, 33}) {
        for (int64_t gap : {0, 5}) {
          for (bool inverse : {false, true}) {
            SCOPED_TRACE(fmt::format("{} head_dim {} tokens {} gap {} inverse {}", NameOf(type), head_dim, tokens, gap,
                                     inverse));
            Operands o;
            Rope op = MakeRope(o, tokens, 3, head_dim, type, gap);
            op.inverse = inverse;
            Rope expected = op;
            expected.x = o.Clone(op.x);
            Cpu().Run(op);
            Reference(expected);
            ExpectClose(op.x, expected.x);
          }
        }
      }
    }
  }
}

TEST(Rope, InverseTurnsBack) {
  Operands o;
  Rope op = MakeRope(o, 20, 2, 64, kF32, 0);
  const Matrix before = o.Clone(op.x);
  Cpu().Run(op);
  op.inverse = true;
  Cpu().Run(op);
  ExpectClose(op.x, before);
}

// The gradient of sum(w . rope(x)) is rope's inverse of w: checked by central differences in double.
TEST(Rope, InverseIsTheGradient) {
  Operands o;
  const Rope op = MakeRope(o, 3, 2, 6, DType::kF64, 0);
  const Matrix w = o.Random(3, 12, DType::kF64);
  Rope gradient = op;
  gradient.x = o.Clone(w);
  gradient.inverse = true;
  Reference(gradient);
  const auto loss = [&] {
    Rope forward = op;
    forward.x = o.Clone(op.x);
    Reference(forward);
    return Dot(forward.x, w);
  };
  ExpectGradient(op.x, gradient.x, loss);
}

TEST(SwiGlu, ForwardAndBackward) {
  ForEachShape([](int64_t rows, int64_t cols, DType type, int64_t gap) {
    Operands o;
    const SwiGlu op{o.Make(rows, cols, type, gap), o.Random(rows, cols, type, 4, gap),
                    o.Random(rows, cols, type, 1, gap)};
    SwiGlu expected = op;
    expected.out = o.Clone(op.out);
    Cpu().Run(op);
    Reference(expected);
    ExpectClose(op.out, expected.out);

    SwiGluBackward back{op.gate, op.up, o.Random(rows, cols, type, 1, gap), o.Make(rows, cols, type, gap)};
    SwiGluBackward back_expected{o.Clone(op.gate), o.Clone(op.up), back.dout, o.Clone(back.out)};
    Cpu().Run(back);
    Reference(back_expected);
    ExpectClose(back.gate, back_expected.gate);
    ExpectClose(back.up, back_expected.up);
    ExpectSameBits(back.out, op.out);  // what recomputation gives must be what the forward pass gave
  });
}

TEST(SwiGlu, FarFromZeroAndNaN) {
  Operands o;
  const std::vector<float> gates = {-1e30f, -200, -90, -88, -20, -0.0f, 0, 20, 88, 90, 200, 1e30f, NAN};
  const auto n = static_cast<int64_t>(gates.size());
  const SwiGlu op{o.Make(1, n), o.Floats(gates), o.Floats(std::vector<float>(gates.size(), 1.0f))};
  Cpu().Run(op);
  for (int64_t i = 0; i + 1 < n; ++i) {
    const double g = Get(op.gate, 0, i),
                 expected = g > 0 ? g / (1 + std::exp(-g)) : g * std::exp(g) / (1 + std::exp(g));
    EXPECT_NEAR(Get(op.out, 0, i), expected, 1e-6 * std::abs(expected) + 1e-7) << g;
  }
  EXPECT_TRUE(std::isnan(Get(op.out, 0, n - 1)));
}

TEST(SwiGlu, BackwardIsTheGradient) {
  Operands o;
  constexpr DType kF64 = DType::kF64;
  const Matrix gate = o.Random(2, 9, kF64, 2), up = o.Random(2, 9, kF64), dout = o.Random(2, 9, kF64);
  const SwiGluBackward back{o.Clone(gate), o.Clone(up), dout, Matrix{}};
  Reference(back);
  const auto loss = [&] {
    const SwiGlu forward{o.Make(2, 9, kF64), gate, up};
    Reference(forward);
    return Dot(forward.out, dout);
  };
  ExpectGradient(gate, back.gate, loss);
  ExpectGradient(up, back.up, loss);
}

TEST(Copy, ConvertsAndAdds) {
  ForEachShape([](int64_t rows, int64_t cols, DType type, int64_t gap) {
    for (DType to : {kF32, kBF16}) {
      for (bool add : {false, true}) {
        Operands o;
        const Copy op{o.Make(rows, cols, to, gap), o.Random(rows, cols, type, 1, gap),
                      add ? o.Random(rows, cols, kF32, 1, gap) : Matrix{}};
        Copy expected = op;
        expected.out = o.Clone(op.out);
        Cpu().Run(op);
        Reference(expected);
        ExpectClose(op.out, expected.out, 0);
        if (!add) ExpectSameBits(op.out, expected.out);
      }
    }
  });
}

TEST(Copy, RoundsToBf16AsTorchDoes) {
  Operands o;
  // Ties to even, a carry into the exponent, overflow to infinity, infinities, a NaN whose payload is all low
  // bits.
  const std::vector<float> values = {1.00390625f, 1.01171875f, 1.9999999f,
                                     3.4e38f,     INFINITY,    -INFINITY,
                                     -0.0f,       1e-40f,      std::bit_cast<float>(0x7f800001u)};
  const Copy op{o.Make(1, 9, kBF16), o.Floats(values), Matrix{}};
  Cpu().Run(op);
  const auto* bits = reinterpret_cast<const uint16_t*>(op.out.data.value);
  const uint16_t expected[] = {0x3f80, 0x3f82, 0x4000, 0x7f80, 0x7f80, 0xff80, 0x8000, 0x0001};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(bits[i], expected[i]) << i;
  EXPECT_TRUE(std::isnan(Get(op.out, 0, 8)));
}

TEST(Fill, WritesEveryElement) {
  ForEachShape([](int64_t rows, int64_t cols, DType type, int64_t gap) {
    Operands o;
    const Fill op{o.Make(rows, cols, type, gap), 0.3f};
    Fill expected = op;
    expected.out = o.Clone(op.out);
    Cpu().Run(op);
    Reference(expected);
    ExpectClose(op.out, expected.out, 0);
    ExpectSameBits(op.out, expected.out);
  });
}

TEST(AddBias, AddsToEveryRow) {
  ForEachShape([](int64_t rows, int64_t cols, DType type, int64_t gap) {
    Operands o;
    const AddBias op{o.Random(rows, cols, type, 1, gap), o.Random(1, cols), 0.75f};
    const AddBias expected{o.Clone(op.y), op.bias, op.scale};
    Cpu().Run(op);
    Reference(expected);
    ExpectClose(op.y, expected.y, 1e-7);
  });
}

TEST(SumRows, AddsEveryRowInAFixedOrder) {
  ForEachShape([](int64_t rows, int64_t cols, DType type, int64_t gap) {
    Operands o;
    const SumRows op{o.Random(1, cols), o.Random(rows, cols, type, 1, gap), 0.75f};
    const SumRows expected{o.Clone(op.out), op.x, op.scale}, one{o.Clone(op.out), op.x, op.scale},
        three{o.Clone(op.out), op.x, op.scale};
    Cpu().Run(op);
    Cpu(1).Run(one);
    Cpu(3).Run(three);
    Reference(expected);
    ExpectClose(op.out, expected.out);
    ExpectSameBits(op.out, one.out);
    ExpectSameBits(op.out, three.out);
  });
}

}  // namespace attune::pointwise_test
