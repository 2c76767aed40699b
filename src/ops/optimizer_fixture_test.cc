// Twelve steps of SGD, Lion and Adafactor against torch, bitsandbytes' order of operations and transformers
// (tests/data/optim/generate.py), in both orders of rows and columns.
#include <string>

#include "formats/safetensors.h"
#include "ops/optimizer.h"
#include "ops/test_operands.h"

namespace attune::optimizer_fixture_test {

constexpr int64_t kSteps = 12, kKept[] = {1, 2, 12};
constexpr double kLearningRate = 0.01;
constexpr float kScale = 0.75f;

const SafetensorsFile& Fixture() {
  static const SafetensorsFile file(std::string(ATTUNE_TEST_DATA) + "/optim/optim.safetensors");
  return file;
}

// Matrix number `index` of (rows, cols) of a tensor, turned if `transposed`.
Matrix Load(Operands& o, const std::string& name, int64_t rows, int64_t cols, int64_t index, bool transposed) {
  const TensorView* tensor = Fixture().Find(name);
  if (tensor == nullptr) throw std::runtime_error(name);
  const float* data = reinterpret_cast<const float*>(tensor->bytes.data()) + index * rows * cols;
  const Matrix m = transposed ? o.Make(cols, rows) : o.Make(rows, cols);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) Put(m, transposed ? c : r, transposed ? r : c, data[r * cols + c]);
  }
  return m;
}

// Runs the steps of one case; step(weight, gradient, number, learning rate) makes one.
template <class Step>
void ExpectTrajectory(const std::string& run, const std::string& shape, int64_t rows, int64_t cols, bool transposed,
                      const Step& step) {
  Operands o;
  const Matrix weight = Load(o, shape + ".initial", rows, cols, 0, transposed);
  int64_t kept = 0;
  for (int64_t s = 1; s <= kSteps; ++s) {
    const double rate = kLearningRate * (1 - static_cast<double>(s - 1) / kSteps);
    step(weight, Load(o, shape + ".gradient", rows, cols, s - 1, transposed), s, rate);
    if (s != kKept[kept]) continue;
    const Matrix expected = Load(o, run + "." + shape + ".weight", rows, cols, kept, transposed);
    ExpectClose(weight, expected, 2e-6, 1);
    ++kept;
  }
}

struct Shape {
  const char* name;
  int64_t rows, cols;
  bool vector = false;
};
constexpr Shape kShapes[] = {
    {"1x37", 1, 37, true}, {"1x40", 1, 40}, {"3x50", 3, 50}, {"50x3", 50, 3}, {"17x19", 17, 19}};

Matrix Flat(const Matrix& m) { return DenseMatrix(m.data, m.dtype, 1, m.rows * m.cols); }

// What bitsandbytes' AdamW8bit does with tensors too small for 8 bits (tests/data/nf4/adamw8bit.json): torch's AdamW.
TEST(OptimizerFixture, AdamWOfSmallTensorsIn8BitOptimisers) {
  const SafetensorsFile file(std::string(ATTUNE_TEST_DATA) + "/nf4/adamw8bit.safetensors");
  constexpr int64_t kCount = 1000;
  Operands o;
  const auto load = [&](const std::string& name) {
    const TensorView* tensor = file.Find("small_stays_fp32." + name);
    if (tensor == nullptr || tensor->dtype != DType::kF32) throw std::runtime_error(name);
    return o.Bytes(tensor->bytes.data(), kCount, DType::kF32, 1);
  };
  AdamW op{.weight = load("param.0"), .gradient = {}, .m = o.Zeros(1, kCount), .v = o.Zeros(1, kCount)};
  op.learning_rate = 0.01;
  op.beta2 = 0.995;
  op.weight_decay = 0.01;
  for (const std::string step : {"1", "2", "3"}) {
    op.step = std::stoi(step);
    op.gradient = load("grad." + step);
    Cpu().Run(op);
    const std::pair<Matrix, const char*> results[] = {{op.weight, "param."}, {op.m, "state1."}, {op.v, "state2."}};
    for (const auto& [matrix, name] : results) {
      const Matrix expected = load(name + step);
      for (int64_t i = 0; i < kCount; ++i)
        ASSERT_NEAR(Get(matrix, 0, i), Get(expected, 0, i), 1e-6) << name << step << " " << i;
    }
  }
}

