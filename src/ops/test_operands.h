// Operands for the tests of the ops. Each matrix has a heap block of exactly its own size, so that the
// address sanitizer sees every read beyond it, and NaN between its rows, so that a kernel that uses the gaps
// of a strided view is caught.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "ops/device.h"
#include "ops/reference.h"

namespace attune {

// A plain device per number of threads, bf16 products emulated.
inline Device& Cpu(int threads = 2) {
  static std::map<int, std::unique_ptr<Device>> devices;
  auto& device = devices[threads];
  if (device == nullptr) device = MakeCpuDevice({.threads = threads, .emulate_bf16 = true});
  return *device;
}

class Operands {
 public:
  explicit Operands(uint32_t seed = 1) : random_(seed) {}

  // Values of a normal distribution; `gap` elements of NaN lie between rows.
  Matrix Random(int64_t rows, int64_t cols, DType dtype = DType::kF32, double deviation = 1, int64_t gap = 0) {
    Matrix m = Make(rows, cols, dtype, gap);
    std::normal_distribution<double> normal(0, deviation);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) Put(m, r, c, normal(random_));
    }
    return m;
  }

  // All NaN: for outputs, which must be written, and gaps, which must not.
  Matrix Make(int64_t rows, int64_t cols, DType dtype = DType::kF32, int64_t gap = 0) {
    const int64_t elements = rows == 0 ? 0 : (rows - 1) * (cols + gap) + cols;
    Matrix m{Block(BytesOf(dtype, elements)), dtype, rows, cols, cols + gap};
    if (dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF64) {
      const Matrix flat{m.data, dtype, 1, elements, elements};
      for (int64_t i = 0; i < elements; ++i) Put(flat, 0, i, std::numeric_limits<double>::quiet_NaN());
    }
    return m;
  }

  Matrix Zeros(int64_t rows, int64_t cols, DType dtype = DType::kF32, int64_t gap = 0) {
    return Random(rows, cols, dtype, 0, gap);
  }

  Matrix Ints(const std::vector<int32_t>& values) {
    return Bytes(values.data(), static_cast<int64_t>(values.size()), DType::kI32, 1);
  }

  Matrix Floats(const std::vector<float>& values) {
    return Bytes(values.data(), static_cast<int64_t>(values.size()), DType::kF32, 1);
  }

  // A dense (rows, cols) matrix of any dtype from its bytes.
  Matrix Bytes(const void* bytes, int64_t cols, DType dtype, int64_t rows) {
    Matrix m{Block(BytesOf(dtype, rows * cols)), dtype, rows, cols, cols};
    if (rows * cols > 0) std::memcpy(Pointer(m), bytes, static_cast<size_t>(BytesOf(dtype, rows * cols)));
    return m;
  }

  // Keep-bits, each 1 with probability 0.7.
  KeepMask Mask(int64_t rows, int64_t cols) {
    KeepMask mask;
    const int64_t bytes = 2 * ((cols + 15) / 16);
    mask.bits = Matrix{Block(rows * bytes), DType::kU8, rows, bytes, bytes};
    mask.scale = 1.25f;
    std::bernoulli_distribution keep(0.7);
    for (int64_t i = 0; i < rows * bytes; ++i) {
      for (int bit = 0; bit < 8; ++bit) Pointer(mask.bits)[i] |= static_cast<uint8_t>(keep(random_) << bit);
    }
    return mask;
  }

  Matrix Clone(const Matrix& m) {
    if (!m) return m;
    Matrix copy = m;
    const int64_t bytes = SizeOf(m);
    copy.data = Block(bytes);
    if (bytes > 0) std::memcpy(Pointer(copy), Pointer(m), static_cast<size_t>(bytes));
    return copy;
  }

  std::mt19937& random() { return random_; }

  static uint8_t* Pointer(const Matrix& m) { return reinterpret_cast<uint8_t*>(m.data.value); }
  static int64_t SizeOf(const Matrix& m) {
    return m.rows == 0 ? 0 : BytesOf(m.dtype, (m.rows - 1) * m.stride + m.cols);
  }

 private:
  DeviceAddress Block(int64_t bytes) {
    blocks_.push_back(std::make_unique<uint8_t[]>(static_cast<size_t>(bytes)));
    return {reinterpret_cast<uintptr_t>(blocks_.back().get())};
  }

  std::mt19937 random_;
  std::vector<std::unique_ptr<uint8_t[]>> blocks_;
};

// One unit in the last place of the dtype, relative: what two roundings of nearly the same value may differ
// by.
inline double UlpOf(DType type) { return type == DType::kBF16 ? 0x1p-7 : 0x1p-22; }

