// A weight-decomposed layer against its formula in double, with dropout and without, its gradients against finite
// differences of that formula with the norm held constant, and PEFT's merged weights.
#include "models/dora.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "formats/safetensors.h"
#include "models/adapter_model.h"
#include "models/adapter_values.h"

namespace attune::dora_test {

const std::string kData = ATTUNE_TEST_DATA;

using Values = std::vector<double>;

constexpr int64_t kTokens = 9, kIn = 20, kOut = 14, kRank = 3;
constexpr float kScale = 1.6f, kDropout = 0.3f;

// Everything a layer reads, in double, and what it computes.
struct Formula {
  Values x, w, bias, a, b, magnitude, keep, norm;  // b (rank, out); keep: 0 or 1 / (1 - p)

  // Sum of y squared over 2: its gradient by y is y.
  double Loss(Values* y_out = nullptr) const {
    double loss = 0;
    if (y_out != nullptr) y_out->assign(kTokens * kOut, 0);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t j = 0; j < kOut; ++j) {
        double whole = 0, dropped = 0, low = 0;
        for (int64_t i = 0; i < kIn; ++i) {
          const double xi = x[t * kIn + i], kept = xi * keep[t * kIn + i];
          whole += xi * w[j * kIn + i];
          dropped += kept * w[j * kIn + i];
          for (int64_t r = 0; r < kRank; ++r) low += kept * a[r * kIn + i] * b[r * kOut + j];
        }
        const double g = magnitude[j] / norm[j];
        const double y = whole + bias[j] + (g - 1) * dropped + g * kScale * low;
        if (y_out != nullptr) (*y_out)[t * kOut + j] = y;
        loss += y * y / 2;
      }
    }
    return loss;
  }

  void ComputeNorms() {
    norm.assign(kOut, 0);
    for (int64_t j = 0; j < kOut; ++j) {
      double square = 0;
      for (int64_t i = 0; i < kIn; ++i) {
        double v = w[j * kIn + i];
        for (int64_t r = 0; r < kRank; ++r) v += kScale * b[r * kOut + j] * a[r * kIn + i];
        square += v * v;
      }
      norm[j] = std::sqrt(square);
    }
  }
};

// The same layer on a device.
class Layer {
 public:
  explicit Layer(bool dropout) : device_(MakeCpuDevice({.threads = 2})) {
    f_.x = Draw(kTokens * kIn);
    f_.w = Draw(kOut * kIn);
    f_.bias = Draw(kOut);
    f_.a = Draw(kRank * kIn);
    f_.b = Draw(kRank * kOut);
    f_.magnitude = Draw(kOut);
    f_.ComputeNorms();
    x_ = Upload(f_.x, kTokens, kIn);
    layer_.weight = Upload(f_.w, kOut, kIn);
    layer_.bias = Upload(f_.bias, 1, kOut);
    layer_.dbias = Zeros(1, kOut);
    LinearAdapter& adapter = layer_.adapter;
    adapter.rank = kRank;
    adapter.scale = kScale;
    adapter.dropout = dropout ? kDropout : 0;
    adapter.module = 5;
    adapter.a = Upload(f_.a, kRank, kIn);
    adapter.b_transposed = Upload(f_.b, kRank, kOut);
    adapter.da = Zeros(kRank, kIn);
    adapter.db_transposed = Zeros(kRank, kOut);
    adapter.dora.magnitude = Upload(f_.magnitude, 1, kOut);
    adapter.dora.dmagnitude = Zeros(1, kOut);
    for (Matrix* row : {&adapter.dora.norm, &adapter.dora.factor, &adapter.dora.squares}) *row = Zeros(1, kOut);
    device_->Run(RowSquares{adapter.dora.squares, layer_.weight});
    RefreshDora(*device_, layer_, device_->Allocate(DoraNormRoomBytes(kRank, kOut), "room"));
    MakeMask(dropout);
  }

  void Forward() {
    y_ = Zeros(kTokens, kOut);
    low_ = Zeros(kTokens, kRank);
    direction_ = Zeros(kTokens, kOut);
    LinearForward(context(), layer_, x_, y_, {}, low_, direction_);
  }
  void Backward() {
    dx_ = Zeros(kTokens, kIn);
    LinearBackward(context(), layer_, x_, y_, dx_, {}, low_, Zeros(kTokens, kRank), direction_);
  }

  std::vector<float> Download(const Matrix& m) {
    std::vector<float> values(static_cast<size_t>(m.rows * m.cols));
    device_->Download(values.data(), m.data, m.rows * m.cols * 4);
    return values;
  }

  Formula& formula() { return f_; }
  const Linear& linear() const { return layer_; }
  Matrix y() const { return y_; }
  Matrix dx() const { return dx_; }