TEST(OptimizerFixture, Sgd) {
  for (const Shape& shape : kShapes) {
    for (const double decay : {0.0, 0.1}) {
      const std::string run = decay > 0 ? "sgd_decay" : "sgd";
      SCOPED_TRACE(run + shape.name);
      ExpectTrajectory(run, shape.name, shape.rows, shape.cols, false,
                       [&](const Matrix& weight, const Matrix& gradient, int64_t, double rate) {
                         Cpu().Run(Sgd{Flat(weight), Flat(gradient), {}, kScale, rate, decay});
                       });
    }
  }
}

TEST(OptimizerFixture, SgdWithMomentum) {
  for (const Shape& shape : kShapes) {
    for (const bool nesterov : {false, true}) {
      const std::string run = nesterov ? "sgd_nesterov" : "sgd_momentum";
      SCOPED_TRACE(run + shape.name);
      Operands o;
      const Matrix m = o.Zeros(1, shape.rows * shape.cols);
      ExpectTrajectory(
          run, shape.name, shape.rows, shape.cols, false,
          [&](const Matrix& weight, const Matrix& gradient, int64_t step, double rate) {
            Cpu().Run(Sgd{Flat(weight), Flat(gradient), m, kScale, rate, 0.1, 0.9, nesterov ? 0 : 0.3, nesterov, step});
          });
      ExpectClose(m, Flat(Load(o, run + "." + shape.name + ".m", shape.rows, shape.cols, 0, false)), 1e-6);
    }
  }
}

TEST(OptimizerFixture, Lion) {
  for (const Shape& shape : kShapes) {
    for (const double decay : {0.0, 0.1}) {
      const std::string run = decay > 0 ? "lion_decay" : "lion";
      SCOPED_TRACE(run + shape.name);
      Operands o;
      const Matrix m = o.Zeros(1, shape.rows * shape.cols);
      ExpectTrajectory(run, shape.name, shape.rows, shape.cols, false,
                       [&](const Matrix& weight, const Matrix& gradient, int64_t, double rate) {
                         Cpu().Run(Lion{Flat(weight), Flat(gradient), m, kScale, rate, 0.9, 0.99, decay});
                       });
      const Matrix expected = Load(o, run + "." + shape.name + ".m", shape.rows, shape.cols, 0, false);
      ExpectClose(m, Flat(expected), 1e-6);
    }
  }
}

TEST(OptimizerFixture, Adafactor) {
  for (const Shape& shape : kShapes) {
    for (const double decay : {0.0, 0.1}) {
      for (const bool transposed : {false, true}) {
        if (shape.vector && transposed) continue;
        const std::string run = decay > 0 ? "adafactor_decay" : "adafactor", prefix = run + "." + shape.name;
        SCOPED_TRACE(prefix + (transposed ? " transposed" : ""));
        Operands o;
        Adafactor op;
        if (shape.vector) {
          op.full = o.Zeros(1, shape.cols);
        } else {
          op.row = o.Zeros(1, transposed ? shape.cols : shape.rows);
          op.col = o.Zeros(1, transposed ? shape.rows : shape.cols);
        }
        op.gradient_scale = kScale;
        op.weight_decay = decay;
        ExpectTrajectory(run, shape.name, shape.rows, shape.cols, transposed,
                         [&](const Matrix& weight, const Matrix& gradient, int64_t step, double rate) {
                           op.weight = weight;
                           op.gradient = gradient;
                           op.step = step;
                           op.learning_rate = rate;
                           Cpu(step % 2 == 0 ? 1 : 3).Run(op);
                         });
        const auto expect_state = [&](const Matrix& state, const char* part) {
          const Matrix expected = Load(o, prefix + "." + part, 1, state.cols, 0, false);
          for (int64_t i = 0; i < state.cols; ++i) {  // their sizes span many orders of magnitude
            ASSERT_NEAR(Get(state, 0, i), Get(expected, 0, i), 2e-6 * Get(expected, 0, i)) << part << i;
          }
        };
        if (shape.vector) {
          expect_state(op.full, "full");
        } else {
          expect_state(op.row, transposed ? "col" : "row");
          expect_state(op.col, transposed ? "row" : "col");
        }
      }
    }
  }
}

}  // namespace attune::optimizer_fixture_test