// Every element within tolerance * (size + |expected|), size being the root mean square of `expected` (or
// least_size, where results may cancel to nothing), plus one unit in the last place; and the gaps between
// rows untouched.
inline void ExpectClose(const Matrix& actual, const Matrix& expected, double tolerance = 2e-6, double least_size = 0) {
  double squares = 0;
  for (int64_t r = 0; r < expected.rows; ++r) {
    for (int64_t c = 0; c < expected.cols; ++c) squares += std::pow(Get(expected, r, c), 2);
  }
  const double count = static_cast<double>(std::max<int64_t>(1, expected.rows * expected.cols));
  const double size = std::max(least_size, std::sqrt(squares / count));
  int reported = 0;
  for (int64_t r = 0; r < expected.rows && reported < 3; ++r) {
    for (int64_t c = 0; c < expected.cols && reported < 3; ++c) {
      const double a = Get(actual, r, c), e = Get(expected, r, c);
      const double allowed = tolerance * (size + std::abs(e)) + UlpOf(actual.dtype) * std::abs(e);
      if (std::abs(a - e) <= allowed || a == e) continue;
      ADD_FAILURE() << "element (" << r << ", " << c << ") is " << a << ", expected " << e << " +- " << allowed;
      ++reported;
    }
    for (int64_t c = actual.cols; c < actual.stride && r + 1 < actual.rows; ++c) {
      ASSERT_TRUE(std::isnan(Get(actual, r, c))) << "gap after row " << r << " was written";
    }
  }
}

// Sum of the products of the elements of two matrices of one shape.
inline double Dot(const Matrix& a, const Matrix& b) {
  double sum = 0;
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.cols; ++c) sum += Get(a, r, c) * Get(b, r, c);
  }
  return sum;
}

// That `gradient` is the derivative of loss() by every element of x (F64), by central differences.
template <class Loss>
void ExpectGradient(const Matrix& x, const Matrix& gradient, const Loss& loss) {
  constexpr double kStep = 1e-5;
  for (int64_t r = 0; r < x.rows; ++r) {
    for (int64_t c = 0; c < x.cols; ++c) {
      const double value = Get(x, r, c);
      Put(x, r, c, value + kStep);
      const double above = loss();
      Put(x, r, c, value - kStep);
      const double below = loss();
      Put(x, r, c, value);
      const double slope = (above - below) / (2 * kStep);
      ASSERT_NEAR(Get(gradient, r, c), slope, 1e-7 * (1 + std::abs(slope))) << "element (" << r << ", " << c << ")";
    }
  }
}

inline void ExpectSameBits(const Matrix& a, const Matrix& b) {
  for (int64_t r = 0; r < a.rows; ++r) {
    const auto* x = Operands::Pointer(a.Rows(r, 1));
    const auto* y = Operands::Pointer(b.Rows(r, 1));
    ASSERT_EQ(std::memcmp(x, y, static_cast<size_t>(BytesOf(a.dtype, a.cols))), 0) << "row " << r << " differs";
  }
}

// Every type that weights have in files.
constexpr DType kFileTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                                DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,
                                DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// Offsets of the float16 factors in a block: the only bytes that may not be anything at all.
inline std::vector<int> FactorsOf(DType type) {
  switch (type) {
    case DType::kQ4_1:
    case DType::kQ5_1:
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2};
    case DType::kQ2_K:
      return {80, 82};
    case DType::kQ3_K:
      return {108};
    case DType::kQ6_K:
      return {208};
    default:
      return {0};
  }
}

// Random blocks with factors between 2^-14 and 1, or normal floats.
inline Matrix StoredWeights(Operands& o, DType type, int64_t rows, int64_t cols) {
  const DTypeLayout layout = LayoutOf(type);
  if (type == DType::kF32 || type == DType::kBF16) return o.Random(rows, cols, type);
  std::vector<uint8_t> bytes(static_cast<size_t>(BytesOf(type, rows * cols)));
  std::uniform_int_distribution<int> byte(0, 255), high(0x04, 0x3b);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(byte(o.random()));
  for (size_t i = 0; i < bytes.size(); i += static_cast<size_t>(layout.block_bytes)) {
    for (int factor : FactorsOf(type)) {
      const int sign = byte(o.random()) < 128 ? 0 : 0x80;
      bytes[i + static_cast<size_t>(factor) + 1] = static_cast<uint8_t>(high(o.random()) | sign);
    }
  }
  return o.Bytes(bytes.data(), cols, type, rows);
}

}  // namespace attune