 private:
  LinearContext context() {
    const auto room = [&] { return Zeros(kTokens, kIn + kOut).data; };
    LinearContext context{*device_, keys_, mask_.bits.data, {}};
    context.dora = {room(), room(), room()};
    return context;
  }
  Values Draw(int64_t count) {
    std::normal_distribution<double> normal;
    Values values(static_cast<size_t>(count));
    for (double& value : values) value = static_cast<float>(normal(random_));
    return values;
  }
  Matrix Zeros(int64_t rows, int64_t cols) {
    return DenseMatrix(device_->Allocate(rows * cols * 4, "test"), DType::kF32, rows, cols);
  }
  Matrix Upload(const Values& values, int64_t rows, int64_t cols) {
    const Matrix m = Zeros(rows, cols);
    const std::vector<float> narrow(values.begin(), values.end());
    device_->Upload(m.data, narrow.data(), rows * cols * 4);
    return m;
  }
  // The keep factors of the formula are read from the mask that the op draws.
  void MakeMask(bool dropout) {
    f_.keep.assign(kTokens * kIn, 1.0);
    mask_.bits.data = device_->Allocate(kTokens * MaskRowBytes(kIn), "mask");
    if (!dropout) return;
    std::vector<int32_t> keys;
    for (int32_t t = 0; t < kTokens; ++t) keys.push_back(t * 77 + 3);
    keys_ = DenseMatrix(device_->Allocate(kTokens * 4, "keys"), DType::kI32, 1, kTokens);
    device_->Upload(keys_.data, keys.data(), kTokens * 4);
    mask_ = DrawInputMask(context(), layer_, x_);
    std::vector<uint8_t> bits(kTokens * MaskRowBytes(kIn));
    device_->Download(bits.data(), mask_.bits.data, static_cast<int64_t>(bits.size()));
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t i = 0; i < kIn; ++i) {
        const bool kept = (bits[t * MaskRowBytes(kIn) + i / 8] >> (i % 8) & 1) != 0;
        f_.keep[t * kIn + i] = kept ? 1 / (1 - static_cast<double>(kDropout)) : 0;
      }
    }
  }

  std::mt19937 random_{7};
  std::unique_ptr<Device> device_;
  Formula f_;
  Linear layer_;
  KeepMask mask_;
  Matrix keys_, x_, y_, low_, direction_, dx_;
};

void ExpectSlopes(const Formula& formula, Values Formula::*of, const std::vector<float>& gradient, const char* what) {
  Formula moved = formula;
  for (size_t i = 0; i < gradient.size(); ++i) {
    constexpr double kStep = 1e-4;
    const double value = (moved.*of)[i];
    (moved.*of)[i] = value + kStep;
    const double above = moved.Loss();
    (moved.*of)[i] = value - kStep;
    const double slope = (above - moved.Loss()) / (2 * kStep);
    (moved.*of)[i] = value;
    ASSERT_NEAR(gradient[i], slope, 2e-4 * (1 + std::fabs(slope))) << what << " " << i;
  }
}

class DoraLayer : public testing::TestWithParam<bool> {};

TEST_P(DoraLayer, ComputesTheFormulaAndItsGradients) {
  Layer layer(GetParam());
  layer.Forward();
  Values expected;
  layer.formula().Loss(&expected);
  const std::vector<float> y = layer.Download(layer.y());
  for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(y[i], expected[i], 1e-4 * (1 + std::fabs(expected[i])));
  layer.Backward();
  const LinearAdapter& adapter = layer.linear().adapter;
  ExpectSlopes(layer.formula(), &Formula::a, layer.Download(adapter.da), "dA");
  ExpectSlopes(layer.formula(), &Formula::b, layer.Download(adapter.db_transposed), "dB");
  ExpectSlopes(layer.formula(), &Formula::magnitude, layer.Download(adapter.dora.dmagnitude), "dm");
  ExpectSlopes(layer.formula(), &Formula::bias, layer.Download(layer.linear().dbias), "dbias");
  ExpectSlopes(layer.formula(), &Formula::x, layer.Download(layer.dx()), "dx");
}

INSTANTIATE_TEST_SUITE_P(WithAndWithoutDropout, DoraLayer, testing::Bool());

void ExpectMerged(const std::string& adapter_folder) {
  const ModelFiles files = ModelFiles::Open(kData + "/models/llama");
  AdapterValues adapter;
  adapter.spec = BuildAdapterSpec(files.spec(), AdapterFolder::Open(adapter_folder).config, "test");
  adapter.tensors = AdapterTrainables(adapter.spec);
  adapter.values =
      ReadTrainedValues(adapter.tensors, OpenTrainedFile(adapter.tensors, AdapterFolder::WeightsPath(adapter_folder)));
  const SafetensorsFile merged(adapter_folder + "/merged.safetensors");
  for (const AdapterModule& m : adapter.spec.modules) {
    const StoredTensor& stored = *files.Find(m.path + ".weight");
    std::vector<float> w(static_cast<size_t>(stored.rows() * stored.columns()));
    files.ReadRows(stored, 0, stored.rows(), w.data());
    adapter.Merge(m, w);
    const auto* expected = reinterpret_cast<const float*>(merged.Find(m.path + ".weight")->bytes.data());
    for (size_t i = 0; i < w.size(); ++i) ASSERT_NEAR(w[i], expected[i], 1e-5) << m.path << " " << i;
  }
}

TEST(Merge, GivesPeftsWeights) {
  ExpectMerged(kData + "/lora/llama_all7_r16");
  ExpectMerged(kData + "/lora/llama_dora");
}

}  // namespace attune::dora_test
